"""How the belt really moves, as a function of time; and what its encoder makes of that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ConfigError

_Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """The belt is driven to another speed.

    Args:
        at_s: when it begins.
        speed_mm_s: to be reached; 0 stops, below 0 goes backwards.
        over_s: how long that takes.
    """

    at_s: float
    speed_mm_s: float
    over_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Slip:
    """For a while the encoder's wheel turns by another way than the belt goes.

    Args:
        from_s, to_s: when.
        share: 0.02 counts two hundredths too much, -0.02 too little, -1 nothing at all.
    """

    from_s: float
    to_s: float
    share: float


class Trajectory:
    """A position over time, in pieces of even acceleration; 0 at time 0 and before.

    Args:
        starts_s: when each piece begins, rising; the first at 0.
        speeds: at the start of each piece.
        accelerations: during each piece.
    """

    def __init__(
        self, starts_s: Sequence[float], speeds: Sequence[float], accelerations: Sequence[float]
    ) -> None:
        self._starts = np.array(starts_s, np.float64)
        self._speeds = np.array(speeds, np.float64)
        self._gains = np.array(accelerations, np.float64)
        spans = np.diff(self._starts)
        ways = self._speeds[:-1] * spans + 0.5 * self._gains[:-1] * spans**2
        self._ways = np.concatenate([[0.0], np.cumsum(ways)])

    def at(self, time_s: float | _Array) -> _Array:
        """Position in mm at a time, or at many."""
        piece, since = self._piece(time_s)
        way = self._speeds[piece] * since + 0.5 * self._gains[piece] * since**2
        return np.asarray(self._ways[piece] + way)

    def with_slips(self, slips: Sequence[Slip]) -> Trajectory:
        """The way that is counted where the wheel slips.

        Raises:
            ConfigError: a slip that ends before it begins, or has no number.
        """
        if not slips:
            return self
        for slip in slips:
            if not (0 <= slip.from_s < slip.to_s and np.isfinite(slip.share)):
                raise ConfigError(
                    f"a slip must last from a time of 0 or more to a later, got {slip}"
                )
        ends = [moment for slip in slips for moment in (slip.from_s, slip.to_s)]
        starts = np.unique(np.concatenate([self._starts, ends]))
        piece, since = self._piece(starts)
        factors = np.ones(len(starts))
        for slip in slips:
            factors[(starts >= slip.from_s) & (starts < slip.to_s)] *= 1 + slip.share
        speeds = (self._speeds[piece] + self._gains[piece] * since) * factors
        return Trajectory(list(starts), list(speeds), list(self._gains[piece] * factors))

    def _piece(self, time_s: float | _Array) -> tuple[NDArray[np.intp], _Array]:
        time = np.maximum(np.asarray(time_s, np.float64), 0.0)
        piece = np.searchsorted(self._starts, time, side="right") - 1
        return piece, time - self._starts[piece]


def drive(speed_mm_s: float, changes: Sequence[SpeedChange] = ()) -> Trajectory:
    """How a belt moves that runs from time 0 on and is driven to other speeds.

    Args:
        speed_mm_s: at the start.
        changes: by time; one that begins while the last is under way takes over from there.

    Raises:
        ConfigError: changes out of order, or no numbers.

    Example:
        >>> path = drive(1000, [SpeedChange(2.0, 0.0, over_s=1.0)])
        >>> [float(path.at(t)) for t in (0, 2, 3, 9)]
        [0.0, 2000.0, 2500.0, 2500.0]
    """
    starts, speeds, gains = [0.0], [float(speed_mm_s)], [0.0]
    for change in changes:
        numbers = (change.at_s, change.speed_mm_s, change.over_s, speed_mm_s)
        if not np.isfinite(numbers).all() or change.over_s < 0 or change.at_s < 0:
            raise ConfigError(f"a change of speed needs numbers, and times of 0 or more: {change}")
        while len(starts) > 1 and starts[-1] >= change.at_s > starts[-2] and gains[-1] == 0:
            starts.pop(), speeds.pop(), gains.pop()  # the last change does not come to its end
        if change.at_s < starts[-1]:
            raise ConfigError(f"changes of speed must come by time; {change} comes too late")
        now = speeds[-1] + gains[-1] * (change.at_s - starts[-1])
        if change.over_s > 0:
            starts.append(change.at_s)
            speeds.append(now)
            gains.append((change.speed_mm_s - now) / change.over_s)
        starts.append(change.at_s + change.over_s)
        speeds.append(change.speed_mm_s)
        gains.append(0.0)
    return Trajectory(starts, speeds, gains)


class VirtualClock:
    """A clock that goes as it is told, for runs that are faster than real time.

    Example:
        >>> clock = VirtualClock()
        >>> clock.advance(1.5), clock()
        (1.5, 1.5)
    """

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Now."""
        return self._now_s

    def advance(self, to_s: float) -> float:
        """Go on to a time; never back."""
        with self._lock:
            self._now_s = max(self._now_s, to_s)
            return self._now_s


@dataclass(frozen=True, slots=True)
class EncoderLook:
    """An encoder and its faults.

    Args:
        mm_per_count: of belt.
        counter_bits: after which it wraps around; 0 for a counter that does not.
        first_count: what it shows at time 0.
        reversed: it counts down while the belt goes forward.
        jitter_counts: each reading is off by up to so many.
        eccentric_mm, wheel_mm: a wheel of that circumference runs out of true by so much.
        dropouts: (from, to) in seconds: no answer.
        jumps: (at second, counts): a disturbance that adds counts for good.
    """

    mm_per_count: float = 0.1
    counter_bits: int = 32
    first_count: int = 0
    reversed: bool = False
    jitter_counts: float = 0.0
    eccentric_mm: float = 0.0
    wheel_mm: float = 500.0
    dropouts: tuple[tuple[float, float], ...] = ()
    jumps: tuple[tuple[float, int], ...] = ()

    def __post_init__(self) -> None:
        if not (self.mm_per_count > 0 and self.wheel_mm > 0 and 0 <= self.counter_bits <= 64):
            raise ConfigError(
                "an encoder needs mm_per_count and wheel_mm over 0 and counter_bits of 0 to 64, "
                f"got {self}"
            )


class SimulatedEncoder:
    """What the line and the PLC read. Calling it gives the raw count now, or None.

    Args:
        counted: way of the encoder's wheel over time.
        look: the encoder.
        clock: now, in seconds since the belt started.
        seed: of the jitter.

    Example:
        >>> encoder = SimulatedEncoder(drive(100), EncoderLook(mm_per_count=0.5, counter_bits=8))
        >>> encoder.at(1.0), encoder.at(1.5)  # 300 counts wrap around at 256
        (200, 44)
    """

    def __init__(
        self,
        counted: Trajectory,
        look: EncoderLook = EncoderLook(),
        clock: Callable[[], float] = lambda: 0.0,
        seed: int = 0,
    ) -> None:
        self.look = look
        self._counted = counted
        self._clock = clock
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()

    def __call__(self) -> int | None:
        """The raw count now."""
        return self.at(self._clock())

    def at(self, time_s: float) -> int | None:
        """The raw count at a time: wrapped around; with jitter, which differs at each call."""
        if any(start <= time_s < end for start, end in self.look.dropouts):
            return None
        exact = float(self.unwrapped(time_s))
        if self.look.jitter_counts:
            with self._lock:
                exact += self._rng.uniform(-1, 1) * self.look.jitter_counts
        return self.wrap(int(np.floor(exact + 1e-6)))

    def unwrapped(self, time_s: float | _Array) -> _Array:
        """Counts without jitter and wrap-around, at a time or at many; not whole."""
        look = self.look
        way = self._counted.at(time_s)
        if look.eccentric_mm:
            way = way + look.eccentric_mm * np.sin(2 * np.pi * way / look.wheel_mm)
        counts = (-1 if look.reversed else 1) * way / look.mm_per_count + look.first_count
        for at_s, jump in look.jumps:
            counts = counts + np.where(np.asarray(time_s) >= at_s, jump, 0)
        return np.asarray(counts, np.float64)

    def wrap(self, count: int) -> int:
        """A count as the counter shows it."""
        return count % (1 << self.look.counter_bits) if self.look.counter_bits else count
