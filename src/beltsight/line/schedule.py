"""From decided items to commands: bound to belt positions, in time, and without hitting neighbours.

No clock is read here: the belt's state is passed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from beltsight.errors import LineError
from beltsight.line.actuators.plc import signed_difference
from beltsight.line.actuators.protocol import Command
from beltsight.line.aim import Aim, Interval, Wanted, aim_at, overlap_mm
from beltsight.line.belt import BeltState, Odometer
from beltsight.line.schedule_settings import ActuatorSettings, ScheduleSettings

Outcome = Literal["planned", "late", "no-actuator", "conflict", "fail-safe"]
Took = Literal["route", "end", "pass", "reject", "divert", "commanded-already"]

_SPEED_SHARE = 0.05
_KEPT = 4096  # items whose pulses may still meet others'; a belt holds far fewer


@dataclass(frozen=True, slots=True)
class Planned:
    """What was planned for an item.

    Args:
        item_id: of the item.
        commands: to hand to the links, once the decision is stored; empty where nothing fires.
        outcome: ``planned``: its route is served; else why it is not.
        took: what happens: its ``route``, the ``end`` of the belt as its route, a fail-safe
            (``pass``, ``reject``, ``divert``), or nothing since an earlier run commanded it.
        why: in words, empty where all is as decided.
        struck: neighbours with other routes that this item's pulse hits.
        struck_by: neighbours whose pulse hits this item.
    """

    item_id: int
    commands: tuple[Command, ...]
    outcome: Outcome
    took: Took
    why: str = ""
    struck: tuple[int, ...] = ()
    struck_by: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Placed:
    """An item on the belt with what was planned for it; positions are of the belt."""

    wanted: Wanted
    aim: Aim | None

    def hits(self, other: _Placed, guard_mm: float) -> bool:
        """Whether the pulse for this item hits the other, which goes elsewhere."""
        aim = self.aim
        if aim is None or self.wanted.route == other.wanted.route:
            return False
        theirs = other.aim.actuator if other.aim else None
        # The same actuator sends both to one place; what an earlier one takes never comes here.
        if theirs and (theirs.name == aim.actuator.name
                       or theirs.distance_mm < aim.actuator.distance_mm):  # fmt: skip
            return False
        behind_mm = self.wanted.belt_position_mm - aim.meets_mm
        pulse: Interval = (aim.from_mm + behind_mm - guard_mm, aim.to_mm + behind_mm + guard_mm)
        return (
            overlap_mm(pulse, other.wanted.along_mm) > 0
            and overlap_mm(aim.across_mm, other.wanted.across_mm) > 0
        )


class Scheduler:
    """Plans items one after the other; it remembers those that are still on their way.

    Args:
        settings: actuators and rules.
        odometer: of the belt; turns positions into counts.
        run_id: unique among all runs of the line; it leads every command's id.

    Example:
        >>> from beltsight.line.belt import BeltSettings
        >>> from beltsight.line.schedule_settings import ActuatorSettings
        >>> jets = ActuatorSettings(name="jets", routes="metal", distance_mm=600, lanes=[(0, 560)])
        >>> odometer = Odometer(BeltSettings(mm_per_count=0.1))
        >>> _ = odometer.update(0.0, 0)
        >>> state = odometer.update(0.1, 2500)  # 250 mm in 0.1 s
        >>> scheduler = Scheduler(ScheduleSettings(actuators=(jets,)), odometer, "run")
        >>> planned = scheduler.plan(Wanted(7, 200.0, 280.0, 100.0, 80.0, "metal"), state)
        >>> command, = planned.commands
        >>> planned.outcome, command.command_id, command.fire_count, command.end_count
        ('planned', 'run-1', 7750, 8250)
    """

    def __init__(self, settings: ScheduleSettings, odometer: Odometer, run_id: str) -> None:
        self.settings = settings
        self.run_id = run_id
        self._odometer = odometer
        self._full_mm_s = max(odometer.settings.speed_mm_s or 0.0, 0.0)
        self._number = 0
        self._placed: deque[_Placed] = deque(maxlen=_KEPT)
        self._earlier: deque[Command] = deque(maxlen=_KEPT)

    def plan(self, wanted: Wanted, state: BeltState) -> Planned:
        """Plan one item.

        Raises:
            LineError: a position or size that is no number.
        """
        _check(wanted)
        self._forget(state)
        if state.moving == "forward" and not state.doubtful:
            # Slowly, as a speed may be wrong for a moment; a belt that stands is to run again.
            share = _SPEED_SHARE if self._full_mm_s else 1.0
            self._full_mm_s += share * (state.speed_mm_s - self._full_mm_s)
        if wanted.route in self.settings.end_routes:
            return self._let_pass(wanted)
        aim, outcome, why = self._aim(wanted, state)
        if aim is not None and (state.doubtful or self._is_blind(aim.actuator)):
            doubt = "the belt's position is doubtful"
            why = doubt if state.doubtful else "the encoder has given no count"
            aim, outcome = None, "fail-safe"
        if aim is None:
            return self._fail_safe(wanted, state, outcome, why)
        placed = _Placed(wanted, aim)
        struck, struck_by = self._neighbours(placed)
        if struck:
            why = f"its pulse would hit item {_listing(struck)}"
            return self._fail_safe(wanted, state, "conflict", why, _ids(struck_by))
        if struck_by and self.settings.conflict == "fail-safe":
            why = "it and a neighbour would hit each other's item"
            return self._fail_safe(wanted, state, "conflict", why, _ids(struck_by))
        hit = f"the pulse for item {_listing(struck_by)} hits it" if struck_by else ""
        return self._command(placed, state, "conflict" if struck_by else "planned", "route", hit)

    def is_due(self, wanted: Wanted, state: BeltState, within_ms: float = 0.0) -> bool:
        """Whether an item has to be planned now: any actuator would be missed if it waited longer.

        Args:
            wanted: the item; its route may be open.
            state: of the belt.
            within_ms: how long planning may be put off otherwise.
        """
        passes_mm = max(state.speed_mm_s, 0.0) * within_ms / 1000
        return any(
            self._aim_at(wanted, actuator, state, all_lanes=True).spare_mm < passes_mm
            for actuator in self.settings.actuators
        )

    def remember(self, command: Command, state: BeltState, reach: float = math.inf) -> bool:
        """A command of an earlier run, by its raw counts: it will not be given again.

        Args:
            command: as it was stored.
            state: of the belt now, after a count has come.
            reach: counts; a command that fires farther away, before or behind, is passed over.

        Returns:
            Whether it is remembered.
        """
        now = self._odometer.raw_of(state.count)
        fire = state.count + self._forward(command.raw_fire_count, now)
        length = self._forward(command.raw_end_count, command.raw_fire_count)
        if abs(fire - state.count) > reach:
            return False
        self._earlier.append(replace(command, fire_count=fire, end_count=fire + length))
        return True

    def has_passed(
        self, command: Command, state: BeltState, now_s: float, spare_s: float = 0.0
    ) -> bool:
        """Whether the moment to switch for a command is over, at the last known speed.

        So it is, too, for one that names counts of a counter which was set anew since: the peer
        would switch wherever its new counter comes by them.

        Args:
            command: to be switched for.
            state: of the belt.
            now_s: on the clock of the state.
            spare_s: it may be over for so long.
        """
        is_of_old = self._odometer.raw_of(command.fire_count) != command.raw_fire_count
        if command.timing == "plc" and is_of_old:
            return True
        if state.moving != "forward":
            return command.fire_count < state.count
        speed_counts_s = state.speed_mm_s / self._odometer.settings.mm_per_count
        ahead_s = max(now_s - state.time_s, 0.0) + command.latency_ms / 1000
        return command.fire_count < state.count + speed_counts_s * (ahead_s - spare_s)

    def _forward(self, later: int, earlier: int) -> int:
        belt = self._odometer.settings
        moved = signed_difference(later, earlier, belt.counter_bits)
        return -moved if belt.reversed else moved

    def _forget(self, state: BeltState) -> None:
        """Drop what is past every actuator; the metre is for a belt that is run back."""
        farthest_mm = max(actuator.distance_mm for actuator in self.settings.actuators)
        gone_mm = state.position_mm - farthest_mm - 1000.0
        while self._placed and self._placed[0].wanted.along_mm[1] < gone_mm:
            self._placed.popleft()
        gone_count = self._odometer.count_at(state.position_mm - 1000.0)
        while self._earlier and self._earlier[0].end_count < gone_count:
            self._earlier.popleft()

    def _is_blind(self, actuator: ActuatorSettings) -> bool:
        """Whether it fires on a counter that this line has never read."""
        return actuator.timing == "plc" and not self._odometer.has_count

    def _let_pass(self, wanted: Wanted) -> Planned:
        """Its route is the end of the belt, unless a neighbour's pulse takes it along."""
        placed = _Placed(wanted, None)
        _, struck_by = self._neighbours(placed)
        self._placed.append(placed)
        if not struck_by:
            return Planned(wanted.item_id, (), "planned", "end")
        why = f"the pulse for item {_listing(struck_by)} hits it"
        return Planned(wanted.item_id, (), "conflict", "end", why, struck_by=_ids(struck_by))

    def _aim(self, wanted: Wanted, state: BeltState) -> tuple[Aim | None, Outcome, str]:
        """The first actuator of the route that can still hit it, or why there is none."""
        actuators = self.settings.serving(wanted.route)
        if not actuators:
            return None, "no-actuator", f"no actuator serves the route {wanted.route!r}"
        lack_ms: float | None = None
        for actuator in actuators:
            aim = self._aim_at(wanted, actuator, state, all_lanes=False)
            if not aim.lanes:
                continue
            if not aim.is_late:
                return aim, "planned", ""
            lack_ms = aim.lack_ms
        if lack_ms is None:
            where = f"{wanted.lateral_mm:.0f} mm across the belt"
            return None, "no-actuator", f"no lane of {wanted.route!r} reaches {where}"
        late = f"{lack_ms:.0f} ms too late" if math.isfinite(lack_ms) else "past it already"
        return None, "late", f"{late} for the actuator of {wanted.route!r}"

    def _aim_at(
        self, wanted: Wanted, actuator: ActuatorSettings, state: BeltState, *, all_lanes: bool
    ) -> Aim:
        return aim_at(wanted, actuator, state, all_lanes=all_lanes, full_mm_s=self._full_mm_s)

    def _neighbours(self, placed: _Placed) -> tuple[list[_Placed], list[_Placed]]:
        guard_mm = self.settings.guard_mm
        struck = [other for other in self._placed if placed.hits(other, guard_mm)]
        return struck, [other for other in self._placed if other.hits(placed, guard_mm)]

    def _fail_safe(
        self,
        wanted: Wanted,
        state: BeltState,
        outcome: Outcome,
        why: str,
        struck_by: tuple[int, ...] = (),
    ) -> Planned:
        rule = self.settings.fail_safe
        passes = _Placed(wanted, None)
        if rule.route is None or state.doubtful:
            # Nothing can be hit on purpose from a position that is not known.
            self._placed.append(passes)
            return Planned(wanted.item_id, (), outcome, "pass", why, struck_by=struck_by)
        for actuator in self.settings.serving(rule.route):
            aim = self._aim_at(wanted, actuator, state, all_lanes=rule.action == "divert")
            if aim.lanes and not aim.is_late and not self._is_blind(actuator):
                placed = _Placed(replace(wanted, route=rule.route), aim)
                took: Took = "divert" if rule.action == "divert" else "reject"
                return self._command(placed, state, outcome, took, why)
        self._placed.append(passes)
        why = f"{why}; the fail-safe's actuator cannot hit it any more"
        return Planned(wanted.item_id, (), outcome, "pass", why, struck_by=struck_by)

    def _command(
        self, placed: _Placed, state: BeltState, outcome: Outcome, took: Took, why: str
    ) -> Planned:
        struck, struck_by = (_ids(group) for group in self._neighbours(placed))
        self._placed.append(placed)
        assert placed.aim is not None
        command = self._make(placed.wanted, placed.aim, state)
        earlier = next((one for one in self._earlier if _same_pulse(one, command)), None)
        item_id = placed.wanted.item_id
        if earlier is not None:
            why = f"commanded already, as {earlier.command_id}"
            return Planned(item_id, (), outcome, "commanded-already", why, struck, struck_by)
        self._number += 1
        return Planned(item_id, (command,), outcome, took, why, struck, struck_by)

    def _make(self, wanted: Wanted, aim: Aim, state: BeltState) -> Command:
        actuator, odometer = aim.actuator, self._odometer
        on_host = actuator.compensates == "host" and actuator.timing == "plc"
        early_mm = max(state.speed_mm_s, 0.0) * actuator.latency_ms / 1000 if on_host else 0.0
        fire = odometer.count_at(aim.from_mm - early_mm)
        end = odometer.count_at(aim.to_mm - early_mm)
        return Command(
            f"{self.run_id}-{self._number + 1}", wanted.item_id, actuator.link, actuator.name,
            aim.lanes, fire, end, odometer.raw_of(fire), odometer.raw_of(end),
            wanted.belt_position_mm, state.time_s, actuator.pulse_ms,
            0.0 if on_host else actuator.latency_ms, actuator.timing,
        )  # fmt: skip


def _check(wanted: Wanted) -> None:
    numbers = (wanted.belt_position_mm, wanted.lateral_mm, wanted.length_mm, wanted.width_mm,
               wanted.slip_ratio, wanted.seen_mm or 0.0)  # fmt: skip
    sizes = min(wanted.length_mm, wanted.width_mm)
    if not all(math.isfinite(number) for number in numbers) or sizes < 0 or wanted.slip_ratio <= 0:
        raise LineError(
            f"item {wanted.item_id}: expected finite positions, sizes from 0 mm and a positive "
            f"slip ratio, got {wanted}"
        )


def _same_pulse(earlier: Command, command: Command) -> bool:
    """Whether an earlier command opens the same lane for at least half of this one's way."""
    if earlier.actuator != command.actuator or not set(earlier.lanes) & set(command.lanes):
        return False
    theirs = (earlier.fire_count, earlier.end_count)
    shared = overlap_mm(theirs, (command.fire_count, command.end_count))
    return shared >= (command.end_count - command.fire_count) / 2


def _ids(placed: Sequence[_Placed]) -> tuple[int, ...]:
    return tuple(one.wanted.item_id for one in placed)


def _listing(placed: Sequence[_Placed]) -> str:
    return ", ".join(str(one.wanted.item_id) for one in placed)
