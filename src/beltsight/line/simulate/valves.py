"""What a PLC's switches do to the items on the belt: what fell into which bin, and the aim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from beltsight.errors import ConfigError
from beltsight.line.actuators.plc import Switch
from beltsight.line.simulate.motion import Trajectory
from beltsight.line.simulate.truth import TrueItem, Truth

PASS = "pass"  # noqa: S105  no password: an item that nothing moved
Lane = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Station:
    """One actuator.

    Args:
        name: as the PLC calls it; also the bin that its items fall into.
        distance_mm: downstream of the camera's reference line.
        lanes: from and to across the belt, in mm from the left edge; one for each valve.
        latency_ms: from the signal until it acts, and until it stops.
        grip: least part of an item's length and width that a shot must meet to move it.
    """

    name: str
    distance_mm: float
    lanes: tuple[Lane, ...]
    latency_ms: float = 10.0
    grip: float = 0.3

    def __post_init__(self) -> None:
        lanes_ok = bool(self.lanes) and all(low < high for low, high in self.lanes)
        if not (lanes_ok and self.latency_ms >= 0 and 0 < self.grip <= 1):
            raise ConfigError(
                f"a station needs lanes from low to high, a latency of 0 or more, and a grip of "
                f"0 to 1, got {self}"
            )


@dataclass(frozen=True, slots=True)
class Shot:
    """What the valves of one command did.

    Args:
        station: which.
        lanes: numbers of the valves.
        fired_s: when they began to act.
        from_mm, to_mm: belt that passed under them meanwhile, as belt positions.
        items: ids of the items that it moved.
        error_mm: the middle of that belt less the middle of those items; None without items.
        command_id: that opened them.
    """

    station: str
    lanes: tuple[int, ...]
    fired_s: float
    from_mm: float
    to_mm: float
    items: tuple[int, ...] = ()
    error_mm: float | None = None
    command_id: str = ""


@dataclass(frozen=True, slots=True)
class _Opening:
    station: Station
    command_id: str
    lanes: tuple[int, ...]
    open_s: float
    close_s: float


@dataclass(frozen=True, slots=True)
class Fallen:
    """Where items went.

    Args:
        bins: item -> name of the station that took it first; what no station took is not there.
        shots: what each command's valves did, in the order of their opening.
    """

    bins: dict[int, str]
    shots: tuple[Shot, ...]

    def bin_of(self, item_id: int) -> str:
        """The station that took an item, or ``PASS``."""
        return self.bins.get(item_id, PASS)


def act(
    switches: Iterable[Switch], stations: Sequence[Station], motion: Trajectory, truth: Truth
) -> Fallen:
    """Let valves act on what really lies under them.

    Args:
        switches: of a PLC, in the order of their times; a valve that is still open at the end has
            done nothing yet.
        stations: where its valves stand.
        motion: where the belt really is over time.
        truth: what lies on it.
    """
    places = {station.name: station for station in stations}
    # What an upstream station takes never comes to the next.
    openings = sorted(_openings(switches, places), key=lambda one: one.station.distance_mm)
    bins: dict[int, str] = {}
    shots = []
    for opening in openings:
        shot = _shoot(opening, motion, truth, bins)
        shots.append((opening.open_s, shot))
        for item_id in shot.items:
            bins.setdefault(item_id, opening.station.name)
    return Fallen(bins, tuple(shot for _, shot in sorted(shots, key=lambda pair: pair[0])))


def _openings(switches: Iterable[Switch], places: dict[str, Station]) -> Iterator[_Opening]:
    """Lanes that one command opened together, from their opening to their closing."""
    opened: dict[tuple[str, int], Switch] = {}
    done: dict[tuple[str, str, float, float], list[int]] = {}
    for switch in switches:
        key = (switch.actuator, switch.lane)
        if switch.actuator not in places:
            continue
        if switch.is_open:
            opened.setdefault(key, switch)
        elif key in opened:
            first = opened.pop(key)
            pulse = (switch.actuator, first.command_id, first.time_s, switch.time_s)
            done.setdefault(pulse, []).append(switch.lane)
    for (name, command_id, open_s, close_s), lanes in done.items():
        yield _Opening(places[name], command_id, tuple(sorted(lanes)), open_s, close_s)


def _shoot(opening: _Opening, motion: Trajectory, truth: Truth, bins: dict[int, str]) -> Shot:
    station = opening.station
    latency_s = station.latency_ms / 1000
    ends = [
        float(motion.at(when_s + latency_s)) - station.distance_mm
        for when_s in (opening.open_s, opening.close_s)
    ]
    low, high = min(ends), max(ends)
    reach = truth.longest_mm / 2
    lanes = [station.lanes[lane] for lane in opening.lanes]
    moved = [
        item
        for item in truth.between(low - reach, high + reach)
        if bins.get(item.item_id) in (None, station.name)
        and is_gripped(item, (low, high), lanes, station.grip)
    ]
    error_mm = None
    if moved:
        first = min(item.s_mm - item.along_mm / 2 for item in moved)
        last = max(item.s_mm + item.along_mm / 2 for item in moved)
        error_mm = (low + high) / 2 - (first + last) / 2
    return Shot(
        station.name, opening.lanes, opening.open_s + latency_s, low, high,
        tuple(item.item_id for item in moved), error_mm, opening.command_id,
    )  # fmt: skip


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
