"""Figures of times: pure functions over arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from beltsight.bench.timing import Timing
from beltsight.errors import ConfigError
from beltsight.machine import usable_cores


@dataclass(frozen=True, slots=True)
class Summary:
    """What the turns of one contestant say.

    Args:
        calls: timed.
        frames: in all calls together.
        rounds: turns they were spread over.
        mean_ms, p50_ms, p90_ms, p99_ms: of a call; of few calls the 99th percentile is about the
            slowest.
        least_ms, most_ms: the fastest and the slowest call.
        frames_per_s: frames over wall time: what a line gets.
        mean_inverse_per_s: mean of (frames of a call / its time), which papers often print as FPS.
            It flatters: a mean of inverses is never below the inverse of the mean, so that one
            fast call makes up for a slow one that a line would have waited for; and what lies
            between calls does not count.
        cpu_share: processor time over wall time and cores, 0 to 1.
        growth_mb: the most memory held in a turn, beyond what was held before it.
    """

    calls: int
    frames: int
    rounds: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    least_ms: float
    most_ms: float
    frames_per_s: float | None
    mean_inverse_per_s: float | None
    cpu_share: float | None
    growth_mb: float

    def to_record(self) -> dict[str, Any]:
        """As JSON, to four digits that count."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one is as the other.

    Args:
        value: over all rounds together.
        low, high: of single rounds: the spread.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def to_record(self) -> dict[str, float]:
        """As JSON."""
        return {key: round(value, 3) for key, value in asdict(self).items()}


def summarise(timings: Sequence[Timing], cores: int | None = None) -> Summary:
    """One summary of a contestant's turns.

    Args:
        timings: of turns of the same work.
        cores: that ``cpu_share`` is of; by default those that this process may use.

    Raises:
        ConfigError: no turns.
    """
    if not timings:
        raise ConfigError("there are no turns to summarise; expected at least one")
    times_ms = 1e3 * np.concatenate([timing.times_s for timing in timings])
    frames = sum(timing.frames for timing in timings)
    wall_s = math.fsum(timing.wall_s for timing in timings)
    cpu_s = math.fsum(timing.cpu_s for timing in timings)
    p50, p90, p99 = np.percentile(times_ms, (50, 90, 99))
    return Summary(
        calls=len(times_ms),
        frames=frames,
        rounds=len(timings),
        mean_ms=float(times_ms.mean()),
        p50_ms=float(p50),
        p90_ms=float(p90),
        p99_ms=float(p99),
        least_ms=float(times_ms.min()),
        most_ms=float(times_ms.max()),
        frames_per_s=frames / wall_s if wall_s > 0 else None,
        mean_inverse_per_s=mean_of_inverses(times_ms / 1e3, frames / len(times_ms)),
        cpu_share=cpu_s / (wall_s * (cores or usable_cores())) if wall_s > 0 else None,
        growth_mb=max(timing.growth_mb for timing in timings),
    )


def mean_of_inverses(times_s: ArrayLike, frames_per_call: float = 1) -> float | None:
    """The literature's frames per second: the mean of 1 / dt. See :class:`Summary`.

    Args:
        times_s: of each call, in seconds; times too short for the clock are left out.
        frames_per_call: frames in each.

    Example:
        >>> mean_of_inverses([0.1, 0.3])  # two frames in 0.4 s are 5 a second
        6.666666666666667
    """
    times = np.asarray(times_s, np.float64)
    times = times[times > 0]
    return float((frames_per_call / times).mean()) if len(times) else None


def ratio_of_medians(peer: Sequence[ArrayLike], ours: Sequence[ArrayLike]) -> Ratio:
    """How many times as fast as the peer, by median time.

    Args:
        peer: per round the times of its calls, in seconds.
        ours: per round; as many rounds, taken in turns with the peer's.

    Raises:
        ConfigError: no rounds, or not the same number of them.

    Example:
        >>> str(ratio_of_medians([[4, 4, 9], [6]], [[2], [2]]))
        '2.50 (2.00 to 3.00)'
    """
    if not peer or len(peer) != len(ours):
        raise ConfigError(
            f"a ratio needs as many rounds of both, at least one; got {len(peer)} and {len(ours)}"
        )
    rounds = [
        _quotient(np.median(theirs), np.median(own))
        for theirs, own in zip(map(_flat, peer), map(_flat, ours), strict=True)
    ]
    whole = _quotient(
        np.median(np.concatenate([_flat(each) for each in peer])),
        np.median(np.concatenate([_flat(each) for each in ours])),
    )
    return Ratio(whole, min(rounds), max(rounds))


def _flat(times: ArrayLike) -> NDArray[np.float64]:
    return np.atleast_1d(np.asarray(times, np.float64))


def _quotient(above: np.floating[Any], below: np.floating[Any]) -> float:
    return float(above) / float(below) if below > 0 else math.inf


def _rounded(value: float | None) -> float | None:
    return float(f"{value:.4g}") if isinstance(value, float) else value
