"""Sparkplug B against a real mosquitto, read by a decoder of the wire that knows no descriptor."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.line.actuators.peers import Broker, Wire, broker, command, given_up, run, until

from beltsight.config import load_config
from beltsight.errors import ConfigError, LinkError
from beltsight.line.actuators import Acknowledgement, LineState
from beltsight.line.actuators.sparkplug import DEVICE, SparkplugActuator, SparkplugSettings
from beltsight.line.actuators.sparkplug_payload import (
    BOOLEAN,
    INT64,
    STRING,
    UINT64,
    Metric,
    Payload,
    decode,
    encode,
)

pytest.importorskip("aiomqtt", reason="the extra 'industrial' is not installed")
pytest.importorskip("google.protobuf", reason="the extra 'industrial' is not installed")
from tests.line.actuators.sparkplug_host import Host

RUNNING = LineState("running", "all well", raw_count=-5, items=3, commands=2, late=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with broker(tmp_path_factory.mktemp("broker")) as made:
        yield made


def link(port: int, clock_s: float = 1000.0) -> SparkplugActuator:
    settings = SparkplugSettings.model_validate({"broker": {"port": port}})
    return SparkplugActuator(settings, clock=lambda: clock_s)


def test_bytes_by_hand() -> None:
    data = bytes.fromhex(
        # Tag = number * 8 + wire type: 0 an integer, 2 bytes with their length before them.
        "08e807"  # 1: timestamp 1000
        "120e" "0a0161" "1007" "18e807" "200c" "7a02c3a9"  # 2: name a, alias 7, time, String, é
        "1212" "1008" "18e807" "2004" "58feffffffffffffffff01"  # alias 8, Int64, -2
        "1209" "1009" "18e807" "200b" "7001"  # alias 9, Boolean, true
        "1209" "100a" "18e807" "2008" "3801"  # alias 10, UInt64, null
        "18ff01"  # 3: seq 255
    )  # fmt: skip
    metrics = (
        Metric("é", STRING, "a", 7),
        Metric(-2, INT64, None, 8),
        Metric(True, BOOLEAN, None, 9),
        Metric(None, UINT64, None, 10),
    )
    payload = Payload(metrics, 1000, 255)
    assert encode(payload) == data
    assert decode(data) == payload


def test_what_others_write_is_read() -> None:
    int32 = bytes.fromhex("0a0161200350ffffffff0f")
    double = bytes.fromhex("0a0162200a69") + struct.pack("<d", 0.5)
    dataset = bytes.fromhex("0a016320108a01020801")  # field 17, which is not read
    data = b"".join(bytes([0x12, len(one)]) + one for one in (int32, double, dataset))
    assert decode(data) == Payload(
        (Metric(-1, 3, "a"), Metric(0.5, 10, "b"), Metric(None, 16, "c"))
    )
    assert decode(b"") == Payload(())


@pytest.mark.parametrize(
    "data", [b"\x12\xff", b"\x12\x03\x0a\x01\xff", b"hello there", b"\xff" * 9]
)
def test_what_is_no_payload(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected a Sparkplug B payload"):
        decode(data)


def test_births_say_everything_and_no_command(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.send(command(1))
            await actuator.close()
            await until(lambda: host.of("NDEATH"))
            assert [verb for verb, _, _ in host.seen] == [
                "NBIRTH", "DBIRTH", "DDATA", "DDATA", "NDEATH"
            ]  # fmt: skip
            head, node = host.of("NBIRTH")[0]
            bdseq = (1000 + 1) % 256
            assert head == {1: 1_000_000, 3: 0}
            assert [(one["name"], one["value"], one["alias"]) for one in node] == [
                ("bdSeq", bdseq, None), ("Node Control/Rebirth", False, None),
            ]  # fmt: skip
            head, device = host.of("DBIRTH")[0]
            assert head[3] == 1
            assert [(one["name"], one["type"]) for one in device] == list(DEVICE)
            assert sorted(one["alias"] for one in device) == list(range(1, len(DEVICE) + 1))
            values = {one["name"]: one for one in device}
            assert values["State"]["value"] == "starting"
            assert all(values[name]["null"] for name in values if name.startswith("Command/"))
            head, death = host.of("NDEATH")[0]
            assert 3 not in head
            assert [(one["name"], one["value"]) for one in death] == [("bdSeq", bdseq)]

    run(body())


def test_commands_and_beats_go_by_alias_in_one_message_each(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.send(command(1, raw_fire_count=-9))
            _, metrics = host.of("DDATA")[-1]
            assert all(one["name"] is None for one in metrics)
            values = {host.names[one["alias"]]: one["value"] for one in metrics}
            assert values == {
                "Command/Item": 1, "Command/Actuator": "air", "Command/Lanes": 0b101,
                "Command/Raw Fire Count": (1 << 64) - 9, "Command/Raw End Count": 705_033_105,
                "Command/Fire Count": 5_000_000_001, "Command/End Count": 5_000_000_401,
                "Command/Pulse us": 20_000, "Command/Latency us": 7_500,
                "Command/Timing": "plc", "Command/Id": "run1-1",
            }  # fmt: skip
            assert list(values)[-1] == "Command/Id"
            assert await actuator.beat(RUNNING) == (Acknowledgement("run1-1", "fired", -77),)
            _, metrics = host.of("DDATA")[-1]
            values = {host.names[one["alias"]]: one["value"] for one in metrics}
            assert values == {
                "Beat": 2, "State": "running", "State/Reason": "all well",
                "State/Raw Count": (1 << 64) - 5, "State/Items": 3, "State/Commands": 2,
                "State/Late": 1,
            }  # fmt: skip
            await actuator.make_safe("a test")
            await until(lambda: host.of("DDATA")[-1][1][0]["value"] == "safe")
            assert await actuator.known(["run1-1"]) == frozenset({"run1-1"})
            assert await actuator.known(["run1-2"]) is None
            await actuator.send(command(1))  # known: nothing is published
            await actuator.close()
            assert host.ids == ["run1-1"]

    run(body())


def test_the_upper_half_of_a_64_bit_counter_is_negative(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            raw = {"raw_fire_count": 2**64 - 9, "raw_end_count": 2**63}
            await actuator.send(command(1, **raw))
            await actuator.beat(replace(RUNNING, raw_count=2**64 - 5))
            await actuator.close()
            (_, sent), (_, beat) = host.of("DDATA")[-2:]
            values = {host.names[one["alias"]]: one["value"] for one in (*sent, *beat)}
            # As they travel: a signed number is the unsigned one with the same bits.
            assert values["Command/Raw Fire Count"] == 2**64 - 9
            assert values["Command/Raw End Count"] == 2**63
            assert values["State/Raw Count"] == 2**64 - 5

    run(body())


def test_a_burst_arrives_once_each_with_numbers_in_order(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            await asyncio.gather(*(actuator.send(command(n)) for n in range(1000)))
            await actuator.close()
            await until(lambda: host.of("NDEATH"))
            assert host.ids == [f"run1-{n}" for n in range(1000)]
            numbers = [head[3] for verb, head, _ in host.seen if verb != "NDEATH"]
            assert len(numbers) == 1003
            assert numbers == [n % 256 for n in range(1003)]

    run(body())


def test_a_rebirth_begins_anew_and_repeats_no_command(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            await actuator.send(command(1))
            await actuator.beat(RUNNING)
            ask = Metric(False, BOOLEAN, "Node Control/Rebirth")
            await host.write("NCMD", encode(Payload((ask,), 1000)))
            ask = Metric(True, BOOLEAN, "Node Control/Rebirth")
            await host.write("NCMD", encode(Payload((ask,), 1000)))
            await until(lambda: len(host.of("DBIRTH")) == 2)
            (first, born), (again, reborn) = host.of("NBIRTH")
            assert (first[3], again[3]) == (0, 0)
            assert born[0]["value"] == reborn[0]["value"]  # bdSeq: the same session
            head, device = host.of("DBIRTH")[-1]
            values = {one["name"]: one for one in device}
            assert head[3] == 1
            assert (values["State"]["value"], values["Beat"]["value"]) == ("running", 2)
            assert values["Command/Id"]["null"] and values["Command/Id"]["value"] is None
            await actuator.send(command(2))
            assert host.of("DDATA")[-1][0][3] == 2
            await actuator.close()
            assert host.ids == ["run1-1", "run1-2"]

    run(body())


def test_a_cut_connection_is_a_death_and_the_next_one_a_new_session(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host, Wire(shared.port) as wire:
            actuator = link(wire.port)
            await actuator.connect()
            host.silent = True
            sent = asyncio.create_task(actuator.send(command(1)))
            await until(lambda: len(host.of("DDATA")) == 2)
            wire.cut()
            with pytest.raises(LinkError, match="the connection to the broker broke"):
                await sent
            await until(lambda: host.of("NDEATH"))
            host.silent = False
            await actuator.connect()
            await actuator.beat(RUNNING)
            born = [metrics[0]["value"] for _, metrics in host.of("NBIRTH")]
            died = [metrics[0]["value"] for _, metrics in host.of("NDEATH")]
            assert (born, died) == ([233, 234], [233])
            commands = [m for _, m in host.of("DDATA") if len(m) == 11]
            assert len(commands) == 1
            await actuator.close()

    run(body())


def test_a_silent_host_is_given_up_and_the_link_stays_usable(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            host.silent = True
            await given_up(actuator.connect(), lambda: host.of("DDATA"))
            host.silent = False
            await actuator.connect()
            host.silent = True
            await given_up(actuator.send(command(1)), lambda: len(host.of("DDATA")) == 3)
            host.silent = False
            await actuator.send(command(2))
            await actuator.close()

    run(body())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xff\xff", "expected a Sparkplug B payload"),
        (encode(Payload((Metric("2", STRING, "Ack/Beat"),))), "expected beat 2 or before, got '2'"),
        (encode(Payload((Metric(9, UINT64, "Ack/Beat"),))), "expected beat 2 or before, got 9"),
        (encode(Payload((Metric(9, UINT64, "Ack/Id"),))), "expected a command's id, got 9"),
        (
            encode(Payload((Metric("x", STRING, "Ack/Outcome"), Metric("y", STRING, "Ack/Id")))),
            "expected one of fired, late, duplicate, refused, got 'x'",
        ),
    ],
)
def test_unreadable_answers_end_what_waits(data: bytes, said: str, shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port) as host:
            actuator = link(shared.port)
            await actuator.connect()
            host.silent = True
            beat = asyncio.create_task(actuator.beat(RUNNING))
            await until(lambda: len(host.of("DDATA")) == 2)
            await host.write("DCMD", data)
            with pytest.raises(LinkError, match=said):
                await beat
            await actuator.close()

    run(body())


def test_what_the_payload_does_not_hold(shared: Broker) -> None:
    async def body() -> None:
        async with Host(shared.port):
            actuator = link(shared.port)
            await actuator.connect()
            with pytest.raises(LinkError, match=r"lanes 0 to 63 over Sparkplug, got \[64\]"):
                await actuator.send(command(1, lanes=(64,)))
            with pytest.raises(LinkError, match="signed number of 64 bits"):
                await actuator.send(command(1, fire_count=1 << 63))
            await actuator.beat(RUNNING)
            await actuator.close()

    run(body())


def test_settings_name_what_is_wrong() -> None:
    with pytest.raises(ConfigError, match=r"node: .*pattern"):
        load_config(SparkplugSettings, base={"node": "a/b"})
