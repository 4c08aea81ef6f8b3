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
    against,
    agreement_by_size,
    best_name,
    failures,
    friedman_p,
    holm,
    kept_error,
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
from studies.study import Sweep, load_study, settings_of
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


def test_pairs_against_one_placement() -> None:
    marks = made_marks({"C-C-C-C": [160, 150], PUBLISHED_NAME: [20, 24], "CR-C-C-C": [16, 28]})
    published = against(marks)
    assert len(published) == 15 and PUBLISHED_NAME not in published
    worst = published["C-C-C-C"]
    assert worst.gap.mean == pytest.approx(100 * (155 - 22) / 400)
    assert worst.gap.low < worst.gap.mean < worst.gap.high
    assert worst.is_shown and worst.p_holm == pytest.approx(15 * worst.p)
    # One seed better, one worse: whatever p says, nothing is shown.
    assert not published["CR-C-C-C"].one_way and not published["CR-C-C-C"].is_shown
    other = against(marks, "C-C-C-C")
    assert other[PUBLISHED_NAME].gap.mean == pytest.approx(-worst.gap.mean)
    # One that failed moves its own line alone: the reference is one network, no mean of all.
    failed = against({**marks, "CR-CR-CR-CR": np.zeros_like(marks["C-C-C-C"])})
    assert failed["C-C-C-C"].gap == worst.gap


def made_errors(cells: int = 12) -> Any:
    """Each ReLU has an effect that is known: -0.4, -0.3, -0.8, +1."""
    rng = np.random.default_rng(1)
    effect = np.array([-0.4, -0.3, -0.8, 1.0])
    return 5 + np.array(PLACEMENTS) @ effect + rng.normal(0, 0.02, (cells, 16))


def test_effects_are_paired_and_a_failed_training_does_not_move_them() -> None:
    errors = made_errors()
    for effect, true in zip(relu_effects(errors), (-0.4, -0.3, -0.8, 1.0), strict=True):
        assert effect.gap.mean == pytest.approx(true, abs=0.02)
        assert effect.gap.low < effect.gap.mean < effect.gap.high
        assert (effect.failed_with, effect.failed_without) == (0, 0)
    with_last = np.array(PLACEMENTS)[:, 3]
    half = errors.copy()
    half[:, np.flatnonzero(with_last)[:6]] = 90.0  # six of eight with ReLU 4, in every cell
    half[3, 0] = 60.0
    for effect, true in zip(relu_effects(half), (-0.4, -0.3, -0.8, 1.0), strict=True):
        assert effect.gap.mean == pytest.approx(true, abs=0.02)
    last = relu_effects(half)[3]
    assert (last.failed_with, last.failed_without, last.trainings) == (72, 1, 96)
    assert relu_effects(half)[0].failed_with == 0  # counted where there is no ReLU 4
    everything = np.full((3, 16), 90.0)
    assert all(np.isnan(effect.gap.mean) for effect in relu_effects(everything))


def test_failures_are_counted_however_many_there_are() -> None:
    errors = made_errors(2)
    errors[0, 4:] = 30.0  # three quarters of a cell
    errors[1] = 85.0  # all of one
    assert failures(errors).sum(axis=1).tolist() == [12, 16]
    # Of six classes a guess errs five times in six: there 50 % is no failure.
    assert not failures(np.full((1, 16), 50.0), 100 * 5 / 6).any()
    assert failures(np.full((1, 16), 63.0), 100 * 5 / 6).all()


def test_what_failed_is_left_out_of_the_error() -> None:
    marks = np.ones((3, 100))
    marks[0, :4] = marks[1, 4:6] = marks[2] = 0
    share = kept_error(marks, np.array([False, False, True]))
    assert share.mean == pytest.approx(3.0) and share.low < 3 < share.high
    assert kept_error(marks, np.ones(3, bool)).mean == pytest.approx(106 / 3)


def test_agreement_of_single_trainings() -> None:
    errors = np.array([np.arange(16.0), np.arange(16.0), -np.arange(16.0)])
    assert rank_agreement(errors[:2], errors[:1]) == pytest.approx(1.0)
    assert rank_agreement(errors, errors, apart=True) == pytest.approx(-1 / 3)
    assert np.isnan(rank_agreement(errors[:1], errors[:1], apart=True))
    assert np.isnan(rank_agreement(np.ones((2, 16)), errors))  # no order at all
    by_size = agreement_by_size({28: errors[:2], 32: errors[:2], 36: errors[2:]})
    assert by_size == pytest.approx({28: 1 / 3, 32: 1 / 3, 36: -1.0})
    assert best_name(errors[:2]) == NAMES[0]


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
    values = network.maxpool(network.act1(network.bn1(network.conv1(photos))))
    blocks = [part for part in network.modules() if isinstance(part, BasicBlock)]
    for block, letter in zip(blocks, additions, strict=True):
        values = reference_block(block, values, letter)
    found = network.forward_features(photos)
    torch.testing.assert_close(found, values)
    # timm adds in place: that must not reach what the gradient of a ReLU needs.
    weights = [block.conv1.weight for block in blocks]
    wanted = torch.autograd.grad(values.square().mean(), weights)
    torch.testing.assert_close(torch.autograd.grad(found.square().mean(), weights), wanted)
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


def write_resnet(folder: Path, name: str, seed: int, right: int) -> None:
    signs = "1" * right + "0" * (100 - right)
    result = {"variant": name, "seed": seed, "val": {"correct": {"glass": signs}}}
    (folder / f"{name}-{seed}.json").write_text(json.dumps(result), encoding="utf-8")


def test_the_table_of_resnets_by_hand(tmp_path: Path) -> None:
    for name, right in (("published", 80), ("last-none", 90), ("whole-before", 50)):
        for seed in range(2):
            write_resnet(tmp_path, name, seed, right)
    notes = {"published": "after", "last-none": "none", "last-before": "x", "whole-before": "y"}
    text = resnet_text(tmp_path, notes, [{"variant": "last-none", "ms_per_photo": "7.25"}])
    lines = text.splitlines()
    assert lines[2].startswith("| published: after | 2 | 80.0 % (") and "| - | - | - |" in lines[2]
    assert lines[3].startswith("| last-none: none | 2 | 90.0 % (") and "| +10.0 (" in lines[3]
    assert lines[3].endswith("| 0.002 | 7.2 |")  # 2 / 2^10: ten photos, all one way
    assert "last-before" not in text and "Not told apart" not in text
    assert lines[4].startswith("| whole-before: y") and "| - | - | - |" in lines[4]  # no pair here
    assert resnet_text(tmp_path / "none", notes, []) == "Not run yet."


def test_resnets_with_unequal_seeds_are_compared_on_those_that_both_have(tmp_path: Path) -> None:
    for seed, right in ((0, 80), (1, 20), (2, 82)):
        write_resnet(tmp_path, "published", seed, right)
    for seed, right in ((0, 82), (2, 80)):
        write_resnet(tmp_path, "last-none", seed, right)
    text = resnet_text(tmp_path, {"published": "after", "last-none": "none"}, [])
    row = text.splitlines()[3]
    assert row.startswith("| last-none: none | 2 | 81.0 % (") and "| +0.0 (" in row
    assert "Not told apart from its pair, in points of accuracy: last-none within " in text


def test_time_over_between_two_resnets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(HERE / "study.toml")
    sweep = Sweep("x", study, tmp_path, tmp_path / "runs", tmp_path, tmp_path, tmp_path, seeds=(0,))
    assert resnet.seconds_left(sweep) == (8, 5 * 150 + 3 * 300)
    trained: list[str] = []

    def train(one: Sweep) -> None:
        [(variant, seed)] = one.jobs()
        trained.append(variant.name)
        write_resnet(tmp_path, variant.name, seed, 80)

    monkeypatch.setattr(resnet, "train_sweep", train)
    with pytest.raises(SystemExit, match="the time is over, 6 trainings are left; the same call"):
        resnet.train_variants(sweep, "the command", lambda: len(trained) == 2)
    assert trained == ["published", "last-before"]
    for name in trained:  # what they took is what the next of this recipe will take
        file = tmp_path / f"{name}-0.json"
        result = {**json.loads(file.read_text(encoding="utf-8")), "seconds": 40.0}
        file.write_text(json.dumps(result), encoding="utf-8")
    assert resnet.seconds_left(sweep) == (6, 3 * 40 + 3 * 300)
