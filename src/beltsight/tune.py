"""Which engine computes a model fastest on this machine, measured.

Only engines that compute in float32 take part unless bfloat16 is allowed by name, and none whose
golden answers are wrong: speed must not change an answer unnoticed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beltsight.config import ASSETS
from beltsight.engines import Engine, available_engines
from beltsight.errors import BeltsightError, ConfigError, ModelError
from beltsight.machine import usable_cores
from beltsight.model import Model
from beltsight.tuned import Choice, Purpose, Tuning, machine_key

BATCHES = (1, 4, 16)
_ROUNDS = 3
_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine with one batch size.

    Args:
        purpose: ``latency`` has one call at a time on all threads, ``throughput`` a call a thread.
        engine: its name.
        batch_size: photos per call.
        photos_per_s: median of the rounds; None where it was refused.
        refused: why it takes no part.
    """

    purpose: Purpose
    engine: str
    batch_size: int
    photos_per_s: float | None
    refused: str | None = None


def tune(
    model: Model,
    photos: NDArray[np.uint8],
    *,
    threads: int = 0,
    bfloat16: bool = False,
    seconds: float = _SECONDS,
    watch: Callable[[Trial], None] = lambda trial: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Time each engine of this machine and choose.

    Args:
        model: from a file.
        photos: uint8 (N, H, W, 3) RGB, prepared; N is at least the largest of ``BATCHES``.
        threads: computing threads in all; 0 means one per core.
        bfloat16: whether engines that round coarser than float32 may be chosen: to bfloat16, or
            to TF32.
        seconds: of each of three rounds of a trial.
        watch: called with each trial as it ends.
        clock: seconds.

    Raises:
        ModelError: no engine computes this model on this machine.
        ConfigError: the model is of no file, or there are too few photos.
    """
    if model.path is None:
        raise ConfigError("only a model that was loaded from a file can be tuned")
    if len(photos) < max(BATCHES):
        raise ConfigError(f"tuning takes {max(BATCHES)} photos at once, got {len(photos)}")
    counted = threads or usable_cores()
    outputs = [*(task.name for task in model.tasks), "embedding"]
    trials = []
    for trial in _trials(model, photos, outputs, counted, bfloat16, seconds, clock):
        trials.append(trial)
        watch(trial)
    return Tuning(
        model_sha256=model.hash,
        threads=counted,
        machine=machine_key(),
        latency=choose(trials, "latency"),
        throughput=choose(trials, "throughput"),
    )


def packaged_photos(model: Model) -> NDArray[np.uint8]:
    """As many of the packaged photos as ``BATCHES`` want, prepared: uint8 (N, H, W, 3) RGB."""
    paths = sorted((ASSETS / "demo").rglob("*.jpg"))[: max(BATCHES)]
    return np.stack([model.prepare(path) for path in paths])


def choose(trials: Sequence[Trial], purpose: Purpose) -> Choice:
    """The fastest for a purpose; among equals the first.

    Raises:
        ModelError: every engine was refused.
    """
    timed = [(t.photos_per_s, t) for t in trials if t.purpose == purpose and t.photos_per_s]
    if not timed:
        refused = [f"{t.engine}: {t.refused}" for t in trials if t.refused]
        raise ModelError(
            f"no engine computes this model for {purpose} on this machine: "
            f"{'; '.join(dict.fromkeys(refused))}"
        )
    rate, best = max(timed, key=lambda pair: pair[0])
    return Choice(engine=best.engine, batch_size=best.batch_size, photos_per_s=round(rate, 2))


def _trials(
    model: Model,
    photos: NDArray[np.uint8],
    outputs: Sequence[str],
    threads: int,
    bfloat16: bool,
    seconds: float,
    clock: Callable[[], float],
) -> Iterator[Trial]:
    def rate(engine: Engine, size: int, callers: int) -> float:
        return photos_per_second(engine, photos[:size], outputs, callers, seconds, clock)

    for name in available_engines():
        purpose: Purpose = "latency"
        size = 1
        try:
            engine = Model.load(model.path, threads=threads, engine=name).engine
            if engine.rounding and not bfloat16:
                raise ModelError("it rounds coarser than float32; --bfloat16 allows it")
            yield Trial(purpose, name, size, rate(engine, size, 1))
            purpose = "throughput"
            if threads > 1:
                engine = Model.load(
                    model.path, threads=threads, streams=threads, engine=name, verify=False
                ).engine
            for size in BATCHES:
                yield Trial(purpose, name, size, rate(engine, size, threads))
        except BeltsightError as error:  # such as too little memory for a batch
            yield Trial(purpose, name, size, None, str(error))


def photos_per_second(
    engine: Engine,
    photos: NDArray[np.uint8],
    outputs: Sequence[str],
    callers: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Rate of some callers at once: median of the rounds, after one call of each as warm-up."""
    from concurrent.futures import ThreadPoolExecutor

    def call(until: float) -> int:
        done = 0
        while not done or clock() < until:  # once at least, however late a busy machine begins
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
