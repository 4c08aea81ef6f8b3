"""Commands whose moment is over: by the belt, by the clock, by a counter that began anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.line.actuators.peers import command
from tests.line.test_schedule import actuator, item
from tests.line.test_supply import Scripted
from tests.line.whole import settings_in

from beltsight.line.actuators import open_actuator
from beltsight.line.assemble import Outside, open_line
from beltsight.line.belt import BeltSettings, BeltState, Odometer
from beltsight.line.schedule import Scheduler
from beltsight.line.schedule_settings import ScheduleSettings


def test_counts_of_a_counter_that_was_set_anew_are_no_places_any_more() -> None:
    """The belt stands and a command waits; the encoder begins at 0; the peer must not get it."""
    odometer = Odometer(BeltSettings(mm_per_count=0.1))
    plans = Scheduler(ScheduleSettings(actuators=(actuator(),)), odometer, "run")
    for tick in range(100):
        state = odometer.update(tick / 100, 1_000_000 + 250 * tick)
    [command] = plans.plan(item(at_mm=state.position_mm), state).commands
    assert not plans.has_passed(command, state, state.time_s)
    for tick in range(100, 200):
        state = odometer.update(tick / 100, 1_024_750)
    assert state.moving == "stopped"
    assert not plans.has_passed(command, state, state.time_s)
    for tick in range(200, 300):
        state = odometer.update(tick / 100, 0)
    assert odometer.resets == 1
    assert command.fire_count > state.count  # by the belt alone it would still be to come
    assert plans.has_passed(command, state, state.time_s)
    # This machine times that one by the belt: it needs no counter of the peer's.
    here = replace(command, timing="host")
    assert not plans.has_passed(here, state, state.time_s)


@pytest.mark.parametrize(("late_ms", "over"), [(4, True), (100, False)])
def test_how_late_a_pulse_of_this_machine_may_be_stands_in_the_lines_file(
    tmp_path: Path, late_ms: float, over: bool
) -> None:
    """The timer keeps to it, and so do the links, which are given what the timer hands over."""
    settings = settings_in(tmp_path, {"kind": "simulated"}, **{"host_timer.late_ms": late_ms})
    peers = [open_actuator(link, lambda time_s: 0) for link in settings.links]
    opened = open_line(settings, Outside(lambda: Scripted([]), peers))
    try:
        assert opened.timer.settings.late_ms == late_ms
        now_s = opened.line.parts.clock()
        opened.line.parts.shared.belt = BeltState(now_s, 5000, 500.0, 2500.0, "forward", False)
        # 1,250 counts are 125 mm: 50 ms ago.
        assert opened._has_passed(command(1, fire_count=3750, timing="host")) is over
    finally:
        assert opened.close() is None
