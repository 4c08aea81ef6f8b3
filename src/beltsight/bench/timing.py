"""Time calls, streams, and several contestants in turns."""

from __future__ import annotations

import itertools
import math
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from beltsight.bench.memory import PeakMemory
from beltsight.errors import ConfigError

T = TypeVar("T")
R = TypeVar("R")
Clock = Callable[[], float]
_MOST_CALLS = 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """What was seen in one turn, warm-up left out.

    Args:
        times_s: float64 (calls,): how long each call took, or in a stream the time from one
            answer to the next.
        frames: in all of them together.
        wall_s: from the start of the first to the end of the last, whatever lies between calls
            included.
        cpu_s: processor time of the process, all its threads, in that time.
        growth_mb: the most memory held, beyond what was held before the warm-up.
    """

    times_s: NDArray[np.float64]
    frames: int
    wall_s: float
    cpu_s: float
    growth_mb: float

    @property
    def frames_per_s(self) -> float:
        """Over wall time."""
        return self.frames / self.wall_s if self.wall_s > 0 else math.inf


def time_calls(
    function: Callable[[T], object],
    frames: Sequence[T],
    *,
    frames_per_call: int = 1,
    warm_up: int = 3,
    least_calls: int = 10,
    least_s: float = 1.0,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> Timing:
    """Call a function on one frame after the other and time each call.

    Args:
        function: of a frame, or of a batch where ``frames_per_call`` says so.
        frames: used in turn, again from the first where they run out.
        frames_per_call: how many frames an item of ``frames`` holds.
        warm_up: calls beforehand that are not timed: caches fill, threads wake, buffers are made.
        least_calls: not fewer calls than this,
        least_s: and not less time than this.
        clock: seconds of real time.
        cpu_clock: seconds of processor time of this process.

    Raises:
        ConfigError: no frames, or counts that are none.
    """
    if not len(frames):
        raise ConfigError("there are no frames to measure with; expected at least one")
    if frames_per_call < 1 or least_calls < 1 or warm_up < 0 or not 0 <= least_s < math.inf:
        raise ConfigError(
            "frames per call and calls must be at least 1, warm-up and seconds at least 0; got "
            f"{frames_per_call}, {least_calls}, {warm_up} and {least_s}"
        )
    supply = itertools.cycle(frames)
    memory = PeakMemory()
    for _ in range(warm_up):
        function(next(supply))
    times_s = array("d")
    cpu_start, start = cpu_clock(), clock()
    end = start
    while len(times_s) < least_calls or (end - start < least_s and len(times_s) < _MOST_CALLS):
        frame = next(supply)
        before = clock()
        function(frame)
        end = clock()
        times_s.append(end - before)
    return Timing(
        np.array(times_s),
        frames_per_call * len(times_s),
        end - start,
        cpu_clock() - cpu_start,
        memory.growth_mb(),
    )


def time_stream(
    flow: Callable[[Iterable[T]], Iterable[object]],
    frames: Iterable[T],
    *,
    warm_up: int = 16,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> Timing:
    """Send frames through a stream and time the answers.

    Args:
        flow: takes frames, gives one answer each, e.g. ``Model.stream``.
        frames: as many as shall be answered.
        warm_up: answers before the watch starts; work on later frames may have begun by then, as
            it has for frames behind the last when it stops.
        clock: seconds of real time.
        cpu_clock: seconds of processor time of this process.

    Raises:
        ConfigError: no answer is left after the warm-up.
    """
    memory = PeakMemory()
    answers = iter(flow(frames))
    skipped = sum(1 for _ in itertools.islice(answers, warm_up))
    times_s = array("d")
    cpu_start, start = cpu_clock(), clock()
    last = start
    for _ in answers:
        now = clock()
        times_s.append(now - last)
        last = now
    cpu_s = cpu_clock() - cpu_start
    if not times_s:
        raise ConfigError(
            f"the stream gave {skipped} answers, which are the warm-up's {warm_up} or fewer; send "
            "more frames"
        )
    return Timing(np.array(times_s), len(times_s), last - start, cpu_s, memory.growth_mb())


def take_turns(
    turns: Mapping[str, Callable[[], R]],
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[R]]:
    """Let contestants take turns, so that a machine that drifts or is disturbed meets all alike.

    Args:
        turns: by name what a contestant does in a turn, e.g. a call of :func:`time_calls`.
        rounds: turns of each. Every second round goes backwards.
        progress: told (done, total) after each turn.

    Returns:
        By name, in the order of ``turns``, what each turn gave.

    Raises:
        ConfigError: less than one round.

    Example:
        >>> take_turns({"one": lambda: 1, "two": lambda: 2}, rounds=3)
        {'one': [1, 1, 1], 'two': [2, 2, 2]}
    """
    if rounds < 1:
        raise ConfigError(f"at least one round is needed to measure, got {rounds}")
    found: dict[str, list[R]] = {name: [] for name in turns}
    done = 0
    for number in range(rounds):
        for name in reversed(list(turns)) if number % 2 else turns:
            found[name].append(turns[name]())
            done += 1
            progress(done, rounds * len(turns))
    return found
