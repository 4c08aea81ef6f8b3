"""A grid of measurements: what is asked for, and what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from beltsight.bench.camera import RESOLUTIONS
from beltsight.bench.summary import Ratio, Summary
from beltsight.config import nearest
from beltsight.engines import ENGINES
from beltsight.errors import ConfigError

PREPARED = "prepared"
INPUTS = (PREPARED, *RESOLUTIONS)


def _check_names(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise ConfigError(f"there is no {what} {name!r}; {nearest(name, known)}")


@dataclass(frozen=True, slots=True)
class GridSettings:
    """What to measure.

    Args:
        engines: by name; all that this machine has where empty.
        inputs: among ``INPUTS``: ``prepared`` is the bare network on prepared photos; a resolution
            is measured from the camera's frame and from its JPEG to the answer.
        batches: frames per call.
        threads: computing threads; 0 for one per core.
        rounds: turns of each contestant.
        turn_s: least length of a turn, in seconds.

    Raises:
        ConfigError: an engine or input that there is not, or a count that is none.
    """

    engines: tuple[str, ...] = ()
    inputs: tuple[str, ...] = INPUTS
    batches: tuple[int, ...] = (1,)
    threads: int = 0
    rounds: int = 5
    turn_s: float = 0.5

    def __post_init__(self) -> None:
        _check_names("engine", self.engines, ENGINES)
        _check_names("input", self.inputs, INPUTS)
        counts = (self.rounds, *self.batches)
        if not (self.inputs and self.batches) or min(counts) < 1 or not 0 <= self.turn_s <= 3600:
            raise ConfigError(
                "a grid needs inputs, batches and rounds of at least 1, and turns of 0 to 3600 "
                f"seconds; got {self.inputs}, {self.batches}, {self.rounds} and {self.turn_s}"
            )


@dataclass(frozen=True, slots=True)
class Contestant:
    """A network in an engine.

    Args:
        model: its name for people.
        backbone: the network that the card names.
        engine: what computes.
        precision: in which numbers.
    """

    model: str
    backbone: str
    engine: str
    precision: str


@dataclass(frozen=True, slots=True)
class Work:
    """What is done in a call.

    Args:
        kind: ``network``: prepared photos to raw outputs; ``frame``: pixels of a camera to
            answers; ``jpeg``: the same from the bytes of a JPEG.
        input: among ``INPUTS``.
        batch: frames per call.
    """

    kind: Literal["network", "frame", "jpeg"]
    input: str
    batch: int

    @property
    def title(self) -> str:
        """For people."""
        names = {
            "network": "network alone",
            "frame": f"{self.input} frame to answer",
            "jpeg": f"{self.input} JPEG to answer",
        }
        return names[self.kind] + (f", batches of {self.batch}" if self.batch > 1 else "")


class Peer(Protocol):
    """Another program's way to compute the same network, on prepared photos."""

    @property
    def contestant(self) -> Contestant:
        """What it is."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    def prepare(self, photos: NDArray[np.uint8]) -> Any:
        """Photos uint8 (N, H, W, 3) in the form it takes; not timed."""

    def run(self, prepared: Any) -> object:
        """Compute the network; timed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One contestant at one work.

    Args:
        contestant: who.
        work: what.
        summary: how fast.
        memory_mb: resident memory that it took to load and to run.
        ratio: times as fast as ``base``; None for the base itself.
        base: who that is.
    """

    contestant: Contestant
    work: Work
    summary: Summary
    memory_mb: float
    ratio: Ratio | None
    base: str

    def to_record(self) -> dict[str, Any]:
        """As JSON."""
        who, work = self.contestant, self.work
        return {
            "model": who.model,
            "backbone": who.backbone,
            "engine": who.engine,
            "precision": who.precision,
            "work": work.kind,
            "input": work.input,
            "batch": work.batch,
            **self.summary.to_record(),
            "memory_mb": round(self.memory_mb, 1),
            "times_as_fast": self.ratio.to_record() if self.ratio else None,
            "as": self.base,
        }


@dataclass(frozen=True, slots=True)
class Grid:
    """Everything that was measured.

    Args:
        machine: where, as :func:`beltsight.bench.describe_conditions` says it.
        settings: as asked.
        rows: in order of work, then as the contestants were named.
        left_out: why what was asked for could not be measured.
        notes: what a reader must know.
    """

    machine: Mapping[str, Any]
    settings: GridSettings
    rows: tuple[Row, ...]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "machine": dict(self.machine),
            "threads": self.settings.threads or self.machine["cores"],
            "rounds": self.settings.rounds,
            "turn_s": self.settings.turn_s,
            "rows": [row.to_record() for row in self.rows],
            "left_out": list(self.left_out),
            "notes": list(self.notes),
        }
