"""The rules of a PLC, scan by scan; and the simulated link around them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.line.actuators.peers import command, run

from beltsight.errors import ConfigError, LinkError
from beltsight.line.actuators import Acknowledgement, LineState, open_actuator, read_peer
from beltsight.line.actuators.plc import Plc, PlcSettings, Switch
from beltsight.line.actuators.simulated import SimulatedActuator, SimulatedPlc, SimulatedSettings

COUNTS_PER_S = 25_000  # 2,500 mm/s at 0.1 mm


def counts(number: int, fire: int, end: int, **changes: Any) -> Any:
    return command(
        number, raw_fire_count=fire, raw_end_count=end, lanes=(2,), latency_ms=0.0, pulse_ms=1.0,
        **changes,
    )  # fmt: skip


class Scans:
    """A PLC scanned every millisecond on a belt that goes as it is told."""

    def __init__(self, start: int = 0, **settings: Any) -> None:
        self.plc = Plc(PlcSettings.model_validate({"watchdog_ms": 1e9, **settings}))
        self.plc.beat("running", 0.0)
        self.ms = 0
        self.raw = float(start)
        self.switches: list[Switch] = []
        self.plc.scan(start, 0.0)

    def go(self, ms: int, counts_per_s: float = COUNTS_PER_S) -> None:
        for _ in range(ms):
            self.ms += 1
            self.raw += counts_per_s / 1000
            bits = self.plc.settings.counter_bits
            self.switches += self.plc.scan(round(self.raw) % (1 << bits), self.ms / 1000)

    def seen(self) -> list[tuple[int, bool, int]]:
        return [(one.lane, one.is_open, one.raw_count) for one in self.switches]


def test_it_fires_at_the_scan_nearest_to_the_count() -> None:
    """25 counts a scan: 1,010 is nearest to the scan at 1,000 and 1,240 to the one at 1,250."""
    line = Scans()
    line.plc.take(counts(1, 1010, 1240))
    line.go(60)
    assert line.seen() == [(2, True, 1000), (2, False, 1250)]
    assert line.plc.acknowledgements() == (Acknowledgement("run1-1", "fired", 1000),)
    assert line.plc.acknowledgements() == ()


def test_a_stop_costs_nothing() -> None:
    line = Scans()
    line.plc.take(counts(1, 1000, 1250))
    line.go(20)
    line.go(5000, 0.0)
    assert line.seen() == []
    line.go(40)
    assert line.seen() == [(2, True, 1000), (2, False, 1250)]


def test_a_belt_that_runs_back_fires_when_it_comes_again_and_once() -> None:
    line = Scans()
    line.plc.take(counts(1, 500, 600))
    line.go(10)
    line.go(8, -COUNTS_PER_S)
    assert line.seen() == []
    line.go(40)
    line.go(60, -COUNTS_PER_S)
    line.go(80)
    assert [one.is_open for one in line.switches] == [True, False]


def test_its_own_latency_is_taken_off_by_its_own_speed() -> None:
    """10 ms at 25 counts a ms are 250 counts; at half the speed 125."""
    line = Scans()
    line.plc.take(command(1, raw_fire_count=2000, raw_end_count=2500, latency_ms=10.0, lanes=(2,)))
    line.plc.take(command(2, raw_fire_count=4000, raw_end_count=4500, latency_ms=10.0, lanes=(3,)))
    line.go(100)
    line.go(150, COUNTS_PER_S / 2)
    assert [one.raw_count for one in line.switches if one.is_open] == [1750, 3875]


@pytest.mark.parametrize(("bits", "start", "fire"), [(16, 65_000, 464), (32, 2**32 - 500, 500)])
def test_the_counter_wraps_around(bits: int, start: int, fire: int) -> None:
    line = Scans(start, counter_bits=bits)
    line.plc.take(counts(1, fire, fire + 250))
    line.go(60)
    assert [one.raw_count for one in line.switches] == [fire, fire + 250]


def test_a_counter_that_falls() -> None:
    line = Scans(5000, reversed=True)
    line.plc.take(counts(1, 4000, 3750))
    line.go(60, -COUNTS_PER_S)
    assert [one.raw_count for one in line.switches] == [4000, 3750]


@pytest.mark.parametrize("passed", [80, 5000])
def test_what_has_passed_is_late_and_never_fires(passed: int) -> None:
    line = Scans()
    line.go(400)
    line.plc.take(counts(1, 10_000 - passed, 10_250))
    line.go(100)
    assert line.seen() == []
    assert [one.outcome for one in line.plc.acknowledgements()] == ["late"]


def test_a_scan_too_late_is_in_time() -> None:
    line = Scans()
    line.go(40)
    line.plc.take(counts(1, 990, 1250))
    line.go(40)
    assert line.seen()[0] == (2, True, 1025)


def test_a_counter_that_leaps_over_a_pulse_does_not_fire_it() -> None:
    line = Scans()
    line.plc.take(counts(1, 2000, 2250))
    line.go(20)
    line.raw = 9000
    line.go(20)
    assert line.seen() == []
    assert [one.outcome for one in line.plc.acknowledgements()] == ["late"]


def test_an_id_is_known_for_good() -> None:
    line = Scans()
    assert line.plc.take(counts(1, 1000, 1250)) is None
    assert line.plc.take(counts(1, 2000, 2250)) == "duplicate"
    line.go(200)
    assert line.plc.take(counts(1, 9000, 9250)) == "duplicate"
    line.go(300)
    assert [one.is_open for one in line.switches] == [True, False]
    assert line.plc.known(["run1-1", "run1-2"]) == {"run1-1"}


def test_overlapping_pulses_of_a_lane_are_one() -> None:
    line = Scans()
    line.plc.take(counts(1, 1000, 1500))
    line.plc.take(counts(2, 1250, 1750))
    line.plc.take(counts(3, 1250, 1750, actuator="other"))
    line.go(100)
    lanes = [(one.actuator, one.is_open, one.raw_count) for one in line.switches]
    assert lanes == [("air", True, 1000), ("other", True, 1250), ("air", False, 1750),
                     ("other", False, 1750)]  # fmt: skip


def test_the_shortest_pulse_and_the_longest() -> None:
    line = Scans(max_open_ms=200)
    line.plc.take(command(1, raw_fire_count=1000, raw_end_count=1025, lanes=(0,), pulse_ms=20.0,
                          latency_ms=0.0))  # fmt: skip
    line.go(100)
    assert line.switches[1].time_s - line.switches[0].time_s == pytest.approx(0.020)
    line.plc.take(counts(2, 3000, 4000))
    line.go(30)
    line.go(400, 0.0)  # the belt stops with the lane open
    assert line.switches[3].time_s - line.switches[2].time_s == pytest.approx(0.200)


def test_a_pulse_that_the_host_times_fires_at_once() -> None:
    line = Scans()
    line.go(10)
    line.plc.take(counts(1, 99_999, 99_999, timing="host"))
    line.go(3)
    assert [(one.is_open, one.time_s) for one in line.switches] == [(True, 0.011), (False, 0.012)]


def test_without_beats_it_goes_safe_by_itself() -> None:
    line = Scans(watchdog_ms=150)
    line.plc.take(counts(1, 2500, 9000))
    line.plc.take(counts(2, 4000, 4250))
    line.go(149)
    assert not line.plc.is_safe
    line.go(5)
    assert line.plc.is_safe
    assert line.switches[-1].is_open is False
    assert line.switches[-1].time_s == pytest.approx(0.151)
    answers = {one.command_id: one.outcome for one in line.plc.acknowledgements()}
    assert answers == {"run1-1": "fired", "run1-2": "refused"}
    assert line.plc.take(counts(3, 9000, 9250)) == "refused"
    line.plc.beat("running", line.ms / 1000)
    assert line.plc.take(counts(4, 5000, 5250)) is None


@pytest.mark.parametrize("state", ["starting", "safe", "stopped"])
def test_it_fires_only_while_the_line_runs(state: Any) -> None:
    line = Scans()
    line.plc.take(counts(1, 1000, 1250))
    line.plc.beat(state, 0.0)
    line.go(60)
    assert line.seen() == []


def test_a_counter_that_gives_nothing_opens_nothing() -> None:
    plc = Plc(PlcSettings())
    plc.beat("running", 0.0)
    plc.take(counts(1, 0, 250))
    assert plc.scan(None, 0.0) == []
    plc.take(counts(2, 0, 250, timing="host"))
    assert plc.scan(None, 0.01) == []
    assert [one.is_open for one in plc.scan(0, 0.02)] == [True]


def test_its_memory_of_ids_is_bounded() -> None:
    line = Scans(remembered=16)
    for number in range(50):
        line.plc.take(counts(number, 1000 + number, 1250))
    assert len(line.plc.known([f"run1-{n}" for n in range(50)])) == 16


def test_the_simulated_plc_scans_at_its_own_times() -> None:
    """Asked only after 100 ms, it has switched where it would have: at 40 and 50 ms."""
    plc = SimulatedPlc(SimulatedSettings(), lambda time_s: round(time_s * COUNTS_PER_S), 0.0)
    plc.beat(LineState("running"), 0.0)
    plc.take(counts(1, 1000, 1250), 0.001)
    plc.run_to(0.1)
    assert [round(one.time_s, 6) for one in plc.switches] == [0.040, 0.050]


def test_the_simulated_link() -> None:
    async def body() -> None:
        link = SimulatedActuator(SimulatedSettings(name="sim"), lambda time_s: 0)
        assert link.name == "sim"
        link.refuses = True
        with pytest.raises(LinkError, match="refuses"):
            await link.connect()
        link.refuses = False
        await link.connect()
        assert await link.beat(LineState("running")) == ()
        await link.send(counts(1, 0, 0, timing="host"))
        link.stalled = True
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.beat(LineState("running")), 0.02)
        link.stalled = False
        assert await link.known(["run1-1", "run1-2"]) == frozenset({"run1-1"})
        await link.make_safe("a test")
        assert link.plc.program.is_safe
        await link.close()

    run(body())


def test_kinds_are_read_by_their_name() -> None:
    settings = read_peer({"kind": "simulated", "name": "jets"})
    assert isinstance(settings, SimulatedSettings)
    with pytest.raises(ConfigError, match="needs an encoder"):
        open_actuator(settings)
    assert open_actuator(settings, lambda time_s: 0).name == "jets"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"kind": "modbs"}, "did you mean 'modbus'"),
        ({}, "unknown kind of link None"),
        (5, "expected a table"),
        ({"kind": "simulated", "nam": "x"}, "did you mean 'name'"),
        ({"kind": "simulated", "name": "a b"}, "name: expected letters, digits"),
        ({"kind": "simulated", "plc": {"scan_ms": 0}}, "plc.scan_ms"),
    ],
)
def test_a_wrong_table_says_what_was_expected(value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_peer(value)
