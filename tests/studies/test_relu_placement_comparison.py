"""Statistics of the placement study by hand and against scipy; its ResNet-18, block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from scipy.stats import binomtest, ttest_1samp
from studies.relu_placement import resnet
from studies.relu_placement.comparison import (
    against_published,
    against_rest,
    failures,
    friedman_p,
    holm,
    mean_interval,
    mean_ranks,
    median_interval,
    over_cells,
    rank_agreement,
    relu_effects,
    sign_flip_p,
)
from studies.relu_placement.model import NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.relu_placement.resnet import resnet_text
from studies.runner import REPOSITORY
from studies.study import load_study, settings_of
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

HERE = REPOSITORY / "studies" / "relu_placement"


def test_holm_by_its_definition() -> None:
    """The k-th smallest p times (m - k + 1), never below the one before it, at most 1."""
    given = [0.03, 0.001, 0.5, 0.04]
    assert holm(given) == pytest.approx([0.09, 0.004, 0.5, 0.09])
    assert holm([]) == [] and holm([0.7, 0.8]) == [1.0, 1.0]


def test_flipped_signs_are_the_exact_sign_test_where_all_are_alike() -> None:
    """Differences of one size: the test is the binomial one, which is McNemar's."""
    for wins, losses in ((5, 1), (9, 3), (40, 20), (300, 240)):
        values = np.array([1.0] * wins + [-1.0] * losses + [0.0] * 50)
        exact = binomtest(wins, wins + losses).pvalue
        assert sign_flip_p(values) == pytest.approx(exact, abs=0.008)
    assert sign_flip_p(np.zeros(5)) == 1.0


def made_marks(wrong: dict[str, list[int]], photos: int = 400) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    marks = {}
    for name in NAMES:
        rows = []
        for count in wrong.get(name, [40, 40]):
            row = np.ones(photos)
            row[rng.choice(photos, count, replace=False)] = 0
            rows.append(row)
        marks[name] = np.array(rows)
    return marks


def test_pairs_against_the_published_winner_and_against_the_rest() -> None:
    marks = made_marks({"C-C-C-C": [160, 150], PUBLISHED_NAME: [20, 24], "CR-C-C-C": [16, 28]})
    published = against_published(marks)
    assert len(published) == 15 and PUBLISHED_NAME not in published
    worst = published["C-C-C-C"]
    assert worst.gap.mean == pytest.approx(100 * (155 - 22) / 400)
    assert worst.gap.low < worst.gap.mean < worst.gap.high
    assert worst.is_shown and worst.p_holm == pytest.approx(15 * worst.p)
    # One seed better, one worse: whatever p says, nothing is shown.
    assert not published["CR-C-C-C"].one_way and not published["CR-C-C-C"].is_shown
    rest = against_rest(marks)
    assert len(rest) == 16 and rest["C-C-C-C"].gap.mean > 0 > rest[PUBLISHED_NAME].gap.mean
    others = np.mean([400 - marks[name].sum(axis=1) for name in NAMES if name != "C-C-C-C"])
    assert rest["C-C-C-C"].gap.mean == pytest.approx((155 - others) / 4)


def made_errors(cells: int = 12) -> Any:
    """Each ReLU has an effect that is known: -0.4, -0.3, -0.8, +1."""
    rng = np.random.default_rng(1)
    effect = np.array([-0.4, -0.3, -0.8, 1.0])
    return 5 + np.array(PLACEMENTS) @ effect + rng.normal(0, 0.02, (cells, 16))


def test_effects_are_found_again_and_a_failed_training_does_not_hide_them() -> None:
    errors = made_errors()
    for share, true in zip(relu_effects(errors), (-0.4, -0.3, -0.8, 1.0), strict=True):
        # Between medians of eight sums, so not the single effect to the last digit.
        assert share.mean == pytest.approx(true, abs=0.25)
        assert share.low < share.mean < share.high
    errors[3, 5] = 90.0
    assert failures(errors).sum() == 1 and failures(errors)[3, 5]
    assert relu_effects(errors)[2].mean == pytest.approx(-0.8, abs=0.3)


def test_over_cells_and_ranks() -> None:
    errors = made_errors()
    pairs = over_cells(errors)
    best = NAMES[int(errors.mean(axis=0).argmin())]
    assert best == "CR-CR-CR-C" and len(pairs) == 15
    assert pairs[best].gap.mean == pytest.approx(-2.2, abs=0.05) and pairs[best].is_shown
    assert pairs[best].p == pytest.approx(2 / 2**12)  # all twelve on one side
    ranks = dict(zip(NAMES, mean_ranks(errors), strict=True))
    assert ranks[best].mean == 1.0 and sum(share.mean for share in ranks.values()) == 136
    assert friedman_p(errors) < 1e-10 and np.isnan(friedman_p(errors[:1]))
    assert rank_agreement(errors, errors) == pytest.approx(1.0)
    assert over_cells(np.ones((4, 16)))["C-C-C-C"].p_holm == 1.0


def test_the_interval_of_a_mean_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0, 4.5])
    share = mean_interval(values)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(mean_interval(values[:1]).low) and np.isnan(median_interval(values[:1]).low)
    middle = median_interval(values)
    assert middle.low <= middle.mean == 3.0 <= middle.high


# ResNet-18


def reference_block(block: BasicBlock, inputs: Tensor, letter: str) -> Tensor:
    """A block as the paper of residual networks writes it, the ReLU where the letter says."""
    parts = dict(block.named_children())
    branch = torch.relu(parts["bn1"](parts["conv1"](inputs)))
    branch = parts["bn2"](parts["conv2"](branch))
    shortcut = parts["downsample"](inputs) if "downsample" in parts else inputs
    if letter == "b":
        return shortcut + torch.relu(branch)
    total = branch + shortcut
    return torch.relu(total) if letter == "a" else total


@pytest.mark.parametrize("additions", ["aaaaaaaa", "bbbbbbbb", "aaaaaann", "aaaaaaab"])
def test_the_relu_stands_where_the_letter_says(additions: str) -> None:
    torch.manual_seed(0)
    network: Any = timm.create_model("resnet18_placed", additions=additions, num_classes=0).eval()
    plain: Any = timm.create_model("resnet18", num_classes=0)
    assert network.state_dict().keys() == plain.state_dict().keys()
    photos = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        values = network.maxpool(network.act1(network.bn1(network.conv1(photos))))
        blocks = [part for part in network.modules() if isinstance(part, BasicBlock)]
        for block, letter in zip(blocks, additions, strict=True):
            values = reference_block(block, values, letter)
        torch.testing.assert_close(network.forward_features(photos), values)
        if additions == "aaaaaaaa":
            plain.load_state_dict(network.state_dict())
            torch.testing.assert_close(plain.eval()(photos), network(photos))


@pytest.mark.parametrize("additions", ["", "aaaa", "aaaaaaax"])
def test_wrong_letters(additions: str) -> None:
    with pytest.raises(ValueError, match="expected 8 letters of a, b, n"):
        resnet.resnet18_placed(additions=additions)


def test_every_variant_has_valid_settings() -> None:
    study = load_study(HERE / "study.toml")
    assert len(study.variants) == 8
    for variant in study.variants:
        settings = settings_of(study.base, variant, 0)
        additions = settings.backbone_args["additions"]
        network = timm.create_model(settings.backbone, additions=additions, num_classes=0)
        assert isinstance(network, nn.Module)
        frozen = not variant.name.startswith("whole-")
        # Where the first stages are frozen, their ReLUs stay as the weights know them.
        assert not frozen or additions.startswith("aaaaaa")


def test_the_table_of_resnets_by_hand(tmp_path: Path) -> None:
    for name, right in (("published", 80), ("last-none", 90), ("whole-before", 50)):
        for seed in range(2):
            signs = "1" * right + "0" * (100 - right)
            result = {"variant": name, "seed": seed, "val": {"correct": {"glass": signs}}}
            file = tmp_path / f"{name}-{seed}.json"
            file.write_text(json.dumps(result), encoding="utf-8")
    notes = {"published": "after", "last-none": "none", "last-before": "x", "whole-before": "y"}
    text = resnet_text(tmp_path, notes, [{"variant": "last-none", "ms_per_photo": "7.25"}])
    lines = text.splitlines()
    assert lines[2].startswith("| published: after | 2 | 80.0 % (") and "| - | - | - |" in lines[2]
    assert lines[3].startswith("| last-none: none | 2 | 90.0 % (") and "| +10.0 (" in lines[3]
    assert lines[3].endswith("| 0.002 | 7.2 |")  # 2 / 2^10: ten photos, all one way
    assert "last-before" not in text
    assert lines[4].startswith("| whole-before: y") and "| - | - | - |" in lines[4]  # no pair here
    assert resnet_text(tmp_path / "none", notes, []) == "Not run yet."
