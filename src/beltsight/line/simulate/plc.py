"""The physical side of a PLC: valves that act on whatever really lies under them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from beltsight.errors import ConfigError, LinkError
from beltsight.line.simulate.motion import SimulatedEncoder, Trajectory
from beltsight.line.simulate.truth import TrueItem, Truth

PASS = "pass"  # noqa: S105  no password: an item that nothing moved
_MOST_WAITING = 10_000

Lane = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Station:
    """One actuator.

    Args:
        name: as the line calls it; also the bin that its items fall into.
        distance_mm: downstream of the camera's reference line.
        lanes: from and to across the belt, in mm from the left edge; one for each valve.
        latency_ms: from the signal until it acts, and until it stops.
        cycle_ms: the PLC looks at its counter so often.
        grip: least part of an item's length and width that a shot must meet to move it.
        longest_ms: a valve closes after that, even where the belt stands.
    """

    name: str
    distance_mm: float
    lanes: tuple[Lane, ...]
    latency_ms: float = 10.0
    cycle_ms: float = 1.0
    grip: float = 0.3
    longest_ms: float = 1000.0

    def __post_init__(self) -> None:
        lanes_ok = bool(self.lanes) and all(low < high for low, high in self.lanes)
        if not (lanes_ok and self.latency_ms >= 0 and self.cycle_ms > 0 and 0 < self.grip <= 1):
            raise ConfigError(
                f"a station needs lanes from low to high, a latency of 0 or more, a cycle over 0 "
                f"and a grip of 0 to 1, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Shot:
    """What became of one order to fire.

    Args:
        station: which.
        lanes: numbers of the valves.
        at_count, end_count: as ordered.
        outcome: ``fired``, ``late`` (the counter was past it when the order came) or ``waiting``.
        ordered_s: when the order came.
        fired_s: when the valve began to act, or None.
        from_mm, to_mm: belt that passed under the open valve; None until it has closed.
        items: ids of the items that it moved.
        error_mm: the middle of that belt less the middle of those items; None without items.
    """

    station: str
    lanes: tuple[int, ...]
    at_count: int
    end_count: int
    outcome: str
    ordered_s: float
    fired_s: float | None = None
    from_mm: float | None = None
    to_mm: float | None = None
    items: tuple[int, ...] = ()
    error_mm: float | None = None


@dataclass
class _Waiting:
    """An order under way."""

    station: Station
    lanes: tuple[int, ...]
    at_count: int
    end_count: int
    ordered_s: float
    signal_s: float | None = None


class SimulatedPlc:
    """Fires when its own encoder says so; what lies there then goes.

    Args:
        motion: where the belt really is over time.
        encoder: the PLC's own.
        truth: what lies on the belt.
        stations: the actuators.
        clock: seconds since the belt started.

    Counts may be given as the counter shows them or unwrapped: they are compared within the
    counter's width.
    """

    def __init__(
        self,
        motion: Trajectory,
        encoder: SimulatedEncoder,
        truth: Truth,
        stations: Sequence[Station],
        clock: Callable[[], float],
    ) -> None:
        self._motion = motion
        self._encoder = encoder
        self._truth = truth
        self._stations = {station.name: station for station in stations}
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: list[_Waiting] = []
        self._shots: list[Shot] = []
        self._taken: dict[int, tuple[float, str]] = {}
        self._seen_s = 0.0

    @property
    def stations(self) -> Mapping[str, Station]:
        """By name."""
        return self._stations

    def count(self) -> int | None:
        """What the PLC's counter shows now."""
        return self._encoder()

    def fire(self, actuator: str, lanes: Sequence[int], at_count: int, end_count: int) -> str:
        """Open valves when the counter reaches ``at_count``, close them at ``end_count``.

        Args:
            actuator: name of the station.
            lanes: numbers of its valves, from 0 on.
            at_count, end_count: of the PLC's encoder, raw or unwrapped.

        Returns:
            ``waiting``; or ``late`` where the counter is already past it: nothing is fired.

        Raises:
            LinkError: no such station or valve, counts that go backwards, or too many orders.
        """
        station = self._stations.get(actuator)
        if station is None or not lanes or not set(lanes) <= set(range(len(station.lanes))):
            known = ", ".join(f"{s.name} ({len(s.lanes)} lanes)" for s in self._stations.values())
            raise LinkError(
                f"no valves {list(lanes)} at {actuator!r}; there are: {known or 'none'}"
            )
        with self._lock:
            now_s = self._clock()
            self.advance(now_s)
            sense = -1 if self._encoder.look.reversed else 1
            if sense * self._difference(end_count, at_count) <= 0:
                raise LinkError(f"a pulse must end after it begins, got {at_count} to {end_count}")
            if len(self._waiting) >= _MOST_WAITING:
                raise LinkError(f"{_MOST_WAITING} orders wait already; the belt does not move")
            lanes = tuple(sorted(set(lanes)))
            if self._way_to(at_count, now_s) < -0.5:
                self._shots.append(
                    Shot(actuator, lanes, at_count, end_count, "late", ordered_s=now_s)
                )
                return "late"
            self._waiting.append(_Waiting(station, lanes, at_count, end_count, now_s))
            return "waiting"

    def advance(self, to_s: float | None = None) -> None:
        """Let the PLC do what it had to do up to a time; now by default."""
        with self._lock:
            to_s = self._clock() if to_s is None else to_s
            if to_s <= self._seen_s:
                return
            self._waiting = [order for order in self._waiting if not self._done(order, to_s)]
            self._seen_s = to_s

    @property
    def shots(self) -> tuple[Shot, ...]:
        """Orders that are over by now, as they ended."""
        with self._lock:
            self.advance()
            return tuple(self._shots)

    @property
    def bins(self) -> dict[int, str]:
        """Where each item fell that has passed the last station: its name, or ``pass``."""
        with self._lock:
            self.advance()
            last = max((s.distance_mm for s in self._stations.values()), default=0.0)
            passed = float(self._motion.at(self._seen_s)) - last - self._truth.longest_mm
            return self.bins_up_to(passed)

    def bins_up_to(self, s_mm: float) -> dict[int, str]:
        """Where each item fell whose middle lies before a belt position."""
        with self._lock:
            items = self._truth.between(self._truth.start_mm, s_mm)
            return {item.item_id: self._bin(item.item_id) for item in items}

    def _bin(self, item_id: int) -> str:
        return self._taken[item_id][1] if item_id in self._taken else PASS

    def _difference(self, count: int, other: int) -> int:
        """``count - other`` within half the counter's width."""
        bits = self._encoder.look.counter_bits
        if not bits:
            return count - other
        half = 1 << (bits - 1)
        return (count - other + half) % (1 << bits) - half

    def _way_to(self, count: int, time_s: float) -> float:
        """Counts until the counter reaches ``count``, forward positive."""
        exact = float(self._encoder.unwrapped(time_s))
        whole = int(np.floor(exact))
        sense = -1 if self._encoder.look.reversed else 1
        return sense * (self._difference(count, self._encoder.wrap(whole)) - (exact - whole))

    def _done(self, order: _Waiting, to_s: float) -> bool:
        if order.signal_s is None:
            order.signal_s = self._reached(order.station, order.at_count, order.ordered_s, to_s)
        if order.signal_s is None:
            return False
        latest_s = order.signal_s + order.station.longest_ms / 1000
        end_s = self._reached(order.station, order.end_count, order.signal_s, min(to_s, latest_s))
        if end_s is None and to_s < latest_s:
            return False
        latency_s = order.station.latency_ms / 1000
        self._close(order, order.signal_s + latency_s, (end_s or latest_s) + latency_s)
        return True

    def _reached(self, station: Station, count: int, from_s: float, to_s: float) -> float | None:
        """The PLC's first look, up to a time, at which the counter is at or past ``count``."""
        cycle_s = station.cycle_ms / 1000
        start_s = max(from_s, self._seen_s - cycle_s)
        first = int(np.ceil(start_s / cycle_s - 1e-6))
        last = int(np.floor(to_s / cycle_s + 1e-6))
        if last < first:
            return None
        looks = np.arange(first, last + 1, dtype=np.float64) * cycle_s
        sense = -1 if self._encoder.look.reversed else 1
        counts = self._encoder.unwrapped(looks)
        target = float(counts[0]) + sense * self._way_to(count, float(looks[0]))
        past = np.flatnonzero(sense * (counts - target) >= -1e-6)
        return float(looks[past[0]]) if past.size else None

    def _close(self, order: _Waiting, open_s: float, close_s: float) -> None:
        station = order.station
        ends = self._motion.at(np.array([open_s, close_s])) - station.distance_mm
        low, high = float(ends.min()), float(ends.max())
        reach = self._truth.longest_mm / 2
        near = self._truth.between(low - reach, high + reach)
        lanes = [station.lanes[lane] for lane in order.lanes]
        moved = [
            item for item in near
            if self._is_upstream_of_all_that_took(item, station)
            and is_gripped(item, (low, high), lanes, station.grip)
        ]  # fmt: skip
        for item in moved:
            self._taken[item.item_id] = (station.distance_mm, station.name)
        middle = None
        if moved:
            first = min(item.s_mm - item.along_mm / 2 for item in moved)
            last = max(item.s_mm + item.along_mm / 2 for item in moved)
            middle = (low + high) / 2 - (first + last) / 2
        self._shots.append(
            Shot(
                station.name, order.lanes, order.at_count, order.end_count, "fired",
                order.ordered_s, open_s, low, high, tuple(i.item_id for i in moved), middle,
            )
        )  # fmt: skip

    def _is_upstream_of_all_that_took(self, item: TrueItem, station: Station) -> bool:
        """A station that comes first on the way has it."""
        taken = self._taken.get(item.item_id)
        return taken is None or taken[0] > station.distance_mm


def is_gripped(
    item: TrueItem, along_mm: tuple[float, float], lanes: Sequence[Lane], grip: float
) -> bool:
    """Whether a shot meets enough of an item to move it.

    Args:
        item: on the belt.
        along_mm: from and to along the belt, in belt positions.
        lanes: from and to across the belt, of the valves that are open.
        grip: least share of the item's length, and of its width.
    """
    low, high = item.s_mm - item.along_mm / 2, item.s_mm + item.along_mm / 2
    met = min(high, along_mm[1]) - max(low, along_mm[0])
    left, right = item.lateral_mm - item.across_mm / 2, item.lateral_mm + item.across_mm / 2
    across = sum(max(0.0, min(right, lane[1]) - max(left, lane[0])) for lane in lanes)
    return met >= grip * item.along_mm and across >= grip * item.across_mm
