"""What a PLC's switches do to the items on the belt: what fell into which bin, and the aim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from beltsight.line.actuators.plc import Switch
from beltsight.line.simulate.motion import Trajectory
from beltsight.line.simulate.plc import PASS, Shot, Station, is_gripped
from beltsight.line.simulate.truth import Truth


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
        station.name, opening.lanes, 0, 0, "fired", opening.open_s, opening.open_s + latency_s,
        low, high, tuple(item.item_id for item in moved), error_mm,
    )  # fmt: skip
