"""Settings whose effect is seen in what the loop does with the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.train.tiny_settings import tiny

from beltsight.errors import DivergedError
from beltsight.train import loop
from beltsight.train.checkpoint import load_checkpoint
from beltsight.train.loop import BatchDone, EpochDone, Event, Fit
from beltsight.train.loss import masked_loss
from beltsight.train.network import Network
from beltsight.train.optimize import make_optimizer
from beltsight.train.run import run_training
from beltsight.train.settings import TrainSettings


def epochs_of(data: Path, out: Path, settings: TrainSettings, count: int) -> list[EpochDone]:
    """The first epochs of a run; no model is packaged."""
    seen: list[EpochDone] = []

    def stop(event: Event) -> None:
        if isinstance(event, EpochDone):
            seen.append(event)
            if len(seen) == count:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(data, out, settings, watch=stop)
    return seen


def test_a_frozen_batchnorm_ends_with_the_statistics_it_began_with(
    photoset: Path, tmp_path: Path
) -> None:
    stages = ({"learn": "all", "epochs": 1, "learning_rate": 0.01},)
    epochs_of(photoset, tmp_path / "x", tiny(stages=stages, batchnorm="frozen"), 1)
    end, _ = load_checkpoint(tmp_path / "x" / "checkpoint.safetensors")
    means = [end[name] for name in end if name.endswith("running_mean")]
    variances = [end[name] for name in end if name.endswith("running_var")]
    assert len(means) == len(variances) > 0
    # Random weights begin with zeros and ones.
    assert not any(mean.any() for mean in means)
    assert all((variance == 1).all() for variance in variances)


def test_the_rate_rises_over_the_first_epochs(photoset: Path, tmp_path: Path) -> None:
    stages = ({"learn": "heads", "epochs": 4, "learning_rate": 0.01},)
    settings = tiny(stages=stages, warmup_epochs=2, schedule="constant")
    rates = [row.learning_rate for row in epochs_of(photoset, tmp_path / "x", settings, 3)]
    assert rates == pytest.approx([0.005, 0.01, 0.01])


def test_a_huge_loss_makes_no_larger_gradient_than_is_allowed(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[torch.optim.Optimizer] = []
    norms: list[float] = []

    def keep(*given: Any) -> torch.optim.Optimizer:
        made.append(make_optimizer(*given))
        return made[-1]

    def huge(*given: Any, **named: Any) -> torch.Tensor:
        return 1e6 * masked_loss(*given, **named)

    def stop(event: Event) -> None:
        if isinstance(event, BatchDone):
            learning = [p for group in made[0].param_groups for p in group["params"]]
            gradients = [p.grad for p in learning if p.grad is not None]
            norms.append(float(torch.nn.utils.get_total_norm(gradients)))
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "make_optimizer", keep)
    monkeypatch.setattr(loop, "masked_loss", huge)
    with pytest.raises(KeyboardInterrupt):
        run_training(photoset, tmp_path / "x", tiny(clip_norm=0.5), watch=stop)
    assert norms == pytest.approx([0.5], rel=1e-3)


def spoil_weights_after_epoch(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is validated after that epoch holds no numbers, though every loss before was one."""
    honest, epochs = Fit._validated, iter(range(1, 100))

    def spoiled(fit: Fit) -> Network:
        network = honest(fit)
        if next(epochs) == number:
            torch.nn.utils.vector_to_parameters(
                torch.full((sum(p.numel() for p in network.parameters()),), float("nan")),
                network.parameters(),
            )
        return network

    monkeypatch.setattr(Fit, "_validated", spoiled)


def test_weights_that_are_no_numbers_after_the_last_step_are_no_best_epoch(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights_after_epoch(3, monkeypatch)
    rows: list[EpochDone] = []

    def note(event: Event) -> None:
        if isinstance(event, EpochDone):
            rows.append(event)

    with pytest.raises(DivergedError, match=r"nan in epoch 3, at validation;.*best epoch .*kept"):
        run_training(photoset, tmp_path / "x", tiny(), watch=note)
    best = load_file(tmp_path / "x" / "best.safetensors")
    assert all(bool(value.isfinite().all()) for value in best.values())
    assert [row.epoch for row in rows] == [1, 2]


def test_no_best_epoch_is_promised_where_there_is_none(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil_weights_after_epoch(1, monkeypatch)
    stages = ({"learn": "all", "epochs": 1, "learning_rate": 0.01},)
    with pytest.raises(DivergedError, match="nan in epoch 1, at validation") as caught:
        run_training(photoset, tmp_path / "x", tiny(stages=stages))
    assert "kept" not in str(caught.value)
    assert not (tmp_path / "x" / "best.safetensors").exists()
