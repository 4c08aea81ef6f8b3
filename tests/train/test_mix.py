from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight.train.loss import masked_loss
from beltsight.train.mix import mix_batch
from beltsight.train.run import run_training


def test_without_mixing_the_batch_stays() -> None:
    photos = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    mixed = mix_batch(photos, torch.zeros(4, 1, dtype=torch.int64), 0.0)
    assert mixed.inputs is photos and mixed.share == 1.0


def test_each_input_is_blended_with_its_partner() -> None:
    torch.manual_seed(0)
    values = torch.arange(6.0).view(6, 1) ** 2  # each pair has a blend of its own
    labels = torch.arange(6).view(6, 1)
    mixed = mix_batch(values, labels, 1.0)
    assert 0 < mixed.share < 1 and not torch.equal(mixed.partner_labels, labels)
    expected = mixed.share * values + (1 - mixed.share) * values[mixed.partner_labels[:, 0]]
    torch.testing.assert_close(mixed.inputs, expected)


def test_the_loss_of_a_blend_is_the_cross_entropy_of_its_soft_label() -> None:
    torch.manual_seed(1)
    logits = torch.randn(5, 3)
    mixed = mix_batch(torch.randn(5, 2), torch.tensor([[0], [1], [2], [0], [1]]), 1.0)
    first, second = (
        masked_loss({"m": logits}, labels) for labels in (mixed.labels, mixed.partner_labels)
    )
    soft = torch.zeros(5, 3)
    for row in range(5):
        soft[row, mixed.labels[row, 0]] += mixed.share
        soft[row, mixed.partner_labels[row, 0]] += 1 - mixed.share
    expected = torch.nn.functional.cross_entropy(logits, soft)
    assert float(mixed.share * first + (1 - mixed.share) * second) == pytest.approx(float(expected))


@pytest.mark.parametrize("views", [0, 2])
def test_a_run_learns_from_blends(photoset: Path, tmp_path: Path, views: int) -> None:
    learn = {"learn": "heads" if views else "all", "epochs": 4, "learning_rate": 0.01}
    plain = run_training(photoset, tmp_path / "a", tiny(stages=({**learn, "views": views},)))
    mixed = run_training(
        photoset, tmp_path / "b", tiny(stages=({**learn, "views": views},), mix=0.5)
    )
    assert mixed.history[-1].train_loss != plain.history[-1].train_loss
    if not views:
        assert mixed.metrics["tasks"]["material"]["accuracy"] >= 0.8
