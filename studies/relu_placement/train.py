"""One job: a stack of all placements, trained, measured, and resumed where it stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
    mixed_seed,
    placement_name,
)
from studies.relu_placement.plan import Job, Recipe
from studies.relu_placement.stacked import StackedNetwork, stack_losses, train_step
from torch import Tensor

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
CURVE_PHOTOS = 1000

Bits = NDArray[np.bool_]
Tell = Callable[[int, str], None]


@dataclass(frozen=True)
class Epoch:
    """What an epoch ended with, per placement.

    Args:
        epoch: from 1.
        seconds: of training alone, from the start of the job, all resumptions summed.
        train_loss: mean over the epoch's steps.
        val_loss: on the first 1,000 validation photos, after it.
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
        dead: of units that gave zero for every photo; NaN where the network diverged.
        zeros: of values that were zero; of the first two layers after the pool; likewise.
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
        val_loss: on all validation photos, per placement.
        starts: how often the job was started.
        trained: whether this call trained an epoch; if not, it measured networks that were there.
        taken_from: the job whose networks they are, where it is another one.
    """

    curve: list[Epoch]
    activity: list[Activity]
    wrong: dict[str, Bits]
    val_loss: list[float]
    starts: int
    trained: bool = True
    taken_from: str = ""


@dataclass
class _State:
    """What a checkpoint holds beside tensors."""

    settings: dict[str, Any]
    photos: str
    starts: int = 1
    epochs: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


_Kept = tuple[Path, _State]


def run_job(
    job: Job,
    sets: Sets,
    folder: Path,
    tell: Tell = lambda epoch, line: None,
    enough: Callable[[], bool] = lambda: False,
    kept: Sequence[Path] = (),
) -> Outcome | None:
    """Train a job to its end, or go on with it, or measure its networks anew where they are kept.

    Args:
        job: what is trained.
        sets: its photos.
        folder: of checkpoints.
        tell: told each epoch and a line on it.
        enough: asked after each epoch whether to stop for now.
        kept: files in which networks of these settings may be kept; they are kept in the first.

    Returns:
        The outcome, or None where it was stopped; the same call then goes on.

    Raises:
        SystemExit: the checkpoint is of another configuration or of other photos.
        ResumeError: the checkpoint or the file of kept networks is damaged.
        TrainError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{job.name}.safetensors"
    state = _State(job.settings, sets.digest)
    network = make_network(job, sets)
    optimizer = make_optimizer(network, job.recipe)
    taken: Path | None = None
    if file.exists():
        state = _resume(file, state, network, optimizer)
    elif found := _take_kept(kept, state, network):
        taken, state = found
    scaler = make_scaler(sets.train, job.recipe.inputs)
    saved, trained = time.monotonic(), state.epochs < job.recipe.epochs
    curve_photos = sets.validation.take(slice(CURVE_PHOTOS))
    measured = measured_epochs(job.recipe.epochs)
    while state.epochs < job.recipe.epochs:
        losses = _run_epoch(network, optimizer, scaler, sets.train, job, state)
        if state.epochs in measured:
            wrong, val_losses = measure(network, scaler, curve_photos)
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
    if kept and taken is None:
        kept[0].parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(kept[0], network.state_dict(), vars(state))
    name = taken.stem if taken and taken.stem != job.name else ""
    return replace(_outcome(network, scaler, sets, state), trained=trained, taken_from=name)


def _take_kept(kept: Sequence[Path], fresh: _State, network: StackedNetwork) -> _Kept | None:
    """Fill the network from the first file of the same settings and training photos."""
    for path in kept:
        if path.exists():
            tensors, found = load_checkpoint(path)
            if (found.get("settings"), found.get("photos")) == (fresh.settings, fresh.photos):
                network.load_state_dict(tensors)
                return path, _State(**found)
    return None


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

    Right is an answer whose logit lies above all others: dead classes tie, and a tie is no answer.
    """
    network.eval()
    wrong, losses = [], torch.zeros(len(network.placements))
    for pixels, labels in photos.batches(_MEASURE_BATCH):
        logits = network(scaler(pixels))
        wrong.append(~_is_right(logits, labels))
        losses += stack_losses(logits, labels) * len(labels)
    network.train()
    return torch.cat(wrong, dim=1).numpy(), (losses / len(photos)).tolist()


def _is_right(logits: Tensor, labels: Tensor) -> Tensor:
    """Bool (S, B) of logits (S, B, classes) and labels (B,)."""
    own = logits[:, torch.arange(len(labels)), labels]
    is_own = torch.nn.functional.one_hot(labels, logits.shape[2]).bool()
    others = logits.masked_fill(is_own, -torch.inf).amax(dim=2)
    return (own > others) & logits.isfinite().all(dim=2)


@torch.inference_mode()
def measure_activity(network: StackedNetwork, scaler: Scaler, photos: Photos) -> list[Activity]:
    """Dead units and zeros of each ReLU of each placement; NaN for a network that diverged."""
    network.eval()
    diverged = torch.zeros(len(network.placements), dtype=torch.bool)
    tallies = [ActivityTally() for _ in LAYERS]
    for pixels, _ in photos.batches(_MEASURE_BATCH):
        values = network.activations(scaler(pixels))
        # What is no number in any layer is none in the logits.
        diverged |= ~values[-1].isfinite().flatten(1).all(dim=1)
        for tally, given in zip(tallies, values, strict=True):
            tally.add(given if given.ndim == 4 else given.permute(1, 0, 2).flatten(1))
    network.train()
    found = []
    for layer, tally in zip(LAYERS, tallies, strict=True):
        shape = (len(network.placements), -1)
        dead, zeros = tally.dead.double().view(shape).mean(1), tally.zeros.view(shape).mean(1)
        dead[diverged] = zeros[diverged] = torch.nan
        found += [
            Activity(placement_name(placement), layer, float(dead[place]), float(zeros[place]))
            for place, placement in enumerate(network.placements)
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
    generator = torch.Generator().manual_seed(mixed_seed(job.seed, job.size_px, 1 + done))
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
    bits, losses = measure(network, scaler, sets.validation)
    wrong = {"validation": bits}
    if sets.test is not None:
        wrong["test"] = measure(network, scaler, sets.test)[0]
    activity = measure_activity(network, scaler, sets.validation)
    curve = [Epoch(**row) for row in state.curve]
    return Outcome(curve, activity, wrong, losses, state.starts)


def _line(epoch: Epoch, epochs: int) -> str:
    errors = dict(zip(NAMES, epoch.val_error, strict=True))
    best = min(NAMES, key=lambda name: errors[name])
    return (
        f"epoch {epoch.epoch}/{epochs}, {epoch.seconds:.0f} s; validation error {PUBLISHED_NAME} "
        f"{100 * errors[PUBLISHED_NAME]:.2f} %, best {best} {100 * errors[best]:.2f} %"
    )
