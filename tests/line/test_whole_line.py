"""Faults in a whole line at work, with the real peers: nothing is lost, nothing is told twice.

Times are of a quiet machine; a busy one is slow, so only their order is asserted.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.line.actuators.peers import PATIENCE_S, Plc, broker, free_port, plc
from tests.line.whole import (
    Log,
    WholeLine,
    draw_belt,
    read_log,
    settings_in,
    wait,
    whole_line,
)

from beltsight.line.settings import DEFAULT_LINE, load_line
from beltsight.line.simulate import Fault, SimulatedBelt

pytest.importorskip("asyncua", reason="the extra 'industrial' is not installed")
from tests.line.actuators.json_plc import JsonPlc
from tests.line.actuators.opcua_peers import SLOTS, peer, url
from tests.line.whole_line_process import ACTUATORS

SIMULATED = {"kind": "simulated"}
Result = TypeVar("Result")


@pytest.fixture(scope="module")
def belt(tmp_path_factory: pytest.TempPathFactory) -> SimulatedBelt:
    return draw_belt(tmp_path_factory.mktemp("belt"))


def check_log(line: WholeLine, log: Log) -> None:
    """Each item that was decided stands in the log, once, and the chain holds."""
    assert log.chain.ok
    assert sorted(row.item_id for row in log.decisions) == sorted(
        one.item.place.item_id for one in line.decided
    )
    assert len({row.item_id for row in log.decisions}) == len(log.decisions)


def safe_after(line: WholeLine, what: str) -> None:
    """The line follows into its safe state; says how long that took."""
    took_s = wait(lambda: line.now.state.name == "safe")
    print(f"{what}: safe after {took_s * 1000:.0f} ms")
    assert took_s < 5


class JsonPlcThread:
    """The peer behind the broker, beside a test that waits."""

    def __init__(self, port: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.plc = JsonPlc(port)
        self.do(self.plc.__aenter__())

    def do(self, what: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(PATIENCE_S)

    def close(self) -> None:
        self.do(self.plc.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


@contextmanager
def json_plc(port: int) -> Iterator[JsonPlc]:
    made = JsonPlcThread(port)
    try:
        yield made.plc
    finally:
        made.close()


def test_the_broker_is_killed_and_comes_back(belt: SimulatedBelt, tmp_path: Path) -> None:
    with broker(tmp_path) as made:
        settings = settings_in(tmp_path, {"kind": "mqtt", "broker": {"port": made.port}})
        with whole_line(settings, belt) as line:
            with json_plc(made.port) as first:
                wait(lambda: line.is_running() and first.commands)
                made.kill()
                safe_after(line, "broker killed")
                line.wait_more(3)  # what it sees is decided and kept, and not commanded
            made.start()
            with json_plc(made.port) as second:
                wait(lambda: second.commands)
                line.close()
    ids = [*first.ids, *second.ids]
    items = [record["item"] for record in (*first.commands, *second.commands)]
    assert len(set(ids)) == len(ids) and len(set(items)) == len(items)
    log = read_log(tmp_path)
    check_log(line, log)
    assert set(ids) <= set(log.command_ids)
    assert log.events.count("link-down") >= 1
    assert line.longest_step_s < 3


def test_the_plcs_server_hangs_and_goes_on(belt: SimulatedBelt, tmp_path: Path) -> None:
    with peer("server", free_port(), step=1000) as made:
        table = {"kind": "opcua-client", "url": url(made.port), "slots": SLOTS,
                 "hello_ms": 20_000, "plc_timeout_ms": 10_000}  # fmt: skip
        slow = {"link_times.timeout_ms": 1000, "link_times.connect_ms": 20_000}
        with whole_line(settings_in(tmp_path, table, **slow), belt) as line:
            wait(lambda: line.is_running() and line.now.links["plc"].outcomes["sent"])
            made.stop()
            safe_after(line, "OPC UA server hung")
            line.wait_more(3)
            made.go_on()
            sent = line.now.links["plc"].outcomes["sent"]
            wait(lambda: line.now.links["plc"].outcomes["sent"] > sent)
            wait(line.is_running)

            def fires() -> bool:
                """The PLC's belt follows the line's; what a safe state drops is made up for."""
                commands = [one for done in list(line.decided) for one in done.planned.commands]
                last = max(one.raw_end_count for one in commands)
                if last > made.at:
                    made.move(last - made.at)
                return bool(made.opened)

            wait(fires)
        log = read_log(tmp_path)
        opened = Counter((name, lane) for name, lane, _ in made.opened)
        assert set(opened.values()) == {1}
        assert {name for name, _ in opened} <= set(log.command_ids)
    check_log(line, log)
    assert line.longest_step_s < 3


def taken(made: Plc) -> list[list[int]]:
    slots: list[list[int]] = made.tell("taken", "0")
    return slots


def test_the_modbus_peer_resets_connections(belt: SimulatedBelt, tmp_path: Path) -> None:
    with plc() as made:
        table = {"kind": "modbus", "port": made.port, "actuators": ACTUATORS}
        with whole_line(settings_in(tmp_path, table), belt) as line:
            for order in ("cut-before", "cut-after"):
                wait(line.is_running)
                # The connection breaks once, at the next command, which may come at once.
                downs = line.now.links["plc"].downs
                made.tell(order)
                count = made.tell("count")
                wait(lambda: line.now.links["plc"].downs > downs)  # noqa: B023
                wait(lambda: made.tell("count") > count + 1)  # noqa: B023
        slots = taken(made)
    assert len({tuple(slot[1:5]) for slot in slots}) == len(slots)
    check_log(line, read_log(tmp_path))


def test_a_peer_that_dies_makes_the_line_safe_and_keeps_it_so(
    belt: SimulatedBelt, tmp_path: Path
) -> None:
    with plc() as made:
        table = {"kind": "modbus", "port": made.port, "actuators": ACTUATORS}
        with whole_line(settings_in(tmp_path, table), belt) as line:
            wait(line.is_running)
            made.kill()
            safe_after(line, "Modbus PLC died")
            line.wait_more(3)
            assert line.now.state.name == "safe"
    check_log(line, read_log(tmp_path))


def test_the_camera_stalls_and_gives_what_cannot_be_decoded(
    belt: SimulatedBelt, tmp_path: Path
) -> None:
    faults = (
        Fault("stall", 2.0, 2.8),
        Fault("corrupt", 3.2, 3.6, 0.5),
        Fault("lose", 4.0, 4.4, 0.5),
    )
    with whole_line(settings_in(tmp_path, SIMULATED), belt, faults=faults) as line:
        wait(lambda: "gives no frames" in line.now.state.reason)
        assert line.now.state.name == "degraded"
        # What is on its way is decided in time without further frames.
        wait(lambda: not len(line.opened.book))
        assert "gives no frames" in line.now.state.reason
        wait(lambda: line.simulation.clock() > 4.6)
        line.wait_more(3)
        counts = line.now.camera
        assert counts.corrupt > 0 and counts.lost > 0
        wait(lambda: "gives no frames" not in line.now.state.reason)
    log = read_log(tmp_path)
    check_log(line, log)
    assert [event for event in log.events if event.startswith("health-")]


def test_a_counter_that_was_set_anew_stops_all_commands_until_somebody_looks(
    belt: SimulatedBelt, tmp_path: Path
) -> None:
    with whole_line(settings_in(tmp_path, SIMULATED), belt) as line:
        wait(line.is_running)
        line.opened.odometer.resets += 1
        wait(lambda: line.now.state.name == "safe")
        assert "was set anew" in line.now.state.reason
        line.opened.reset()
        wait(line.is_running)
    assert "state-safe" in read_log(tmp_path).events


def test_the_log_is_locked_and_nothing_is_commanded_before_it_is_kept(
    belt: SimulatedBelt, tmp_path: Path
) -> None:
    with whole_line(settings_in(tmp_path, SIMULATED), belt) as line:
        wait(lambda: line.now.links["plc"].outcomes["sent"])
        other = sqlite3.connect(tmp_path / "line.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            time.sleep(0.3)  # what had been kept by then has left
            sent = sum(line.now.links["plc"].outcomes.values())
            line.wait_more(8)
            assert sum(line.now.links["plc"].outcomes.values()) == sent
            wait(lambda: not line.now.store.healthy)
            wait(lambda: line.now.state.reason == "the log takes no rows")
        finally:
            other.execute("ROLLBACK")
            other.close()
        wait(lambda: line.now.store.healthy)
        line.wait_more(3)
        assert line.now.unlogged == 0
    check_log(line, read_log(tmp_path))
    assert line.longest_step_s < 3


def test_the_disk_is_full_and_has_room_again(belt: SimulatedBelt, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with whole_line(settings_in(tmp_path, SIMULATED), belt) as line:
        try:
            # The file that is written now may not grow: what a full disk does to SQLite.
            size = (tmp_path / "line.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            wait(lambda: not line.now.store.healthy)
            line.wait_more(3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        wait(lambda: line.now.store.healthy)
        line.wait_more(3)
        assert line.now.unlogged == 0
    check_log(line, read_log(tmp_path))


def test_the_clock_is_set_by_an_hour_and_back(belt: SimulatedBelt, tmp_path: Path) -> None:
    step_s = [0.0]
    settings = settings_in(tmp_path, SIMULATED)
    with whole_line(settings, belt, wall=lambda: time.time() + step_s[0]) as line:
        for stepped_s in (3600.0, -3600.0):
            step_s[0] = stepped_s
            sent = line.now.links["plc"].outcomes["sent"]
            line.wait_more(4)
            wait(lambda: line.now.links["plc"].outcomes["sent"] > sent)  # noqa: B023
            assert line.is_running()
    log = read_log(tmp_path)
    check_log(line, log)
    walls = [row.wall_s for row in log.decisions]
    assert max(walls) - min(walls) > 7000
    monotonic = [row.monotonic_s for row in log.decisions]
    assert monotonic == sorted(monotonic)


@contextmanager
def line_process(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    root = Path(__file__).resolve().parents[2]
    program = Path(__file__).with_name("whole_line_process.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder), str(port)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    try:
        assert process.stdout and process.stdout.readline() == "works\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def reach() -> float:
    """Twice the way to the farthest actuator and a metre beyond, in counts."""
    line = load_line(DEFAULT_LINE)
    farthest_mm = max(one.distance_mm for one in line.schedule.actuators)
    return 2 * (farthest_mm + 1000) / line.belt.mm_per_count


def place_of(slot: list[int]) -> tuple[int, int, int]:
    """Actuator, lanes as bits, and count, by docs/modbus.md."""
    return slot[5], slot[6] << 16 | slot[7], slot[8] << 16 | slot[9]


def test_the_line_is_killed_under_load_and_started_again(tmp_path: Path) -> None:
    """The belt is run back, so the same items are seen once more, some within the line's reach."""
    with plc() as made:
        with line_process(tmp_path, made.port):
            wait(lambda: made.tell("count") >= 5)
        first = taken(made)
        log = read_log(tmp_path)
        assert log.chain.ok and len(log.decisions) >= 3
        with line_process(tmp_path, made.port) as again:
            wait(lambda: made.tell("count") >= len(first) + 3)
            again.communicate("\n", timeout=PATIENCE_S)
        second = taken(made)[len(first) :]
    after = read_log(tmp_path)
    assert after.chain.ok and after.rows[: len(log.rows)] == log.rows
    assert len({tuple(slot[1:5]) for slot in (*first, *second)}) == len(first) + len(second)
    assert "commands-remembered" in after.events
    # Both runs begin near count 0. What a slow machine commanded farther on is of another time.
    farthest = reach()
    places = [at for at in map(place_of, first) if at[2] < farthest]
    assert places
    for slot in second:
        actuator, lanes, count = place_of(slot)
        near = [at for at in places if at[0] == actuator and at[1] & lanes]
        assert all(abs(at[2] - count) > 100 for at in near), "an item was actuated by both runs"
