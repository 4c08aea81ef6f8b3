"""The links' thread over real peers: one fails, the line is safe, and comes back by itself."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.line.actuators.peers import PATIENCE_S, Broker, broker, command, plc, run, until

from beltsight.errors import MissingExtraError
from beltsight.line.actuators import Command, LineState, open_actuator, read_peer
from beltsight.line.actuators.link import Links
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkEvent, Reports

pytest.importorskip("aiomqtt", reason="the extra 'industrial' is not installed")
from tests.line.actuators.json_plc import JsonPlc

# Long enough for a busy machine: what is tested here is the order of things, not their speed.
SLOW = LinksSettings(timeout_ms=5000, connect_ms=1000, retry_first_ms=20, retry_most_ms=50)
QUICK = SLOW.model_copy(update={"timeout_ms": 300})


class Books:
    """What the links report."""

    def __init__(self) -> None:
        self.events: list[LinkEvent] = []
        self.outcomes: dict[str, str] = {}

    def reports(self) -> Reports:
        return Reports(event=self.events.append, outcome=self._settled)

    def _settled(self, one: Command, outcome: str, when_s: float) -> None:
        assert one.command_id not in self.outcomes
        self.outcomes[one.command_id] = outcome


@contextmanager
def links(table: dict[str, Any], times: LinksSettings = SLOW) -> Iterator[tuple[Links, Books]]:
    books = Books()
    made = Links([open_actuator(read_peer(table))], times, books.reports(), seed=1)
    with made:
        made.state_line(LineState("running"))
        yield made, books


@pytest.mark.parametrize(
    ("kind", "library"),
    [("mqtt", "aiomqtt"), ("mqtt-sparkplug", "aiomqtt"), ("modbus", "pymodbus.client")],
)
def test_a_missing_library_is_one_sentence(
    kind: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'beltsight\[industrial\]'"):
        open_actuator(read_peer({"kind": kind}))


def wait(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_broker_is_killed_and_comes_back(tmp_path: Path) -> None:
    async def body(made: Broker, line: Links, books: Books) -> list[str]:
        async with JsonPlc(made.port) as peer:
            await until(lambda: line.line_state().name == "running")
            for number in range(5):
                assert line.submit(command(number))
            await until(lambda: len(books.outcomes) == 5)
            peer.silent = True
            assert line.submit(command(5))
            await until(lambda: "run1-5" in peer.ids)
            made.kill()
            await until(lambda: line.line_state().name == "safe")
            assert books.events[-1].line == "safe"
        assert line.submit(command(6))  # it waits
        made.start()
        async with JsonPlc(made.port) as after:
            await until(lambda: len(books.outcomes) == 7)
            await until(lambda: line.line_state().name == "running")
            await asyncio.to_thread(line.close)  # while there is somebody to say good-bye to
            return [*peer.ids, *after.ids]

    with broker(tmp_path) as made, links({"kind": "mqtt", "broker": {"port": made.port}}) as two:
        line, books = two
        ids = run(body(made, line, books))
    assert ids == [f"run1-{number}" for number in range(7)]
    # The peer had number 5, and could not say so any more.
    assert books.outcomes == {f"run1-{n}": "unknown" if n == 5 else "sent" for n in range(7)}


@pytest.mark.parametrize("order", ["cut-before", "cut-after"])
def test_a_plc_resets_the_connection_and_gets_each_command_once(order: str) -> None:
    with plc() as peer:
        table = {"kind": "modbus", "port": peer.port, "actuators": {"air": 1}}
        with links(table) as (line, books):
            wait(lambda: line.line_state().name == "running")
            peer.tell(order)
            for number in range(20):
                assert line.submit(command(number))
            wait(lambda: len(books.outcomes) == 20)
        slots = peer.tell("taken", "0")
        assert peer.tell("registers")[81] in (3, 4)  # safe or stopped
    assert set(books.outcomes.values()) == {"sent"}
    assert len(slots) == 20
    assert len({tuple(slot[1:5]) for slot in slots}) == 20


def test_a_plc_whose_program_stops_makes_the_line_safe() -> None:
    with plc() as peer, links({"kind": "modbus", "port": peer.port}, QUICK) as (line, books):
        wait(lambda: line.line_state().name == "running")
        peer.tell("freeze")
        wait(lambda: line.line_state().name == "safe")
        assert any("was not answered within" in event.reason for event in books.events)
        peer.tell("thaw")
        wait(lambda: line.line_state().name == "running")
