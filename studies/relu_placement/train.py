"""One job: a stack of all placements, trained, measured, and resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.relu_placement.data import Photos, Scaler, Sets, make_scaler
from studies.relu_placement.model import (
    LAYERS,
    NAMES,
    PLACEMENTS,
    PUBLISHED_NAME,
    Shape,
    initial_weights,
)
from studies.relu_placement.plan import Job, Recipe
from studies.relu_placement.stacked import StackedNetwork, stack_losses, train_step

from beltsight.train.activity import ActivityTally
from beltsight.train.checkpoint import (
    load_checkpoint,
    pack_optimizer,
    save_checkpoint,
    unpack_optimizer,
)
from beltsight.train.optimize import rate_factor

_RISE = 0.05  # of all steps
_MEASURE_BATCH = 100
_SECONDS_BETWEEN_CHECKPOINTS = 30.0
_CURVE_POINTS = 12

Bits = NDArray[np.bool_]
Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Epoch:
    """What an epoch ended with, per placement.

    Args:
        epoch: from 1.
        seconds: of training alone, from the start of the job, all resumptions summed.
        train_loss: mean over the epoch's steps.
        val_loss: on the validation photos, after it.
        val_error: share of them answered wrongly, 0 to 1.
    """

    epoch: int
    seconds: float
    train_loss: list[float]
    val_loss: list[float]
    val_error: list[float]


@dataclass(frozen=True)
class Activity:
    """A ReLU of one placement, on the validation photos: shares, 0 to 1.

    Args:
        placement: its name.
        layer: ``conv1`` to ``conv4``.
        dead: of units that gave zero for every photo.
        zeros: of values that were zero; of the first two layers after the pool.
    """

    placement: str
    layer: str
    dead: float
    zeros: float


@dataclass(frozen=True)
class Outcome:
    """A finished job.

    Args:
        curve: one entry per measured epoch, the last among them.
        activity: one entry per ReLU.
        wrong: by split, (S, n): which photos each placement answered wrongly.
        starts: how often the job was started.
    """

    curve: list[Epoch]
    activity: list[Activity]
    wrong: dict[str, Bits]
    starts: int


@dataclass
class _State:
    """What a checkpoint holds beside tensors."""

    settings: dict[str, Any]
    photos: str
    starts: int = 1
    epochs: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


def run_job(
    job: Job,
    sets: Sets,
    folder: Path,
    tell: Tell = lambda epoch, line: None,
    enough: Callable[[], bool] = lambda: False,
) -> Outcome | None:
    """Train a job to its end, or go on with it.

    Args:
        job: what is trained.
        sets: its photos.
        folder: of checkpoints.
        tell: told each epoch and a line on it.
        enough: asked after each epoch whether to stop for now.

    Returns:
        The outcome, or None where it was stopped; the same call then goes on.

    Raises:
        SystemExit: the checkpoint is of another configuration or of other photos.
        ResumeError: the checkpoint is damaged.
        TrainError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{job.name}.safetensors"
    state = _State(job.settings, sets.digest)
    network = make_network(job, sets)
    optimizer = make_optimizer(network, job.recipe)
    if file.exists():
        state = _resume(file, state, network, optimizer)
    scaler = make_scaler(sets.train, job.recipe.inputs)
    saved = time.monotonic()
    measured = measured_epochs(job.recipe.epochs)
    while state.epochs < job.recipe.epochs:
        losses = _run_epoch(network, optimizer, scaler, sets.train, job, state)
        if state.epochs in measured:
            wrong, val_losses = measure(network, scaler, sets.validation)
            errors = wrong.mean(axis=1).tolist()
            epoch = Epoch(state.epochs, state.seconds, losses, val_losses, errors)
            state.curve.append(vars(epoch))
            tell(epoch.epoch, _line(epoch, job.recipe.epochs))
        done = state.epochs == job.recipe.epochs
        stop = not done and enough()
        if done or stop or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS:
            tensors = {f"network/{k}": v for k, v in network.state_dict().items()}
            save_checkpoint(file, {**tensors, **pack_optimizer(optimizer)}, vars(state))
            saved = time.monotonic()
        if stop:
            return None
    return _outcome(network, scaler, sets, state)


def make_network(job: Job, sets: Sets) -> StackedNetwork:
    """All placements with the job's equal starting weights."""
    shape = Shape(job.size_px, sets.channels, sets.classes)
    weights = initial_weights(shape, job.recipe.initialisation, job.seed)
    dtype = torch.bfloat16 if job.recipe.precision == "bfloat16" else torch.float32
    return StackedNetwork(shape, PLACEMENTS, weights, job.recipe.normalisation, dtype)


def make_optimizer(network: torch.nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD over the whole stack."""
    return torch.optim.SGD(
        network.parameters(), lr=recipe.rate, momentum=recipe.momentum,
        weight_decay=recipe.weight_decay, fused=True,
    )  # fmt: skip


def measured_epochs(epochs: int) -> list[int]:
    """After which epochs the validation photos are answered: a dozen, evenly spaced, and the last.

    Example:
        >>> measured_epochs(3), measured_epochs(30)[-3:]
        ([1, 2, 3], [25, 28, 30])
    """
    points = min(_CURVE_POINTS, epochs)
    return [round((place + 1) * epochs / points) for place in range(points)]


def steps_per_epoch(photos: int, batch_size: int) -> int:
    """Whole batches; what is left over is another part of the photos in each epoch.

    Example:
        >>> steps_per_epoch(250, 100), steps_per_epoch(50, 100)
        (2, 1)
    """
    return max(1, photos // batch_size)


@torch.inference_mode()
def measure(network: StackedNetwork, scaler: Scaler, photos: Photos) -> tuple[Bits, list[float]]:
    """Which photos each network answers wrongly, (S, n), and its mean cross-entropy.

    An answer that is no number is wrong.
    """
    network.eval()
    wrong, losses = [], torch.zeros(len(network.placements))
    for pixels, labels in photos.batches(_MEASURE_BATCH):
        logits = network(scaler(pixels))
        right = (logits.argmax(dim=2) == labels) & logits.isfinite().all(dim=2)
        wrong.append(~right)
        losses += stack_losses(logits, labels) * len(labels)
    network.train()
    return torch.cat(wrong, dim=1).numpy(), (losses / len(photos)).tolist()


@torch.inference_mode()
def measure_activity(network: StackedNetwork, scaler: Scaler, photos: Photos) -> list[Activity]:
    """Dead units and zeros of each ReLU of each placement."""
    network.eval()
    tallies = [ActivityTally() for _ in LAYERS]
    for pixels, _ in photos.batches(_MEASURE_BATCH):
        for tally, given in zip(tallies, network.activations(scaler(pixels)), strict=True):
            tally.add(given if given.ndim == 4 else given.permute(1, 0, 2).flatten(1))
    network.train()
    found = []
    for layer, tally in zip(LAYERS, tallies, strict=True):
        shape = (len(network.placements), -1)
        dead, zeros = tally.dead.double().view(shape).mean(1), tally.zeros.view(shape).mean(1)
        found += [
            Activity(name, layer, float(dead[place]), float(zeros[place]))
            for place, (name, placement) in enumerate(zip(NAMES, PLACEMENTS, strict=True))
            if placement[LAYERS.index(layer)]
        ]
    return found


def _run_epoch(
    network: StackedNetwork,
    optimizer: torch.optim.SGD,
    scaler: Scaler,
    train: Photos,
    job: Job,
    state: _State,
) -> list[float]:
    """Every network's mean loss over the steps of one pass."""
    recipe, done = job.recipe, state.epochs
    generator = torch.Generator().manual_seed(job.seed * 100_003 + done)
    order = torch.randperm(len(train), generator=generator).numpy()
    steps = steps_per_epoch(len(order), recipe.batch_size)
    total = torch.zeros(len(network.placements))
    start = time.perf_counter()
    for step in range(steps):
        everything = steps * recipe.epochs
        rise = round(_RISE * everything)
        factor = rate_factor(done * steps + step, everything, rise, recipe.schedule)
        optimizer.param_groups[0]["lr"] = recipe.rate * factor
        own = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
        pixels = torch.from_numpy(train.pixels[own])
        if recipe.flip:
            turned = torch.rand(len(own), generator=generator) < 0.5
            pixels = torch.where(turned[:, None, None, None], pixels.flip(2), pixels)
        labels = torch.from_numpy(train.labels[own])
        total += train_step(network, optimizer, scaler(pixels), labels)
    state.seconds += time.perf_counter() - start
    state.epochs += 1
    mean: list[float] = (total / steps).tolist()
    return mean


def _resume(
    file: Path, fresh: _State, network: StackedNetwork, optimizer: torch.optim.SGD
) -> _State:
    """Fill network and optimizer from a checkpoint of the same configuration."""
    tensors, kept = load_checkpoint(file)
    settings = kept.get("settings", {})
    changed = [
        f"{key} {settings.get(key)!r}, now {value!r}"
        for key, value in fresh.settings.items()
        if settings.get(key) != value
    ]
    if not changed and kept.get("photos") != fresh.photos:
        changed = ["other training photos"]
    if changed:
        raise SystemExit(
            f"{file}: a checkpoint of another configuration ({'; '.join(changed)}); delete it to "
            "start anew, or give the settings that it was made with"
        )
    network.load_state_dict(
        {k.removeprefix("network/"): v for k, v in tensors.items() if k.startswith("network/")}
    )
    unpack_optimizer(optimizer, tensors)
    return _State(**{**kept, "starts": kept["starts"] + 1})


def _outcome(network: StackedNetwork, scaler: Scaler, sets: Sets, state: _State) -> Outcome:
    wrong = {"validation": measure(network, scaler, sets.validation)[0]}
    if sets.test is not None:
        wrong["test"] = measure(network, scaler, sets.test)[0]
    activity = measure_activity(network, scaler, sets.validation)
    return Outcome([Epoch(**row) for row in state.curve], activity, wrong, state.starts)


def _line(epoch: Epoch, epochs: int) -> str:
    errors = dict(zip(NAMES, epoch.val_error, strict=True))
    best = min(NAMES, key=lambda name: errors[name])
    return (
        f"epoch {epoch.epoch}/{epochs}, {epoch.seconds:.0f} s; validation error {PUBLISHED_NAME} "
        f"{100 * errors[PUBLISHED_NAME]:.2f} %, best {best} {100 * errors[best]:.2f} %"
    )
