"""Planning: counts by hand, late decisions, neighbours, and runs that follow each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from beltsight.config import load_config
from beltsight.errors import ConfigError, LineError
from beltsight.line.aim import Wanted, aim_at, choose_lanes
from beltsight.line.belt import BeltSettings, BeltState, Odometer
from beltsight.line.schedule import Planned, Scheduler
from beltsight.line.schedule_settings import ActuatorSettings, FailSafe, ScheduleSettings

LANES = ((0.0, 140.0), (140.0, 280.0), (280.0, 420.0), (420.0, 560.0))


def actuator(name: str = "jets", **changes: Any) -> ActuatorSettings:
    values = {"name": name, "routes": "metal", "distance_mm": 600, "lanes": LANES, **changes}
    return ActuatorSettings.model_validate(values)


def belt(position_mm: float = 0.0, speed_mm_s: float = 2500.0, **changes: Any) -> BeltState:
    moving = "forward" if speed_mm_s > 0 else "reverse" if speed_mm_s < 0 else "stopped"
    values = {"time_s": 10.0, "count": round(position_mm * 10), "position_mm": position_mm,
              "speed_mm_s": speed_mm_s, "moving": moving, "doubtful": False}  # fmt: skip
    return BeltState(**{**values, **changes})


def item(item_id: int = 1, at_mm: float = 0.0, **changes: Any) -> Wanted:
    values = {"lateral_mm": 210.0, "length_mm": 100.0, "width_mm": 80.0, "route": "metal"}
    return Wanted(item_id, at_mm, **{**values, **changes})


def scheduler(
    *actuators: ActuatorSettings, belt_settings: BeltSettings | None = None, **rules: Any
) -> Scheduler:
    odometer = Odometer(belt_settings or BeltSettings(mm_per_count=0.1))
    odometer.update(0.0, 1000)
    settings = ScheduleSettings(actuators=actuators or (actuator(),), **rules)
    return Scheduler(settings, odometer, "run")


def test_a_command_is_bound_to_counts() -> None:
    """The item's middle meets the jets at 600 mm; the pulse takes the middle half of 100 mm."""
    planned = scheduler(actuator(latency_ms=12, link="plc2")).plan(item(7), belt(100.0))
    [command] = planned.commands
    assert (planned.outcome, planned.took, planned.why) == ("planned", "route", "")
    assert (command.fire_count, command.end_count) == (5750, 6250)
    # The counter stood at 1,000 where the odometer began.
    assert (command.raw_fire_count, command.raw_end_count) == (6750, 7250)
    assert (command.lanes, command.item_id, command.actuator, command.link) == ((1,), 7, "jets",
                                                                               "plc2")  # fmt: skip
    assert (command.latency_ms, command.timing, command.pulse_ms) == (12, "plc", 20)
    assert (command.issued_s, command.belt_position_mm) == (10.0, 0.0)


def test_raw_counts_wrap_and_run_backwards() -> None:
    wraps = BeltSettings(mm_per_count=0.1, counter_bits=12)
    [command] = scheduler(belt_settings=wraps).plan(item(), belt()).commands
    assert command.raw_fire_count == (1000 + 5750) % 4096
    backwards = BeltSettings(mm_per_count=0.1, counter_bits=16, reversed=True)
    [command] = scheduler(belt_settings=backwards).plan(item(), belt()).commands
    assert command.raw_fire_count == (1000 - 5750) % 65536


def test_the_shortest_pulse_at_the_present_speed() -> None:
    """40 ms at 2,500 mm/s are 100 mm, more than half of a 60 mm item."""
    [command] = scheduler(actuator(pulse_ms=40)).plan(item(length_mm=60.0), belt()).commands
    assert (command.fire_count, command.end_count) == (5500, 6500)


def test_what_is_planned_while_the_belt_stands_is_blown_around_its_middle_when_it_runs() -> None:
    """40 ms at 2,500 mm/s are 100 mm around an item of 60 mm, also where the belt stands now."""
    valve = actuator(pulse_ms=40)
    moving = scheduler(valve)
    moving.plan(item(1, at_mm=-500.0), belt())
    set_to = scheduler(valve, belt_settings=BeltSettings(mm_per_count=0.1, speed_mm_s=2500))
    for one in (moving, set_to):
        [command] = one.plan(item(2, length_mm=60.0), belt(speed_mm_s=0.0)).commands
        assert (command.fire_count, command.end_count) == (5500, 6500)


def test_a_speed_that_is_wrong_for_a_moment_does_not_make_pulses_long_for_good() -> None:
    plans = scheduler(actuator(pulse_ms=40))
    plans.plan(item(1, at_mm=-5000.0), belt())
    plans.plan(item(2, at_mm=-4000.0), belt(speed_mm_s=7500.0))
    for number in range(60):
        plans.plan(item(3 + number, at_mm=-3000.0 + 30 * number, lateral_mm=2000.0), belt())
    [command] = plans.plan(item(100, length_mm=60.0), belt()).commands
    assert command.end_count - command.fire_count <= 1020


def test_nothing_is_aimed_at_a_counter_that_was_never_read() -> None:
    odometer = Odometer(BeltSettings(mm_per_count=0.1, speed_mm_s=2500))
    odometer.update(0.0, None)
    reject = {"action": "reject", "route": "metal"}
    for timing, commands in (("plc", 0), ("host", 1)):
        settings = ScheduleSettings(actuators=(actuator(timing=timing),), fail_safe=reject)
        planned = Scheduler(settings, odometer, "run").plan(item(), belt())
        assert len(planned.commands) == commands
    odometer.update(0.1, 1000)
    settings = ScheduleSettings(actuators=(actuator(),))
    assert Scheduler(settings, odometer, "run").plan(item(), belt()).commands


def test_a_remembered_command_far_from_here_is_of_another_time() -> None:
    plans = scheduler()
    [command] = plans.plan(item(), belt()).commands
    again = scheduler()
    assert not again.remember(command, belt(3_600_000.0), reach=44_000)
    assert again.remember(command, belt(), reach=44_000)
    assert again.plan(item(), belt()).took == "commanded-already"


def test_a_command_that_is_due_now_may_be_over_for_a_moment() -> None:
    plans = scheduler()
    [command] = plans.plan(item(), belt()).commands  # fires at 5,750 counts, 230 ms from now
    assert not plans.has_passed(command, belt(), 10.24, spare_s=0.02)
    assert plans.has_passed(command, belt(), 10.24)
    assert plans.has_passed(command, belt(), 10.26, spare_s=0.02)


def test_the_host_compensates_by_the_speed_of_now() -> None:
    late_valve = actuator(latency_ms=20, compensates="host")
    [command] = scheduler(late_valve).plan(item(), belt()).commands
    assert (command.fire_count, command.latency_ms) == (5750 - 500, 0)
    [slow] = scheduler(late_valve).plan(item(), belt(speed_mm_s=1000.0)).commands
    assert slow.fire_count == 5750 - 200


def test_the_host_times_with_the_latency_in_the_command() -> None:
    [command] = (
        scheduler(actuator(latency_ms=20, timing="host", compensates="host"))
        .plan(item(), belt())
        .commands
    )
    assert (command.fire_count, command.latency_ms, command.timing) == (5750, 20, "host")


def test_slip_shortens_the_way_that_the_encoder_counts() -> None:
    """Seen at odometer 100 with 600 mm to go; the belt goes 2 % farther than is counted."""
    wanted = item(at_mm=100.0, slip_ratio=1.02, seen_mm=100.0)
    [command] = scheduler().plan(wanted, belt(150.0)).commands
    assert command.fire_count == round((100 + 600 / 1.02 - 25) * 10)


@pytest.mark.parametrize(
    ("across", "lanes"),
    [
        ((10, 130), (0,)),
        ((100, 180), (0, 1)),
        ((130, 290), (1,)),  # one whole lane, and 10 mm of each neighbour
        ((60, 360), (0, 1, 2)),
        ((550, 700), (3,)),  # beyond the edge: the lane that it touches most
        ((560, 700), ()),
    ],
)
def test_lanes(across: tuple[float, float], lanes: tuple[int, ...]) -> None:
    assert choose_lanes(LANES, across) == lanes


def test_a_decision_on_the_edge_of_its_window() -> None:
    """2,500 mm/s and 100 ms: the odometer may show 575 - 250 = 325 mm, not more."""
    assert scheduler().plan(item(), belt(325.0)).outcome == "planned"
    late = scheduler().plan(item(), belt(327.5))
    assert (late.outcome, late.took, late.commands) == ("late", "pass", ())
    assert "1 ms too late" in late.why
    # The valve's latency takes from the lead: 10 ms are 25 mm.
    slow = actuator(latency_ms=10)
    assert scheduler(slow).plan(item(), belt(300.0)).outcome == "planned"
    assert scheduler(slow).plan(item(), belt(303.0)).outcome == "late"


@pytest.mark.parametrize("speed_mm_s", [2500.0, 600.0, 100.0])
@pytest.mark.parametrize("pulse_ms", [20.0, 60.0])
def test_an_item_is_due_while_it_can_still_be_planned(speed_mm_s: float, pulse_ms: float) -> None:
    far = actuator("far", routes="glass", distance_mm=900.0)
    planner, other = (scheduler(actuator(pulse_ms=pulse_ms), far) for _ in range(2))
    for one in (planner, other):
        one.plan(item(0, 9000.0, route="glass"), belt())  # it has run at full speed
    state = belt(speed_mm_s=speed_mm_s)
    wanted = item(seen_mm=0.0)
    while not planner.is_due(wanted, state, within_ms=5.0):
        assert state.position_mm < 2000.0
        state = belt(state.position_mm + speed_mm_s * 0.001, speed_mm_s)
    assert planner.plan(wanted, state).outcome == "planned"
    # A plan lets the speed that pulses are laid out for go 5 % of the way to the present one.
    later = belt(state.position_mm + speed_mm_s * 0.007 + 5.0, speed_mm_s)
    assert other.plan(wanted, later).outcome == "late"


def test_a_window_lets_the_pulse_begin_later() -> None:
    planned = scheduler(actuator(window_mm=10)).plan(item(), belt(333.0))
    [command] = planned.commands
    assert (command.fire_count, command.end_count) == (5830, 6330)  # 100 ms ahead; 20 ms long
    assert scheduler(actuator(window_mm=10)).plan(item(), belt(336.0)).outcome == "late"


def test_a_stopped_belt_leaves_all_the_time_there_is() -> None:
    assert scheduler().plan(item(), belt(570.0, 0.0)).outcome == "planned"
    past = scheduler().plan(item(), belt(580.0, 0.0))
    assert (past.outcome, past.why) == ("late", "past it already for the actuator of 'metal'")


def test_the_next_actuator_of_the_route_serves() -> None:
    two = scheduler(actuator("far", distance_mm=900), actuator("near"))
    assert two.plan(item(), belt(300.0)).commands[0].actuator == "near"
    assert two.plan(item(), belt(400.0)).commands[0].actuator == "far"


@pytest.mark.parametrize(
    ("action", "took", "lanes"), [("reject", "reject", (1,)), ("divert", "divert", (0, 1, 2, 3))]
)
def test_the_fail_safe_sends_late_items_elsewhere(
    action: str, took: str, lanes: tuple[int, ...]
) -> None:
    flap = actuator("flap", routes="residue", distance_mm=1200)
    rule = FailSafe.model_validate({"action": action, "route": "residue"})
    planned = scheduler(actuator(), flap, fail_safe=rule).plan(item(), belt(400.0))
    assert (planned.outcome, planned.took) == ("late", took)
    [command] = planned.commands
    assert (command.actuator, command.lanes, command.fire_count) == ("flap", lanes, 11_750)
    too_late = scheduler(actuator(), flap, fail_safe=rule).plan(item(), belt(1100.0))
    assert (too_late.took, too_late.commands) == ("pass", ())
    assert "cannot hit it any more" in too_late.why


def test_a_route_that_nobody_serves() -> None:
    planned = scheduler(end_routes=("residue",)).plan(item(route="glass"), belt())
    assert (planned.outcome, planned.took) == ("no-actuator", "pass")
    beside = scheduler().plan(item(lateral_mm=700.0), belt())
    assert (beside.outcome, beside.why) == ("no-actuator", "no lane of 'metal' reaches 700 mm "
                                            "across the belt")  # fmt: skip
    end = scheduler(end_routes=("residue",)).plan(item(route="residue"), belt())
    assert end == Planned(1, (), "planned", "end")


def test_a_doubtful_position_hits_nothing() -> None:
    rule = FailSafe(action="reject", route="metal")
    planned = scheduler(fail_safe=rule).plan(item(), belt(doubtful=True))
    assert (planned.outcome, planned.took, planned.commands) == ("fail-safe", "pass", ())


GLASS = {"routes": "glass", "distance_mm": 900}


def pair(rule: str, **changes: Any) -> Scheduler:
    return scheduler(actuator(), actuator("second", **GLASS), conflict=rule, **changes)


def test_neighbours_of_one_route_are_both_served() -> None:
    """Their pulses overlap: the valve stays open, which the PLC's rules give by themselves."""
    plans = pair("first")
    answers = [plans.plan(item(n, -40.0 * n), belt()) for n in (1, 2)]
    assert [answer.outcome for answer in answers] == ["planned", "planned"]
    assert [answer.struck for answer in answers] == [(), ()]


def test_neighbours_with_room_do_not_meet() -> None:
    """100 mm items 110 mm apart: the pulse for one takes 50 mm around its middle."""
    plans = pair("first")
    first = plans.plan(item(1, 0.0), belt())
    second = plans.plan(item(2, -110.0, route="glass"), belt())
    assert (first.outcome, second.outcome) == ("planned", "planned")
    guarded = pair("first", guard_mm=40.0)
    guarded.plan(item(1, 0.0, route="glass"), belt())
    assert guarded.plan(item(2, -110.0), belt()).outcome == "conflict"


def test_another_lane_is_no_neighbour() -> None:
    plans = pair("first")
    plans.plan(item(1, 0.0, route="glass"), belt())
    assert plans.plan(item(2, -20.0, lateral_mm=490.0), belt()).outcome == "planned"


def test_the_first_keeps_its_pulse() -> None:
    """Item 1 goes on to the second bank; the pulse for item 2 at the first one would take it."""
    plans = pair("first")
    assert plans.plan(item(1, 0.0, route="glass"), belt()).outcome == "planned"
    second = plans.plan(item(2, -30.0), belt())
    assert (second.outcome, second.took, second.commands) == ("conflict", "pass", ())
    assert second.why == "its pulse would hit item 1"


def test_who_is_hit_by_an_earlier_pulse_is_told() -> None:
    plans = pair("first")
    plans.plan(item(1, 0.0), belt())
    second = plans.plan(item(2, -30.0, route="glass"), belt())
    assert (second.outcome, second.struck_by) == ("conflict", (1,))
    assert len(second.commands) == 1  # if the first pulse misses it, it still goes where it should


def test_an_item_taken_upstream_is_not_hit_downstream() -> None:
    """Its pulse at the second bank, 60 ms long, would reach over the place of item 1."""
    plans = scheduler(actuator(), actuator("second", pulse_ms=60, **GLASS))
    plans.plan(item(1, 0.0, length_mm=60.0), belt())
    far = plans.plan(item(2, -56.0, route="glass", length_mm=60.0), belt())
    assert (far.outcome, far.struck) == ("planned", ())


def test_end_of_the_belt_items_are_neighbours_too() -> None:
    plans = scheduler(end_routes=("residue",))
    plans.plan(item(1, 0.0, route="residue"), belt())
    assert plans.plan(item(2, -30.0), belt()).outcome == "conflict"
    other = scheduler(end_routes=("residue",))
    other.plan(item(1, 0.0), belt())
    passed = other.plan(item(2, -30.0, route="residue"), belt())
    assert (passed.outcome, passed.struck_by) == ("conflict", (1,))


def test_an_earlier_runs_command_is_not_given_again() -> None:
    """The new run's odometer begins elsewhere; the PLC's counter went on."""
    [before] = scheduler().plan(item(), belt()).commands  # raw 6,750 to 7,250
    odometer = Odometer(BeltSettings(mm_per_count=0.1))
    state = odometer.update(0.0, 3000)  # 200 mm later
    again = Scheduler(ScheduleSettings(actuators=(actuator(),)), odometer, "next")
    again.remember(before, state)
    seen_again = replace(item(4), belt_position_mm=-200.0 + 3.0)
    planned = again.plan(seen_again, replace(belt(0.0), time_s=11.0))
    assert (planned.took, planned.commands) == ("commanded-already", ())
    assert planned.why == "commanded already, as run-1"
    beside = again.plan(replace(seen_again, item_id=5, lateral_mm=490.0), belt(0.0))
    assert beside.commands[0].command_id == "next-1"
    behind = again.plan(replace(seen_again, item_id=6, belt_position_mm=-320.0), belt(0.0))
    assert len(behind.commands) == 1


def test_ids_are_never_given_twice() -> None:
    plans = scheduler()
    ids = [plans.plan(item(n, 200.0 * n), belt()).commands[0].command_id for n in range(50)]
    assert ids == [f"run-{n}" for n in range(1, 51)]


def test_what_has_passed() -> None:
    plans = scheduler(actuator(latency_ms=10))
    [command] = plans.plan(item(), belt()).commands  # fires at 575 mm, switched 25 mm earlier
    assert not plans.has_passed(command, belt(540.0), 10.0)
    assert plans.has_passed(command, belt(560.0), 10.0)
    assert plans.has_passed(command, belt(540.0), 10.005)  # 12.5 mm on
    assert not plans.has_passed(command, belt(560.0, 0.0), 99.0)


def test_memory_is_bounded_by_the_belt() -> None:
    plans = scheduler()
    for n in range(300):
        plans.plan(item(n, 200.0 * n), belt(200.0 * n))
    assert len(plans._placed) < 12


@pytest.mark.parametrize(
    "changes",
    [{"belt_position_mm": float("nan")}, {"length_mm": -1.0}, {"slip_ratio": 0.0},
     {"lateral_mm": float("inf")}],
)  # fmt: skip
def test_impossible_items_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LineError, match="item 1: expected finite"):
        scheduler().plan(replace(item(), **changes), belt())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fail_safe": {"action": "reject"}}, "needs a route"),
        ({"fail_safe": {"action": "pass", "route": "metal"}}, "needs a route"),
        ({"fail_safe": {"action": "divert", "route": "metall"}}, "did you mean 'metal'"),
        ({"end_routes": ["metal"]}, "cannot be end routes"),
        ({"conflict": "last"}, "conflict"),
        ({"gard_mm": 3}, "did you mean 'guard_mm'"),
        ({"actuators": []}, "at least 1"),
        ({"actuators": [{**actuator().model_dump(), "lanes": [(0, 50), (40, 90)]}]}, "overlap"),
        ({"actuators": [actuator().model_dump()] * 2}, "name of its own"),
        ({"actuators": [{**actuator().model_dump(), "latency": 3}]}, "latency_ms"),
    ],
)
def test_wrong_settings_say_what_was_expected(values: dict[str, Any], said: str) -> None:
    base = {"actuators": [actuator().model_dump()]}
    with pytest.raises(ConfigError, match=said):
        load_config(ScheduleSettings, base={**base, **values})


def test_aim_is_pure() -> None:
    one, two = (aim_at(item(), actuator(), belt(), all_lanes=False) for _ in range(2))
    assert one == two
