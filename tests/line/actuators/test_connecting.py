"""A link that is made anew tells its peer nothing by which it may fire: the line may be safe."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.line.actuators.peers import broker, given_up, plc, run

from beltsight.line.actuators import LineState, open_actuator, read_peer

RUNNING = LineState("running", "all well", raw_count=70_000, items=3)
CONNECTING = "the link is being made"
MISSING = "the extra 'industrial' is not installed"


def test_over_mqtt_the_retained_state_and_the_beat_are_safe(tmp_path: Path) -> None:
    pytest.importorskip("aiomqtt", reason=MISSING)
    from tests.line.actuators.json_plc import JsonPlc

    async def body(port: int) -> None:
        async with JsonPlc(port) as peer:
            actuator = open_actuator(read_peer({"kind": "mqtt", "broker": {"port": port}}))
            await actuator.connect()
            await actuator.beat(RUNNING)
            peer.silent, before = True, len(peer.beats)
            await given_up(actuator.connect(), lambda: len(peer.beats) == before + 1)
            await given_up(actuator.connect(), lambda: len(peer.beats) == before + 2)
            assert [beat["state"] for beat in peer.beats[before:]] == ["safe", "safe"]
            state = {"schema": 1, "state": "safe", "reason": CONNECTING}
            assert peer.states[-1] == (state, False)
            peer.silent = False
            await actuator.connect()
            await actuator.beat(RUNNING)
            assert peer.states[-1][0]["state"] == "running"
            await actuator.close()

    with broker(tmp_path) as made:
        run(body(made.port))


def test_over_sparkplug_the_birth_and_the_beat_are_safe(tmp_path: Path) -> None:
    pytest.importorskip("aiomqtt", reason=MISSING)
    pytest.importorskip("google.protobuf", reason=MISSING)
    from tests.line.actuators.sparkplug_host import Host

    async def body(port: int) -> None:
        async with Host(port) as host:
            settings = {"kind": "mqtt-sparkplug", "broker": {"port": port}}
            actuator = open_actuator(read_peer(settings))
            await actuator.connect()
            await actuator.beat(RUNNING)
            host.silent = True
            await given_up(actuator.connect(), lambda: len(host.of("DDATA")) == 3)
            born = {one["name"]: one["value"] for one in host.of("DBIRTH")[-1][1]}
            assert (born["State"], born["State/Reason"]) == ("safe", CONNECTING)
            beat = {host.names[one["alias"]]: one["value"] for one in host.of("DDATA")[-1][1]}
            assert beat["State"] == "safe"
            await actuator.close()

    with broker(tmp_path) as made:
        run(body(made.port))


def test_over_modbus_the_state_is_safe() -> None:
    pytest.importorskip("pymodbus", reason=MISSING)

    async def body(port: int) -> None:
        actuator = open_actuator(read_peer({"kind": "modbus", "port": port}))
        await actuator.connect()
        await actuator.beat(RUNNING)
        assert peer.tell("registers")[81] == 1
        peer.tell("freeze")
        beat = peer.tell("registers")[80]
        await given_up(actuator.connect(), lambda: peer.tell("registers")[80] != beat)
        assert peer.tell("registers")[81] == 3
        peer.tell("thaw")
        await actuator.connect()
        assert peer.tell("registers")[81] == 3
        await actuator.beat(RUNNING)
        assert peer.tell("registers")[81] == 1
        await actuator.close()

    with plc() as peer:
        run(body(peer.port))
