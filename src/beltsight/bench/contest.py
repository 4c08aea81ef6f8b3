"""Measure a grid: models in every engine and precision, on prepared photos, frames and JPEGs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.bench.camera import camera_frames
from beltsight.bench.conditions import describe_conditions
from beltsight.bench.grid import PREPARED, Contestant, Grid, GridSettings, Peer, Row, Work
from beltsight.bench.memory import resident_mb
from beltsight.bench.summary import ratio_of_medians, summarise
from beltsight.bench.timing import Timing, take_turns, time_calls
from beltsight.engines import available_engines
from beltsight.errors import ConfigError, ModelError
from beltsight.jpeg import encode_jpeg
from beltsight.model import Model
from beltsight.records import Photo

_FRAMES = 4
_WARM_UP_CALLS = 2
_LEAST_CALLS = 5
_TF32 = 2.0**-11  # what an engine that computes in it says of its rounding


@dataclass(frozen=True, slots=True)
class _Entry:
    """A contestant made ready: how it does a work, and what it took to load."""

    contestant: Contestant
    turn: Callable[[Work], Callable[[], Timing] | None]
    loaded_mb: float
    is_peer: bool = False


@dataclass(slots=True)
class _Frames:
    """Camera frames and their JPEGs, made when first wanted."""

    frames: dict[str, list[Photo]] = field(default_factory=dict)
    jpegs: dict[str, list[bytes]] = field(default_factory=dict)

    def of(self, work: Work) -> list[list[Photo | bytes]]:
        """Some different calls' worth of frames or JPEGs."""
        size = "480p" if work.input == PREPARED else work.input
        if size not in self.frames:
            self.frames[size] = camera_frames(size, _FRAMES)
        items: Sequence[Photo | bytes] = self.frames[size]
        if work.kind == "jpeg":
            if size not in self.jpegs:
                self.jpegs[size] = [encode_jpeg(frame) for frame in self.frames[size]]
            items = self.jpegs[size]
        starts = range(_FRAMES)
        return [[items[(s + i) % _FRAMES] for i in range(work.batch)] for s in starts]


def run_grid(
    models: Mapping[str, Path | None],
    settings: GridSettings = GridSettings(),
    peers: Sequence[Peer] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
    notes: Sequence[str] = (),
) -> Grid:
    """Measure models in engines, all in turns.

    Args:
        models: by name for people; None is the packaged one.
        settings: what to measure.
        peers: also take part, in the network alone.
        progress: told (done, total) turns.
        notes: what a reader must know of the peers.

    Raises:
        ConfigError: no model.
        ModelError: a file that is no model, or that no engine here computes.
        MissingExtraError: an engine that was asked for is not installed.
    """
    if not models:
        raise ConfigError("no model to measure; name a model file, or 'default'")
    machine = describe_conditions()
    frames = _Frames()
    entries, left_out = _open_all(models, settings, frames)
    entries += [_peer_entry(peer, frames, settings) for peer in peers]
    works = [work for batch in settings.batches for work in _works(settings.inputs, batch)]
    turns: dict[tuple[int, Work], Callable[[], Timing]] = {}
    for work in works:
        for number, entry in enumerate(entries):
            if turn := entry.turn(work):
                turns[number, work] = turn
    found, failed = _take_turns(turns, settings.rounds, progress)
    for (number, work), error in failed.items():
        who = entries[number].contestant
        left_out.append(f"{who.model} in {who.engine}, {work.title}: {error}")
    rows = [row for work in works for row in _rows(work, entries, found, machine["cores"])]
    return Grid(machine, settings, tuple(rows), tuple(left_out), tuple(notes))


def _take_turns(
    turns: Mapping[tuple[int, Work], Callable[[], Timing]],
    rounds: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[tuple[int, Work], list[Timing]], dict[tuple[int, Work], ModelError]]:
    """What each turn gave, and what failed: the others' turns are not lost with it.

    Raises:
        ModelError: all fail.
    """
    failed: dict[tuple[int, Work], ModelError] = {}

    def tried(place: tuple[int, Work]) -> Timing | None:
        try:
            return None if place in failed else turns[place]()
        except ModelError as error:
            failed[place] = error
            return None

    names = {f"{number} {work}": (number, work) for number, work in turns}
    taken = take_turns(
        {name: partial(tried, place) for name, place in names.items()}, rounds, progress
    )
    if turns and len(failed) == len(turns):
        raise next(iter(failed.values()))
    found = {
        names[name]: [timing for timing in timings if timing is not None]
        for name, timings in taken.items()
        if names[name] not in failed
    }
    return found, failed


def precision_of(model: Model) -> str:
    """In which numbers a model computes: its file's, else its engine's.

    Layers that an int8 file leaves in float are computed in the engine's numbers.
    """
    rounding = model.engine.rounding
    engine = "float32" if not rounding else "bf16" if rounding > _TF32 else "TF32"
    if model.card.quantization is None:
        return engine
    return "int8" if engine == "float32" else f"int8 and {engine}"


def _open_all(
    models: Mapping[str, Path | None], settings: GridSettings, frames: _Frames
) -> tuple[list[_Entry], list[str]]:
    """All models in all engines; where one cannot compute a model, the reason instead."""
    entries: list[_Entry] = []
    left_out: list[str] = []
    for name, path in models.items():
        refusals: dict[str, ModelError] = {}
        engines = settings.engines or available_engines()
        for engine in engines:
            try:
                entries.append(_open(name, path, engine, settings, frames))
            except ModelError as error:
                refusals[engine] = error
        # What no engine takes is the file's fault.
        if len(refusals) == len(engines):
            raise next(iter(refusals.values()))
        left_out += [f"{name} in {engine}: {error}" for engine, error in refusals.items()]
    return entries, left_out


def _open(
    name: str, path: Path | None, engine: str, settings: GridSettings, frames: _Frames
) -> _Entry:
    before_mb = resident_mb()
    model = Model.load(path, engine=engine, threads=settings.threads)
    who = Contestant(name, model.card.training.backbone, engine, precision_of(model))
    turn = partial(_turn, model, frames, settings)
    return _Entry(who, turn, max(0.0, resident_mb() - before_mb))


def _turn(
    model: Model, frames: _Frames, settings: GridSettings, work: Work
) -> Callable[[], Timing]:
    items: Sequence[Any] = frames.of(work)
    function: Callable[[Any], object] = partial(_predict, model)
    if work.kind == "network":
        items = [np.stack([model.prepare(frame) for frame in item]) for item in items]
        names = [*(task.name for task in model.tasks), "embedding"]
        function = partial(_run_engine, model, names)
    return _timed(function, items, work, settings)


def _predict(model: Model, batch: Any) -> object:
    return model.predict(batch, batch_size=len(batch))


def _run_engine(model: Model, names: Sequence[str], batch: NDArray[np.uint8]) -> object:
    return model.engine.run(batch, names)


def _timed(
    function: Callable[[Any], object], items: Sequence[Any], work: Work, settings: GridSettings
) -> Callable[[], Timing]:
    return partial(
        time_calls,
        function,
        items,
        frames_per_call=work.batch,
        warm_up=_WARM_UP_CALLS,
        least_calls=_LEAST_CALLS,
        least_s=settings.turn_s,
    )


def _peer_entry(peer: Peer, frames: _Frames, settings: GridSettings) -> _Entry:
    def turn(work: Work) -> Callable[[], Timing] | None:
        if work.kind != "network":
            return None
        height, width = peer.input_size
        # What the pixels are makes no difference to a network's time.
        batches = [np.stack([_cut(f, height, width) for f in item]) for item in frames.of(work)]
        return _timed(peer.run, [peer.prepare(batch) for batch in batches], work, settings)

    return _Entry(peer.contestant, turn, 0.0, is_peer=True)


def _cut(frame: Any, height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(np.resize(frame[:height, :width], (height, width, 3)), np.uint8)


def _works(inputs: Sequence[str], batch: int) -> Iterator[Work]:
    for name in inputs:
        if name == PREPARED:
            yield Work("network", PREPARED, batch)
        else:
            yield Work("frame", name, batch)
            yield Work("jpeg", name, batch)


def _rows(
    work: Work,
    entries: Sequence[_Entry],
    found: Mapping[tuple[int, Work], Sequence[Timing]],
    cores: int,
) -> Iterator[Row]:
    there = [number for number in range(len(entries)) if (number, work) in found]
    for number in there:
        entry, timings = entries[number], found[number, work]
        base = _base(number, there, entries, {n: found[n, work] for n in there})
        summary = summarise(timings, cores)
        ratio = None
        if base != number:
            peer = [timing.times_s for timing in found[base, work]]
            ratio = ratio_of_medians(peer, [timing.times_s for timing in timings])
        who = entries[base].contestant
        name = f"{who.model} in {who.engine}, {who.precision}"
        memory_mb = entry.loaded_mb + summary.growth_mb
        yield Row(entry.contestant, work, summary, memory_mb, ratio, name)


def _base(
    number: int,
    there: Sequence[int],
    entries: Sequence[_Entry],
    found: Mapping[int, Sequence[Timing]],
) -> int:
    """Who a contestant is compared with: the best peer of its network, else the first named."""
    backbone = entries[number].contestant.backbone
    peers = [n for n in there if entries[n].is_peer and entries[n].contestant.backbone == backbone]
    if not peers:
        return there[0]
    return min(peers, key=lambda n: np.median(np.concatenate([t.times_s for t in found[n]])))
