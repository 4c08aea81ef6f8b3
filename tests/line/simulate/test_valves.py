"""Valves act on what really lies under them, whatever the line believes.

The PLC is the one of the links: its program switches by its own counter, here at every millisecond.
"""

from __future__ import annotations

import pytest

from beltsight.errors import ConfigError
from beltsight.line.actuators import Command
from beltsight.line.actuators.plc import PlcSettings
from beltsight.line.actuators.protocol import LineState
from beltsight.line.actuators.simulated import SimulatedPlc, SimulatedSettings
from beltsight.line.simulate import (
    PASS,
    EncoderLook,
    Fallen,
    SimulatedEncoder,
    Slip,
    SpeedChange,
    Station,
    TrueItem,
    Truth,
    VirtualClock,
    act,
    drive,
)

LANES = ((0.0, 100.0), (100.0, 200.0), (200.0, 300.0))
JET = Station("jet", 600.0, LANES, latency_ms=10.0)
FLAP = Station("flap", 1000.0, ((0.0, 300.0),), latency_ms=0.0)
LATENCY_MS = {"jet": 10.0, "flap": 0.0}


def item(number: int, s_mm: float, lateral_mm: float = 150.0, along_mm: float = 80.0) -> TrueItem:
    return TrueItem(number, s_mm, lateral_mm, along_mm, 60.0, along_mm, 60.0, {})


def pulse(
    actuator: str, lanes: tuple[int, ...], s_mm: float, half_mm: float = 30.0
) -> tuple[str, tuple[int, ...], int, int]:
    """Counts of 0.1 mm from before to behind a place of the belt, at the actuator."""
    distance_mm = {"jet": 600.0, "flap": 1000.0}[actuator]
    middle = s_mm + distance_mm
    return actuator, lanes, round(10 * (middle - half_mm)), round(10 * (middle + half_mm))


def fallen(
    items: list[TrueItem],
    *pulses: tuple[str, tuple[int, ...], int, int],
    until_s: float = 3.0,
    changes: tuple[SpeedChange, ...] = (),
    slips: tuple[Slip, ...] = (),
    counter_bits: int = 32,
) -> Fallen:
    """Commands are taken at the start; what their pulses did by the end."""
    motion = drive(2500.0, changes)
    look = EncoderLook(counter_bits=counter_bits)
    encoder = SimulatedEncoder(motion.with_slips(slips), look, VirtualClock())
    program = PlcSettings(counter_bits=counter_bits, scan_ms=1.0, watchdog_ms=1e9)
    plc = SimulatedPlc(SimulatedSettings(plc=program), encoder.at, 0.0)
    plc.beat(LineState("running"), 0.0)
    for number, (actuator, lanes, fire, end) in enumerate(pulses):
        width = 1 << counter_bits
        plc.take(
            Command(
                f"c{number}", number, "plc", actuator, lanes, fire, end, fire % width, end % width,
                0.0, 0.0,
                pulse_ms=1.0, latency_ms=LATENCY_MS[actuator],
            ),
            0.0,
        )  # fmt: skip
    plc.run_to(until_s)
    return act(plc.switches, (JET, FLAP), motion, Truth(items, 1e6))


def test_an_item_under_an_open_valve_goes_to_its_bin() -> None:
    items = [item(0, 999.0, lateral_mm=40.0), item(1, 1000.0), item(2, 1200.0)]
    found = fallen(items, pulse("jet", (1,), 1000.0))
    assert found.bins == {1: "jet"}
    (shot,) = found.shots
    assert (shot.station, shot.lanes, shot.command_id) == ("jet", (1,), "c0")
    assert shot.items == (1,)
    assert shot.from_mm == pytest.approx(970, abs=4)  # a scan is 2.5 mm of belt
    assert shot.to_mm == pytest.approx(1030, abs=4)
    assert shot.error_mm == pytest.approx(0, abs=4)
    assert [found.bin_of(number) for number in range(3)] == [PASS, "jet", PASS]


def test_lanes_of_one_command_are_one_shot() -> None:
    found = fallen([item(0, 1000.0)], pulse("jet", (0, 1, 2), 1000.0))
    assert [shot.lanes for shot in found.shots] == [(0, 1, 2)]


def test_the_error_is_where_the_shot_lay_beside_what_it_moved() -> None:
    (shot,) = fallen([item(0, 1000.0)], pulse("jet", (1,), 1020.0)).shots
    assert shot.items == (0,) and shot.error_mm == pytest.approx(20, abs=4)


def test_a_shot_that_meets_too_little_moves_nothing() -> None:
    beside = pulse("jet", (2,), 1000.0)  # 15 of 60 mm across
    behind = pulse("jet", (1,), 1060.0)  # 10 of 80 mm along
    found = fallen([item(0, 1000.0, lateral_mm=185.0)], beside, behind)
    assert found.bins == {} and [shot.items for shot in found.shots] == [(), ()]
    assert all(shot.error_mm is None for shot in found.shots)
    assert fallen([item(0, 1000.0, lateral_mm=200.0)], beside).bins == {0: "jet"}  # half of it


def test_the_first_station_on_the_way_has_the_item() -> None:
    jet, flap = pulse("jet", (0, 1, 2), 1000.0), pulse("flap", (0,), 1000.0)
    for pulses in ((jet, flap), (flap, jet)):
        found = fallen([item(0, 1000.0)], *pulses)
        assert found.bins == {0: "jet"}
        assert {shot.station: shot.items for shot in found.shots} == {"jet": (0,), "flap": ()}


def test_a_valve_that_is_still_open_has_done_nothing_yet() -> None:
    assert fallen([item(0, 1000.0)], pulse("jet", (1,), 1000.0), until_s=0.64).shots == ()


@pytest.mark.parametrize("bits", [16, 32])
def test_stops_changes_of_speed_and_wrap_around_do_not_matter(bits: int) -> None:
    changes = (SpeedChange(0.4, 0.0, over_s=0.2), SpeedChange(5.0, 1200.0, over_s=0.3))
    place_mm = 2400.0
    found = fallen(
        [item(0, place_mm)], pulse("jet", (1,), place_mm), until_s=9.0, changes=changes,
        counter_bits=bits,
    )  # fmt: skip
    assert found.bins == {0: "jet"}
    assert found.shots[0].error_mm == pytest.approx(0, abs=4)


def test_slip_shows_as_an_error() -> None:
    # From 0.4 s on the wheel counts 5 % too much; until 0.62 s that makes 27 mm.
    (shot,) = fallen(
        [item(0, 1000.0)], pulse("jet", (1,), 1000.0), slips=(Slip(0.4, 5.0, 0.05),)
    ).shots
    assert shot.error_mm == pytest.approx(-0.05 / 1.05 * 575, abs=6)


def test_a_station_without_lanes_is_refused() -> None:
    for lanes in ((), ((10.0, 10.0),)):
        with pytest.raises(ConfigError, match="station"):
            Station("jet", 600.0, lanes)
