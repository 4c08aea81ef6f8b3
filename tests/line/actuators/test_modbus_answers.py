"""A PLC over Modbus whose answers are slow, or say less than they seem to."""

from __future__ import annotations

import time

import pytest
from tests.line.actuators.peers import command, plc, run

from beltsight.errors import LinkError
from beltsight.line.actuators import LineState, open_actuator, read_peer
from beltsight.line.actuators.link import Links
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkEvent, Reports
from beltsight.line.actuators.protocol import LINE_STATES

pytest.importorskip("pymodbus", reason="the extra 'industrial' is not installed")

TABLE = {"kind": "modbus", "name": "plc", "actuators": {"air": 1}}
STATE = 81


def test_a_slow_plc_is_told_that_the_line_has_stopped() -> None:
    times = LinksSettings(timeout_ms=1000, connect_ms=2000, beat_ms=20)
    with plc() as peer:
        for _ in range(5):
            events: list[LinkEvent] = []
            actuator = open_actuator(read_peer({**TABLE, "port": peer.port}))
            made = Links([actuator], times, Reports(event=events.append))
            with made:
                made.state_line(LineState("running"))
                while made.status()["plc"].beats < 3:
                    time.sleep(0.001)
                peer.tell("slow", "5")
            assert events[-1].reason == "closed"
            assert LINE_STATES[peer.tell("registers")[STATE]] == "stopped"
            peer.tell("slow", "0")


def test_a_gateway_that_got_no_answer_does_not_say_that_nothing_was_done() -> None:
    with plc() as peer:

        async def body() -> None:
            actuator = open_actuator(read_peer({**TABLE, "port": peer.port}))
            await actuator.connect()
            peer.tell("lose")
            with pytest.raises(LinkError, match=r"exception 11 .*; connect again"):
                await actuator.send(command(32))
            await actuator.connect()
            assert await actuator.known(["run1-32"]) == frozenset({"run1-32"})
            await actuator.send(command(32))
            await actuator.close()

        run(body())
        assert peer.tell("count") == 1


@pytest.mark.parametrize("kind", ["modbus", "mqtt"])
def test_what_is_no_name_of_a_host_is_told(kind: str) -> None:
    host = {"host": "plc..local"}
    table = {"kind": kind, "name": "plc"} | ({"broker": host} if kind == "mqtt" else host)
    with pytest.raises(LinkError, match=r"are host and port\s*right"):
        run(open_actuator(read_peer(table)).connect())
