"""Which engine computes a model fastest on this machine: measured once, stored, and used since.

A choice holds for one model file (by its hash), one machine with its libraries, and one number of
threads. Only engines that compute in float32 take part unless bfloat16 is allowed by name: speed
must not change an answer unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beltsight.engines import Engine
from beltsight.errors import BeltsightError
from beltsight.machine import describe_machine, usable_cores

Purpose = Literal["latency", "throughput"]
BATCHES = (1, 4, 16)
_ROUNDS = 3
_LARGEST_STORE = 100_000  # bytes


class Choice(BaseModel):
    """An engine, and how many photos it is given per call."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: str
    batch_size: int = Field(ge=1, le=4096)
    photos_per_s: float = Field(gt=0)


class Tuning(BaseModel):
    """What one measurement found; stored as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model_sha256: str
    threads: int
    machine: str
    latency: Choice
    throughput: Choice


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine with one batch size: photos per second, median of ``_ROUNDS`` rounds."""

    purpose: Purpose
    engine: str
    batch_size: int
    photos_per_s: float


def measure(
    open_stream: Callable[[str, int], Engine],
    engines: Sequence[str],
    photos: NDArray[np.uint8],
    outputs: Sequence[str],
    threads: int,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Trial]:
    """Time each engine: one photo at a time, and as many as it can.

    Args:
        open_stream: from an engine's name and a number of streams to the engine.
        engines: names.
        photos: uint8 (N, H, W, 3) RGB, prepared; N is at least the largest of ``BATCHES``.
        outputs: what an answer needs.
        threads: computing threads in all.
        seconds: of each of the rounds.
        clock: seconds.
    """
    for name in engines:
        engine = open_stream(name, 1)
        yield Trial("latency", name, 1, _rate(engine, photos[:1], outputs, 1, seconds, clock))
        engine = engine if threads == 1 else open_stream(name, threads)
        for size in BATCHES:
            rate = _rate(engine, photos[:size], outputs, engine.streams, seconds, clock)
            yield Trial("throughput", name, size, rate)


def _rate(
    engine: Engine,
    photos: NDArray[np.uint8],
    outputs: Sequence[str],
    callers: int,
    seconds: float,
    clock: Callable[[], float],
) -> float:
    """Photos per second with some callers at once; the first call of each is warm-up."""
    from concurrent.futures import ThreadPoolExecutor

    def call(until: float) -> int:
        done = 0
        while clock() < until:
            engine.run(photos, outputs)
            done += len(photos)
        return done

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda _: engine.run(photos, outputs), range(callers)))
        rates = []
        for _ in range(_ROUNDS):
            began = clock()
            done = sum(pool.map(call, [began + seconds] * callers))
            rates.append(done / (clock() - began))
    return statistics.median(rates)


def choose(trials: Sequence[Trial], purpose: Purpose) -> Choice:
    """The fastest for a purpose; among equals the first."""
    best = max((t for t in trials if t.purpose == purpose), key=lambda t: t.photos_per_s)
    return Choice(
        engine=best.engine, batch_size=best.batch_size, photos_per_s=round(best.photos_per_s, 2)
    )


def machine_key() -> str:
    """Names this machine with its libraries: another one's choice means nothing here."""
    text = json.dumps(describe_machine(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def store_path(model_hash: str, threads: int) -> Path:
    """Where a choice is kept: under ``BELTSIGHT_CACHE``, else in the user's cache folder."""
    return _store_folder() / f"{model_hash[:32]}-{machine_key()}-{threads}.json"


def _store_folder() -> Path:
    base = os.environ.get("BELTSIGHT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "beltsight"
    )
    return Path(base) / "tuned"


def save_tuning(tuning: Tuning) -> Path:
    """Store a choice, whole or not at all.

    Raises:
        BeltsightError: the folder cannot be written.
    """
    path = store_path(tuning.model_sha256, tuning.threads)
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(tuning.model_dump_json(indent=1) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise BeltsightError(
            f"{path}: the choice cannot be stored: {error.strerror}; name a folder that can be "
            "written with the environment variable BELTSIGHT_CACHE"
        ) from error
    return path


def stored_tuning(model_hash: str, threads: int) -> Tuning | None:
    """The choice for this file on this machine, or None: never measured, or not readable."""
    path = store_path(model_hash, threads)
    try:
        with path.open("rb") as file:
            tuning = Tuning.model_validate_json(file.read(_LARGEST_STORE))
    except (OSError, ValidationError):
        return None
    same = tuning.model_sha256 == model_hash and tuning.threads == threads
    return tuning if same and tuning.machine == machine_key() else None


def stored_choice(model_hash: str, threads: int, streams: int) -> Choice | None:
    """The engine for this file on this machine, and its batch, where they were measured.

    Args:
        model_hash: of the model file.
        threads: as asked for; 0 means one per core.
        streams: 1 wants the least latency, more want the most photos per second.
    """
    if not _store_folder().is_dir():
        return None
    tuning = stored_tuning(model_hash, threads or usable_cores())
    if tuning is None:
        return None
    return tuning.latency if streams == 1 else tuning.throughput
