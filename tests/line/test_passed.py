"""Commands whose moment is over: by the belt, by the clock, and by a counter that began anew."""

from __future__ import annotations

from dataclasses import replace

from tests.line.test_schedule import actuator, item

from beltsight.line.belt import BeltSettings, Odometer
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
