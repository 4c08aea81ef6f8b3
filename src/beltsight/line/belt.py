"""How far the belt has gone: an encoder's counts, or a clock where there is none; and its slip.

The odometer p is in mm of belt since the start of the run, ``count`` the same in encoder counts
without wrap-around: p = count * mm_per_count.
"""

from __future__ import annotations

import math
import operator
from collections import deque
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from beltsight.errors import LineError
from beltsight.strict import Strict

Moving = Literal["forward", "stopped", "reverse"]

_LEAST_SPAN_S = 0.05  # a bound of motion over a shorter time would refuse mere jitter of the times
_SPARE_COUNTS = 2


class BeltSettings(Strict):
    """The belt and its encoder.

    Args:
        mm_per_count: belt per encoder count.
        counter_bits: width of the counter; 0 where it does not wrap around.
        reversed: the counter falls while the belt goes forward.
        speed_mm_s: of a line without encoder, by the clock; beside an encoder until that gives its
            first count.
        stopped_below_mm_s: a slower belt counts as stopped.
        fastest_mm_s: a count that means more than this is not followed.
        speed_over_s: time over which the speed is measured.
    """

    mm_per_count: float = Field(gt=0, allow_inf_nan=False)
    counter_bits: int = Field(32, ge=0, le=64)
    reversed: bool = False
    speed_mm_s: float | None = Field(None, allow_inf_nan=False)
    stopped_below_mm_s: float = Field(20.0, ge=0, allow_inf_nan=False)
    fastest_mm_s: float = Field(10_000.0, gt=0, allow_inf_nan=False)
    speed_over_s: float = Field(0.1, gt=0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class BeltState:
    """The belt at one moment.

    Args:
        time_s: of the moment, on the clock of the frames.
        count: encoder counts since the start of the run, without wrap-around; negative behind it.
        position_mm: ``count`` in mm.
        speed_mm_s: negative in reverse.
        moving: whether that is forward, stopped or reverse.
        doubtful: the position is a guess: no count came, an impossible one, or one that the
            counter's width leaves open.
    """

    time_s: float
    count: int
    position_mm: float
    speed_mm_s: float
    moving: Moving
    doubtful: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """A count as the encoder gave it, and where the belt was then."""

    raw: int
    count: float
    at_s: float  # on the odometer's own clock, which never goes back


class Odometer:
    """Unwraps an encoder's counts.

    A count that the belt cannot have reached is not followed: the belt is taken to go on as it did.
    Where the next count agrees with the old ones, it was a disturbance; where it agrees with the
    odd one, the counter was set anew, and the odometer goes on from where the belt is by then.

    Args:
        settings: of the belt.

    Attributes:
        jumps: impossible counts.
        resets: times at which the counter was set anew.
        silent: times at which no count came from an encoder that had given some.
        time_errors: times that lay before the one before them.

    Example:
        >>> odometer = Odometer(BeltSettings(mm_per_count=0.5, counter_bits=16))
        >>> _ = odometer.update(0.0, 65_530)
        >>> odometer.update(0.1, 4).position_mm  # ten counts later
        5.0
        >>> odometer.raw_of(odometer.count_at(8.0))
        10
    """

    def __init__(self, settings: BeltSettings) -> None:
        self.settings = settings
        self.jumps = 0
        self.resets = 0
        self.silent = 0
        self.time_errors = 0
        self._sense = -1 if settings.reversed else 1
        self._modulus = 1 << settings.counter_bits if settings.counter_bits else 0
        self._origin = 0
        self._time_s: float | None = None
        self._at_s = 0.0
        self._count = 0.0
        self._speed_counts_s = (settings.speed_mm_s or 0.0) / settings.mm_per_count
        self._anchor: _Reading | None = None  # the last count that was followed
        self._suspect: _Reading | None = None
        self._is_guess = False  # the last count was none of the encoder's
        self._recent: deque[tuple[float, float]] = deque()

    @property
    def has_count(self) -> bool:
        """Whether the encoder has ever given a count: without one nobody knows what it shows."""
        return self._anchor is not None

    def update(self, time_s: float, raw_count: int | None) -> BeltState:
        """The belt now.

        Args:
            time_s: monotonic; one that lies before the last is taken for the same moment.
            raw_count: as the encoder gives it, wrapped around or signed; None where none came.

        Raises:
            LineError: a time that is no number, or a count that is not whole.
        """
        raw = _checked(time_s, raw_count)
        passed_s = 0.0 if self._time_s is None else time_s - self._time_s
        if passed_s < 0:
            self.time_errors += 1
            passed_s = 0.0
        self._time_s = time_s
        self._at_s += passed_s
        coasted = self._count + self._expected_counts_s() * passed_s
        if raw is None:
            doubtful = self._anchor is not None or self.settings.speed_mm_s is None
            self.silent += self._anchor is not None
            self._count = coasted
            self._is_guess = True
        else:
            doubtful = self._follow(raw, coasted)
        self._measure_speed()
        return self._state(time_s, doubtful)

    def count_at(self, position_mm: float) -> int:
        """The count, without wrap-around, nearest to an odometer position."""
        return round(position_mm / self.settings.mm_per_count)

    def raw_of(self, count: int) -> int:
        """What the counter shows at a count: 0 to 2^bits - 1, or any whole number if 0 bits."""
        raw = self._origin + self._sense * count
        return raw % self._modulus if self._modulus else raw

    def _expected_counts_s(self) -> float:
        """Counts per second while no count can be followed."""
        if self._anchor is None or not self._recent:
            return (self.settings.speed_mm_s or 0.0) / self.settings.mm_per_count
        return self._speed_counts_s

    def _follow(self, raw: int, coasted: float) -> bool:
        """Take a count in; whether the position is doubtful."""
        if self._anchor is None:
            # Before its first count the belt went by the clock, or stood.
            self._rebase(raw, round(coasted))
            return False
        step, is_open = self._step(raw, self._anchor)
        if abs(step) <= self._reach(self._anchor):
            if self._is_guess:
                # From a guess to a count is no way that the belt has gone.
                self._recent = deque([(self._anchor.at_s, self._anchor.count)])
                self._is_guess = False
            self._count = self._anchor.count + step
            self._anchor = _Reading(raw, self._count, self._at_s)
            self._suspect = None
            return is_open
        suspect = self._suspect
        if suspect is not None:
            since, _ = self._step(raw, suspect)
            if abs(since) <= self._reach(suspect):
                self.resets += 1
                self._rebase(raw, round(suspect.count + since))
                return True
        self.jumps += 1
        self._count = coasted
        self._is_guess = True
        self._suspect = _Reading(raw, coasted, self._at_s)
        return True

    def _rebase(self, raw: int, count: int) -> None:
        self._origin = raw - self._sense * count
        self._count = float(count)
        self._anchor = _Reading(raw, self._count, self._at_s)
        self._suspect = None
        self._is_guess = False

    def _reach(self, since: _Reading) -> float:
        """The most counts that the belt can have gone since a reading."""
        span_s = max(self._at_s - since.at_s, _LEAST_SPAN_S)
        return self.settings.fastest_mm_s * span_s / self.settings.mm_per_count + _SPARE_COUNTS

    def _step(self, raw: int, since: _Reading) -> tuple[int, bool]:
        """Counts since a reading, and whether the counter's width leaves several possible."""
        step = self._sense * (raw - since.raw)
        if not self._modulus:
            return step, False
        is_open = 2 * self._reach(since) >= self._modulus
        # Where no more than one step is possible it is the shortest; else the likeliest serves.
        passed_s = self._at_s - since.at_s
        about = round(self._speed_counts_s * passed_s) if is_open else 0
        half = self._modulus // 2
        return (step - about + half) % self._modulus - half + about, is_open

    def _measure_speed(self) -> None:
        recent = self._recent
        if recent and recent[-1][0] == self._at_s:
            recent.pop()
        recent.append((self._at_s, self._count))
        over_s = self.settings.speed_over_s
        while len(recent) > 2 and (
            recent[1][0] <= self._at_s - over_s
            or recent[0][0] < recent[1][0] - over_s  # before a silence it went at another speed
        ):
            recent.popleft()
        span_s = recent[-1][0] - recent[0][0]
        if span_s > 0:
            self._speed_counts_s = (recent[-1][1] - recent[0][1]) / span_s

    def _state(self, time_s: float, doubtful: bool) -> BeltState:
        count = round(self._count)
        speed_mm_s = self._speed_counts_s * self.settings.mm_per_count
        moving: Moving = "forward" if speed_mm_s > 0 else "reverse"
        if abs(speed_mm_s) < self.settings.stopped_below_mm_s or speed_mm_s == 0:
            moving = "stopped"
        position_mm = count * self.settings.mm_per_count
        return BeltState(time_s, count, position_mm, speed_mm_s, moving, doubtful)


def _checked(time_s: float, raw_count: int | None) -> int | None:
    if not math.isfinite(time_s):
        raise LineError(f"a frame's time must be a number of seconds, got {time_s}")
    if raw_count is None:
        return None
    try:
        return operator.index(raw_count)
    except TypeError as error:
        raise LineError(
            f"an encoder's count must be a whole number, got {raw_count!r}; "
            "give the counter's own value, not mm"
        ) from error


class SlipSettings(Strict):
    """When the encoder is not to be believed.

    Args:
        over_mm: belt over which the ratio is measured; older motion is forgotten.
        least_mm: motion that must have been seen before the ratio is used.
        alarm_share: a ratio that differs from 1 by more is an alarm.
    """

    over_mm: float = Field(2000.0, gt=0, allow_inf_nan=False)
    least_mm: float = Field(400.0, gt=0, allow_inf_nan=False)
    alarm_share: float = Field(0.02, gt=0, allow_inf_nan=False)


class SlipMeter:
    """The belt's motion as its items show it, against the encoder's.

    Args:
        settings: how much must be seen, and how much is too much.

    Example:
        >>> meter = SlipMeter(SlipSettings())
        >>> for _ in range(20):
        ...     meter.add(100.0, 103.0)
        >>> round(meter.ratio, 3), meter.alarm
        (1.03, True)
    """

    def __init__(self, settings: SlipSettings) -> None:
        self.settings = settings
        self._encoder_mm2 = 0.0
        self._both_mm2 = 0.0
        self._encoder_mm = 0.0
        self._net_encoder_mm = 0.0
        self._net_seen_mm = 0.0

    def add(self, encoder_mm: float, seen_mm: float) -> None:
        """Add a motion: what the encoder says of it, and what items showed (their median).

        What is not a number is passed over.
        """
        if not (math.isfinite(encoder_mm) and math.isfinite(seen_mm)):
            return
        way_mm = max(abs(encoder_mm), abs(seen_mm))
        kept = math.exp(-way_mm / self.settings.over_mm)
        self._encoder_mm2 = kept * self._encoder_mm2 + encoder_mm * encoder_mm
        self._both_mm2 = kept * self._both_mm2 + encoder_mm * seen_mm
        self._encoder_mm = kept * self._encoder_mm + abs(encoder_mm)
        # With their signs: on a belt that stands the noise of what is seen must not add up.
        self._net_encoder_mm = kept * self._net_encoder_mm + encoder_mm
        self._net_seen_mm = kept * self._net_seen_mm + seen_mm

    @property
    def ratio(self) -> float:
        """Belt per encoder, 0.5 to 2: 1.03 where the belt goes 3 % farther than is counted.

        1 until enough was seen. Least squares over the recent motions.
        """
        if self._encoder_mm < self.settings.least_mm:
            return 1.0
        return min(max(self._both_mm2 / self._encoder_mm2, 0.5), 2.0)

    @property
    def stands(self) -> bool:
        """Whether the encoder counts less than half of what items move."""
        seen_mm = abs(self._net_seen_mm)
        return seen_mm >= self.settings.least_mm and abs(self._net_encoder_mm) < seen_mm / 2

    @property
    def against(self) -> bool:
        """Whether the encoder counts back what items go forward, or the other way round."""
        net_mm = self._net_encoder_mm, self._net_seen_mm
        return net_mm[0] * net_mm[1] < 0 and min(map(abs, net_mm)) >= self.settings.least_mm

    @property
    def alarm(self) -> bool:
        """Whether the encoder slips, or stands while items move."""
        return self.stands or abs(self.ratio - 1) > self.settings.alarm_share
