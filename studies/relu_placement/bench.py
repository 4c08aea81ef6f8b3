"""Stacked training against one network after another, on the same photos in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from studies.relu_placement.data import Photos, make_scaler, resized
from studies.relu_placement.model import PLACEMENTS, Shape, initial_weights, plain_network
from studies.relu_placement.plan import Recipe
from studies.relu_placement.stacked import StackedNetwork, train_step
from studies.relu_placement.train import make_optimizer
from torch import Tensor, nn

from beltsight.machine import describe_machine

LEAST_RATIO = 1.3
# Where the cost of calling outweighs the sums; wished for, and told where missed.
WISHED_RATIO = 5.0
LARGEST_GAP = 1e-4
SAME_STEPS = 20
# N and batch. The floors hold at N = 28 and these two batches; of N = 44 it is told, not asked.
_FLOORS = ((28, 32), (28, 100))
_TOLD = ((44, 32),)
_SMALL = ((16, 4), (16, 8), (28, 4))  # where overhead dominates
_PHOTOS = 2000
# The MatConvNet example's. At much higher rates a float32 run parts from another one as soon as the
# input of some ReLU lies within rounding of zero; in float64 stack and plain stay together (tests).
_RATE = 0.001

Batch = tuple[Tensor, Tensor]
Train = Callable[[Sequence[Batch]], Tensor]


@dataclass(frozen=True)
class Speed:
    """One way of training against plain PyTorch.

    Args:
        way: its name.
        size_px: N.
        batch_size: photos a step.
        plain_ms: of a step of all 16, one after another; the best round.
        own_ms: of a step of all 16; the best round.
        ratios: per round, plain / own.
        gap: largest difference of any loss over the first 20 steps.
    """

    way: str
    size_px: int
    batch_size: int
    plain_ms: float
    own_ms: float
    ratios: tuple[float, ...]
    gap: float

    @property
    def ratio(self) -> float:
        """Of the best rounds: what other work on the machine disturbs least."""
        return self.plain_ms / self.own_ms

    @property
    def wanted_ratio(self) -> float:
        """The ratio asked of this way at this size and batch; 0 where none is."""
        if self.way != "stacked":
            return 0.0
        regime = (self.size_px, self.batch_size)
        return LEAST_RATIO if regime in _FLOORS else WISHED_RATIO if regime in _SMALL else 0.0

    @property
    def misses(self) -> str:
        """What floor is missed; empty where none is. Only the stack in float32 has floors."""
        if self.way != "stacked" or (self.size_px, self.batch_size) not in _FLOORS:
            return ""
        told = [f"{self.ratio:.2f}x < {LEAST_RATIO}x"] if self.ratio < LEAST_RATIO else []
        told += [f"losses differ by {self.gap:.1e}"] if not self.gap <= LARGEST_GAP else []
        return f"N = {self.size_px}, batch {self.batch_size}: {', '.join(told)}" if told else ""


def bench_rows(
    known: Photos, command: str, *, quick: bool = False
) -> tuple[list[dict[str, object]], list[str]]:
    """Measure, and print, every way at every size and batch.

    Args:
        known: photos of MNIST.
        command: that makes the rows.
        quick: fewer sizes and steps.

    Returns:
        Rows of bench.csv, and the floors that were missed.
    """
    regimes = (_FLOORS[0], _SMALL[0]) if quick else (*_SMALL, *_FLOORS, *_TOLD)
    rounds, few = (2, 3) if quick else (4, 4)
    speeds = []
    for size, batch in regimes:
        photos = resized(known.take(slice(_PHOTOS)), size)
        steps = SAME_STEPS if (size, batch) in _SMALL else few  # short ones, so more of them
        for speed in measure_speed(photos, size, batch, rounds=rounds, steps=steps):
            speeds.append(speed)
            spread = f"{min(speed.ratios):.2f} to {max(speed.ratios):.2f}"
            print(
                f"N = {size}, batch {batch}, {speed.way}: {speed.own_ms:.0f} ms a step of all "
                f"16, one after another {speed.plain_ms:.0f} ms: {speed.ratio:.2f}x (rounds "
                f"{spread}), losses within {speed.gap:.1e}",
                flush=True,
            )
    return [_row(speed, command) for speed in speeds], [s.misses for s in speeds if s.misses]


def _row(speed: Speed, command: str) -> dict[str, object]:
    return {
        "way": speed.way, "size_px": speed.size_px, "batch_size": speed.batch_size,
        "plain_ms": round(speed.plain_ms, 2), "own_ms": round(speed.own_ms, 2),
        "ratio": round(speed.ratio, 3), "lowest_ratio": round(min(speed.ratios), 3),
        "highest_ratio": round(max(speed.ratios), 3), "wanted_ratio": speed.wanted_ratio or "",
        "gap": f"{speed.gap:.2g}", "processor": describe_machine()["processor"],
        "threads": torch.get_num_threads(), "command": command,
    }  # fmt: skip


def bench_text(rows: Sequence[Mapping[str, str]]) -> str:
    """The rows of bench.csv as a table."""
    lines = [
        "| way | N | batch | ms a step of all 16 | one after another | ratio (rounds) | asked | "
        "largest difference of a loss, 20 steps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        wanted = float(row["wanted_ratio"] or 0)
        asked = f"{wanted:g}x" + (", missed" if float(row["ratio"]) < wanted else "")
        lines.append(
            f"| {row['way']} | {row['size_px']} | {row['batch_size']} | {float(row['own_ms']):.1f} "
            f"| {float(row['plain_ms']):.1f} | **{float(row['ratio']):.2f}x** "
            f"({row['lowest_ratio']} to {row['highest_ratio']}) | {asked if wanted else '-'} | "
            f"{row['gap']} |"
        )
    return "\n".join(lines) + f"\n\n{rows[0]['processor']}, {rows[0]['threads']} threads."


def measure_speed(
    photos: Photos, size_px: int, batch_size: int, *, rounds: int, steps: int
) -> list[Speed]:
    """Time each way in turn, round after round, after comparing its losses with plain PyTorch's.

    Args:
        photos: at this size.
        size_px: N.
        batch_size: photos a step.
        rounds: whose best counts.
        steps: timed in each.

    Raises:
        SystemExit: fewer photos than one batch.
    """
    if len(photos) < batch_size:
        raise SystemExit(f"bench: {len(photos)} photos do not fill a batch of {batch_size}")
    shape, recipe = Shape(size_px), Recipe(rate=_RATE, weight_decay=0.0, momentum=0.9)
    scaler = make_scaler(photos, "standard")
    everything = list(islice(_endless(photos, batch_size), SAME_STEPS))
    batches = [(scaler(pixels), labels) for pixels, labels in everything]
    plain, *others = (
        ("plain", plain_training(shape)),
        ("stacked", stack_training(shape, recipe)),
        ("stacked, bfloat16", stack_training(shape, recipe, torch.bfloat16)),
        ("torch.func.vmap", vmap_training(shape)),
    )
    expected = plain[1](batches)
    gaps = {name: float((train(batches) - expected).abs().max()) for name, train in others}
    few = batches[:steps]
    times: dict[str, list[float]] = {name: [] for name, _ in (plain, *others)}
    for _ in range(rounds):
        for name, train in (plain, *others):
            start = time.perf_counter()
            train(few)
            times[name].append(1000 * (time.perf_counter() - start) / len(few))
    return [
        Speed(
            name, size_px, batch_size, min(times["plain"]), min(times[name]),
            tuple(a / b for a, b in zip(times["plain"], times[name], strict=True)), gaps[name],
        )
        for name, _ in others
    ]  # fmt: skip


def plain_training(shape: Shape) -> Train:
    """Sixteen networks as anyone would train them; gives losses (steps, 16)."""
    weights = initial_weights(shape, "torch", 0)
    networks = [plain_network(shape, placement, weights) for placement in PLACEMENTS]
    pairs = [(each, torch.optim.SGD(each.parameters(), _RATE, 0.9)) for each in networks]

    def train(batches: Sequence[Batch]) -> Tensor:
        losses = torch.zeros(len(batches), len(pairs))
        for place, (network, optimizer) in enumerate(pairs):
            for step, (inputs, labels) in enumerate(batches):
                loss = nn.functional.cross_entropy(network(inputs), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses[step, place] = loss.detach()
        return losses

    return train


def stack_training(shape: Shape, recipe: Recipe, dtype: torch.dtype = torch.float32) -> Train:
    """The study's way."""
    weights = initial_weights(shape, "torch", 0)
    network = StackedNetwork(shape, PLACEMENTS, weights, dtype=dtype)
    optimizer = make_optimizer(network, recipe)
    return lambda batches: torch.stack([train_step(network, optimizer, *each) for each in batches])


def vmap_training(shape: Shape) -> Train:
    """The same by ``torch.func``: one network whose ReLUs a mask chooses, mapped over weights."""
    weights = initial_weights(shape, "torch", 0)
    stacked: dict[str, Tensor] = {
        name: nn.Parameter(value.expand(len(PLACEMENTS), *value.shape).clone())
        for name, value in weights.items()
    }
    masks = torch.tensor(PLACEMENTS)
    layers = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]

    def losses_of(own: dict[str, Tensor], mask: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        values = inputs
        for layer, name in enumerate(layers):
            values = nn.functional.conv2d(values, own[f"{name}.weight"], own[f"{name}.bias"])
            values = torch.where(mask[layer], values.relu(), values)
            values = nn.functional.max_pool2d(values, 2) if layer < 2 else values
        return nn.functional.cross_entropy(values.flatten(1), labels)

    mapped = torch.func.vmap(losses_of, in_dims=(0, 0, None, None))
    optimizer = torch.optim.SGD(stacked.values(), _RATE, 0.9, fused=True)

    def train(batches: Sequence[Batch]) -> Tensor:
        found = []
        for inputs, labels in batches:
            losses = mapped(stacked, masks, inputs, labels)
            optimizer.zero_grad()
            losses.sum().backward()
            optimizer.step()
            found.append(losses.detach())
        return torch.stack(found)

    return train


def step_seconds(shape: Shape, recipe: Recipe) -> float:
    """Seconds of one step of a stack, the second one: what an estimate rests on."""
    dtype = torch.bfloat16 if recipe.precision == "bfloat16" else torch.float32
    weights = initial_weights(shape, recipe.initialisation, 0)
    network = StackedNetwork(shape, PLACEMENTS, weights, recipe.normalisation, dtype)
    optimizer = make_optimizer(network, recipe)
    generator = torch.Generator().manual_seed(0)
    size = (recipe.batch_size, shape.channels, shape.size_px, shape.size_px)
    photos = torch.rand(size, generator=generator)
    labels = torch.randint(0, shape.classes, (recipe.batch_size,), generator=generator)
    moments = [time.perf_counter()]
    for _ in range(2):
        train_step(network, optimizer, photos, labels)
        moments.append(time.perf_counter())
    return [b - a for a, b in pairwise(moments)][-1]


def _endless(photos: Photos, batch_size: int) -> Iterator[Batch]:
    while True:
        for batch in photos.batches(batch_size):
            if len(batch[1]) == batch_size:
                yield batch
