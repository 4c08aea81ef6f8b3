"""Valves act on what really lies under them, whatever the line believes."""

from __future__ import annotations

import pytest

from beltsight.errors import ConfigError, LinkError
from beltsight.line.simulate import (
    PASS,
    EncoderLook,
    SimulatedEncoder,
    SimulatedPlc,
    Slip,
    SpeedChange,
    Station,
    TrueItem,
    Truth,
    VirtualClock,
    drive,
)

LANES = ((0.0, 100.0), (100.0, 200.0), (200.0, 300.0))
JET = Station("jet", 600.0, LANES, latency_ms=10.0)
FLAP = Station("flap", 1000.0, ((0.0, 300.0),), latency_ms=0.0)


def item(number: int, s_mm: float, lateral_mm: float = 150.0, along_mm: float = 80.0) -> TrueItem:
    return TrueItem(number, s_mm, lateral_mm, along_mm, 60.0, along_mm, 60.0, {})


def make(
    *items: TrueItem,
    speed: float = 2500.0,
    changes: tuple[SpeedChange, ...] = (),
    slips: tuple[Slip, ...] = (),
    **look: object,
) -> tuple[SimulatedPlc, VirtualClock]:
    clock = VirtualClock()
    motion = drive(speed, changes)
    encoder = SimulatedEncoder(motion.with_slips(slips), EncoderLook(**look), clock)  # type: ignore[arg-type]
    truth = Truth(items or [item(0, 1000.0)], 1e6)
    return SimulatedPlc(motion, encoder, truth, (JET, FLAP), clock), clock


def order(s_mm: float, half_mm: float = 30.0, lead_mm: float = 25.0) -> tuple[int, int]:
    """Counts of 0.1 mm for a pulse about an item; 10 ms at 2.5 m/s are 25 mm."""
    return round(10 * (s_mm + 600 - half_mm - lead_mm)), round(
        10 * (s_mm + 600 + half_mm - lead_mm)
    )


def test_an_item_under_an_open_valve_goes_to_its_bin() -> None:
    plc, clock = make(item(0, 1000.0), item(1, 1200.0), item(2, 1000.0, lateral_mm=40.0))
    assert plc.fire("jet", [1], *order(1000.0)) == "waiting"
    clock.advance(0.62)
    assert plc.bins == {}
    clock.advance(2.0)
    assert plc.bins == {0: "jet", 1: PASS, 2: PASS}
    (shot,) = plc.shots
    assert shot.outcome == "fired"
    assert shot.items == (0,)
    assert shot.from_mm == pytest.approx(970, abs=3)  # the PLC looks every millisecond: 2.5 mm
    assert shot.to_mm == pytest.approx(1030, abs=3)
    assert shot.error_mm == pytest.approx(0, abs=3)


def test_the_error_is_where_the_shot_lay_beside_what_it_moved() -> None:
    plc, clock = make(item(0, 1000.0))
    at, end = order(1000.0)
    plc.fire("jet", [1], at + 200, end + 200)
    clock.advance(2.0)
    assert plc.bins == {0: "jet"}
    assert plc.shots[0].error_mm == pytest.approx(20, abs=3)


def test_a_shot_that_meets_too_little_moves_nothing() -> None:
    plc, clock = make(item(0, 1000.0, lateral_mm=185.0))
    at, end = order(1000.0)
    plc.fire("jet", [1], at + 600, end + 600)  # 10 of 80 mm
    plc.fire("jet", [2], *order(1000.0))  # 15 of 60 mm across
    clock.advance(2.0)
    assert plc.bins == {0: PASS}
    assert [shot.items for shot in plc.shots] == [(), ()]
    plc, clock = make(item(0, 1000.0, lateral_mm=200.0))
    plc.fire("jet", [2], *order(1000.0))  # half of it
    clock.advance(2.0)
    assert plc.bins == {0: "jet"}


def test_the_first_station_on_the_way_has_the_item() -> None:
    for orders in (("jet", "flap"), ("flap", "jet")):
        plc, clock = make()
        for name in orders:
            at, end = order(1000.0) if name == "jet" else (19_700, 20_300)
            plc.fire(name, [0, 1, 2] if name == "jet" else [0], at, end)
        clock.advance(3.0)
        assert plc.bins == {0: "jet"}


def test_an_order_that_comes_too_late_is_not_fired() -> None:
    plc, clock = make()
    clock.advance(0.7)  # the belt is at 1750 mm, the pulse was to begin at 1545
    assert plc.fire("jet", [1], *order(1000.0)) == "late"
    clock.advance(2.0)
    assert plc.bins == {0: PASS}
    assert [shot.outcome for shot in plc.shots] == ["late"]


@pytest.mark.parametrize("is_raw", [True, False])
def test_counts_may_be_raw_or_unwrapped_beyond_the_counters_width(is_raw: bool) -> None:
    plc, clock = make(item(0, 1000.0), counter_bits=16, first_count=60_000)
    at, end = (count + 60_000 for count in order(1000.0))
    assert at > 65_536
    if is_raw:
        at, end = at % 65_536, end % 65_536
    assert plc.fire("jet", [1], at, end) == "waiting"
    clock.advance(2.0)
    assert plc.bins == {0: "jet"}


def test_a_counter_that_counts_down() -> None:
    plc, clock = make(item(0, 1000.0), reversed=True, counter_bits=16)
    at, end = order(1000.0)
    assert plc.fire("jet", [1], -at, -end) == "waiting"
    clock.advance(2.0)
    assert plc.bins == {0: "jet"}
    assert plc.shots[0].error_mm == pytest.approx(0, abs=3)


def test_stops_and_changes_of_speed_do_not_matter_to_an_encoder() -> None:
    changes = (SpeedChange(0.4, 0.0, over_s=0.2), SpeedChange(5.0, 1200.0, over_s=0.3))
    plc, clock = make(item(0, 1000.0), changes=changes)
    plc.fire("jet", [1], *order(1000.0, lead_mm=12.0))  # 10 ms at 1.2 m/s
    clock.advance(4.9)
    assert plc.bins == {}
    assert not plc.shots
    clock.advance(9.0)
    assert plc.bins == {0: "jet"}
    assert plc.shots[0].error_mm == pytest.approx(0, abs=3)


def test_slip_shows_as_an_error() -> None:
    # From 0.4 s on the wheel counts 5 % too much; until 0.62 s that makes 27 mm.
    plc, clock = make(item(0, 1000.0), slips=(Slip(0.4, 5.0, 0.05),))
    plc.fire("jet", [1], *order(1000.0))
    clock.advance(2.0)
    assert plc.shots[0].error_mm == pytest.approx(-0.05 / 1.05 * 575, abs=4)


def test_a_valve_does_not_stay_open_over_a_belt_that_stands() -> None:
    plc, clock = make(item(0, 1000.0), changes=(SpeedChange(0.63, 0.0, over_s=0.0),))
    plc.fire("jet", [1], *order(1000.0))
    clock.advance(1.5)
    assert not plc.shots
    clock.advance(1.7)
    (shot,) = plc.shots
    assert shot.to_mm == pytest.approx(0.63 * 2500 - 600)


def test_time_may_pass_in_any_steps() -> None:
    def result(step_s: float) -> tuple[float | None, float | None]:
        plc, clock = make(item(0, 1000.0))
        plc.fire("jet", [1], *order(1000.0))
        while clock() < 1.0:
            clock.advance(clock() + step_s)
            plc.advance()
        return plc.shots[0].from_mm, plc.shots[0].to_mm

    assert result(0.0004) == result(0.033) == result(1.0)


@pytest.mark.parametrize(
    ("actuator", "lanes", "at", "end", "said"),
    [
        ("jets", [0], 9000, 9100, "jet \\(3 lanes\\)"),
        ("jet", [], 9000, 9100, "no valves"),
        ("jet", [3], 9000, 9100, "no valves"),
        ("jet", [0], 9000, 9000, "end after it begins"),
        ("jet", [0], 9000, 8000, "end after it begins"),
    ],
)
def test_orders_that_cannot_be_met_are_refused(
    actuator: str, lanes: list[int], at: int, end: int, said: str
) -> None:
    plc, _ = make()
    with pytest.raises(LinkError, match=said):
        plc.fire(actuator, lanes, at, end)


def test_waiting_orders_are_bounded() -> None:
    plc, _ = make(speed=0.0)
    with pytest.raises(LinkError, match="orders wait"):
        for number in range(20_000):
            plc.fire("jet", [0], 10_000 + number, 10_100 + number)


def test_a_station_without_lanes_is_refused() -> None:
    with pytest.raises(ConfigError, match="station"):
        Station("jet", 600.0, ())
    with pytest.raises(ConfigError, match="station"):
        Station("jet", 600.0, ((10.0, 10.0),))
