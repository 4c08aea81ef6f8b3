"""OPC UA both ways round, against a PLC in a process of its own that hangs, dies and comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.line.actuators.links_bench import Line, line, until
from tests.line.actuators.peers import Wire, command, free_port, given_up, mute_server, run

pytest.importorskip("asyncua", reason="the extra 'industrial' is not installed")
from tests.line.actuators.opcua_peers import (
    SLOTS,
    STEP,
    OpcUaPeer,
    make_certificate,
    peer,
    url,
)

from beltsight.errors import LinkError
from beltsight.line.actuators import LineState, opcua_client
from beltsight.line.actuators.opcua_client import OpcUaClient, OpcUaClientSettings
from beltsight.line.actuators.opcua_server import LocalNodes, OpcUaServer, OpcUaServerSettings

RUNNING = LineState("running")
SLOW = {"hello_ms": 20_000, "plc_timeout_ms": 10_000}  # a busy machine is slow


@pytest.fixture(scope="module")
def plc() -> Iterator[OpcUaPeer]:
    """A PLC with its own server, left running by every test; its ring goes on."""
    with peer("server") as made:
        yield made


def client(port: int, **changes: Any) -> OpcUaClient:
    values = {"url": url(port), "slots": SLOTS, **SLOW, **changes}
    return OpcUaClient(OpcUaClientSettings.model_validate(values))


def outcomes(made: Line) -> set[str]:
    return {outcome for [outcome] in made.outcomes.values()}


def test_commands_fire_on_the_plcs_own_counter(plc: OpcUaPeer) -> None:
    with line(client(plc.port)) as made:
        sent = [plc.ahead(n, "own", 1000 + 300 * n) for n in range(20)]
        assert all(made.links.submit(one) for one in sent)
        until(lambda: len(made.outcomes) == 20)
        assert outcomes(made) == {"sent"}
        assert made.answers == []
        plc.move(8000)
        until(lambda: len(made.answers) == 20)
        assert {answer.outcome for _, answer in made.answers} == {"fired"}
        until(lambda: sum(one.startswith("own") for one, _, _ in plc.opened) == 20)
    opened = {name: (lane, raw) for name, lane, raw in plc.opened}
    for one in sent:
        lane, raw = opened[one.command_id]
        # At the first look from there on; half a scan earlier at most.
        assert -STEP / 2 <= raw - one.raw_fire_count <= STEP
        assert (lane,) == one.lanes


def test_a_burst_of_1000_commands_goes_through_a_ring_of_8(plc: OpcUaPeer) -> None:
    with line(client(plc.port), timeout_ms=30_000) as made:
        until(made.is_up)
        began_s = time.perf_counter()
        for n in range(1000):
            assert made.links.submit(plc.ahead(n, "burst", 1_000_000))
        submitted_s = time.perf_counter() - began_s
        until(lambda: len(made.outcomes) == 1000)
        took_s = time.perf_counter() - began_s
        print(f"1,000 commands: submitted in {submitted_s * 1000:.0f} ms, at the PLC in "
              f"{took_s:.2f} s")  # fmt: skip
        assert outcomes(made) == {"sent"}
        assert [event.state for event in made.events] == ["up"]
        assert submitted_s < 0.5


def test_a_plc_that_takes_few_nodes_in_a_request_is_asked_in_parts(
    plc: OpcUaPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The latency is the slot's eighth field."""
    monkeypatch.setattr(opcua_client, "_MOST_IN_REQUEST", 7)

    async def body() -> None:
        link = client(plc.port)
        await link.connect()
        await link.send(plc.ahead(1, "parts", 1_000_000, latency_ms=12.5))
        assert await link.known(["parts-1", "parts-2"]) == frozenset({"parts-1"})
        found = await link._nodes.read(["Slots[1].Id", "Slots[1].LatencyMs"])
        assert found == {"Slots[1].Id": "parts-1", "Slots[1].LatencyMs": 12.5}
        await link.close()

    run(body())


def test_a_server_that_hangs_is_down_in_time_and_nothing_is_fired_twice(plc: OpcUaPeer) -> None:
    """50 ms to the next beat and 100 ms for its answer; then back without a restart."""
    strict = client(plc.port)
    with line(strict, beat_ms=50, timeout_ms=400) as made:
        plc.stop()
        began_s = time.monotonic()
        sent = [plc.ahead(n, "hung", 1000) for n in range(4)]
        for one in sent:
            made.links.submit(one)
        until(lambda: made.state() == "down")
        down_s = time.monotonic() - began_s
        print(f"down {down_s * 1000:.0f} ms after SIGSTOP, with a timeout of 400 ms")
        assert made.links.line_state().name == "safe"
        assert down_s < 5
        plc.go_on()
        until(lambda: len(made.outcomes) == 4)
        # The PLC's server keeps the ring: it tells which it has, the others are sent again.
        assert outcomes(made) == {"sent"}
        until(lambda: made.links.line_state().name == "running")
        until(lambda: made.links.status()["plc"].waiting == 0)
        made.links.submit(plc.ahead(99, "hung", 1000))
        until(lambda: made.outcomes.get("hung-99") == ["sent"])
        plc.move(3000)
        until(lambda: plc.fired()["hung-99"])
    assert set(plc.fired().values()) == {1}


def test_a_plc_that_was_killed_comes_back() -> None:
    """What it held is lost; what had not left is sent, and nothing is sent again."""
    port = free_port()
    with peer("server", port) as first, line(client(port)) as made:
        made.links.submit(first.ahead(1, "before", 1000))
        until(lambda: made.outcomes.get("before-1") == ["sent"])
        first.kill()
        until(lambda: made.state() == "down")
        made.links.submit(first.ahead(2, "after", 1000))
        with peer("server", port) as second:
            until(lambda: made.outcomes.get("after-2") == ["sent"])
            second.move(3000)
            until(lambda: second.fired()["after-2"])
            assert second.fired() == {"after-2": 1}


def test_a_wire_that_is_cut_and_one_that_is_held(plc: OpcUaPeer) -> None:
    async def body() -> None:
        async with Wire(plc.port) as wire:
            link = client(wire.port)
            await link.connect()
            await link.beat(RUNNING)
            wire.cut()
            with pytest.raises(LinkError, match="does not"):
                await link.beat(RUNNING)
            await link.connect()
            one = plc.ahead(1, "cut", 1_000_000)
            await link.send(one)
            wire.hold()
            await given_up(link.beat(RUNNING))
            await given_up(link.send(plc.ahead(2, "cut", 1_000_000)))
            await given_up(link.connect())
            await link.close()

    run(body())


def test_a_peer_that_answers_slowly_is_still_a_peer(plc: OpcUaPeer) -> None:
    class SlowWire(Wire):
        async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                await asyncio.sleep(0.02)
                writer.write(data)
            writer.transport.abort()

    async def body() -> None:
        async with SlowWire(plc.port) as wire:
            link = client(wire.port)
            await link.connect()
            began_s = time.monotonic()
            assert await link.beat(RUNNING) == ()
            assert time.monotonic() - began_s > 0.07  # two requests, there and back
            await link.send(plc.ahead(1, "slow", 1_000_000))
            assert await link.known(["slow-1", "slow-2"]) == frozenset({"slow-1"})
            await link.close()

    run(body())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"namespace": "urn:other"}, "expected the namespace 'urn:other', the server has http"),
        ({"node_id": "ns={namespace};s=Line.{name}"}, "Line.Host.Session is not there .BadNodeId"),
        ({"node_id": "no id {name}"}, "node ids of another form"),
        ({"nodes": {"Plc.Beat": "ns={namespace};s=Beltsight.Host.Reason"}},
         "Host.Reason is String, expected UInt32"),
        ({"nodes": {"Host.Beat": "ns={namespace};s=Beltsight.Plc.Beat"}},
         "Host.Beat was not written: BadUserAccessDenied"),
        ({"slots": 9}, "Slots\\[8\\].Id is not there .* .and 13 more"),
    ],
)  # fmt: skip
def test_a_space_that_differs_says_where(
    plc: OpcUaPeer, changes: dict[str, Any], said: str
) -> None:
    async def body() -> None:
        link = client(plc.port, **changes)
        try:
            with pytest.raises(LinkError, match=said):
                await link.connect()
                await link.beat(RUNNING)
        finally:
            await link.close()

    run(body())


def test_nobody_there_and_somebody_who_says_nothing() -> None:
    async def body() -> None:
        with pytest.raises(LinkError, match="cannot be reached"):
            await client(free_port()).connect()
        with mute_server() as port:
            link = client(port)
            await given_up(link.connect())
            await link.close()
        link = client(1)
        for call in (link.beat(RUNNING), link.send(command(1)), link.make_safe("x")):
            with pytest.raises(LinkError):
                await call
        await link.close()
        await link.close()

    run(body())


def test_a_slot_that_is_refused_in_part_is_not_taken(plc: OpcUaPeer) -> None:
    """One field lies where clients may not write; the server takes all the others."""
    elsewhere = {"Slots[1].FireCount": "ns={namespace};s=Beltsight.Acks[0].RawCount"}

    async def body() -> None:
        link = client(plc.port, nodes=elsewhere)
        await link.connect()
        with pytest.raises(LinkError, match=r"FireCount was not written: BadUserAccessDenied"):
            await link.send(plc.ahead(1, "half", 1000))
        await link.connect()
        assert await link.known(["half-1"]) == frozenset()
        found = await link._nodes.read(["Slots[1].Id", "Slots[1].Sequence", "Plc.Tail"])
        assert found == {"Slots[1].Id": "half-1", "Slots[1].Sequence": 0, "Plc.Tail": 0}
        await link.close()

    run(body())


def test_lanes_beyond_64_are_refused(plc: OpcUaPeer) -> None:
    async def body() -> None:
        link = client(plc.port)
        await link.connect()
        with pytest.raises(LinkError, match="lanes 0 to 63"):
            await link.send(command(1, lanes=(3, 64)))
        await link.close()

    run(body())


def test_a_plc_reads_this_sides_server_and_may_hang_and_die() -> None:
    """The other way round: the commands lie here, and the PLC fetches them."""
    port = free_port()
    settings = {"port": port, "slots": SLOTS, **SLOW, "plc_timeout_ms": 1000}
    link = OpcUaServer(OpcUaServerSettings.model_validate(settings))
    with line(link, up=False, timeout_ms=20_000, beat_ms=20) as made:
        with peer("client", port) as first:
            until(made.is_up)
            for n in range(40):
                made.links.submit(first.ahead(n, "fetched", 1000))
            until(lambda: len(made.outcomes) == 40)
            assert outcomes(made) == {"sent"}
            first.move(3000)
            until(lambda: len(made.answers) == 40)
            first.stop()
            until(lambda: made.state() == "down")
            assert "stands still" in made.links.status()["plc"].reason
            # Its program may read on: it finds the safe state, not that of the last beat.
            until(lambda: asyncio.run(link._nodes.read(["Host.State"])) == {"Host.State": 3})
            made.links.submit(first.ahead(41, "fetched", 1_000_000))
            first.go_on()
            until(lambda: made.outcomes.get("fetched-41") == ["sent"])
            assert set(first.fired().values()) == {1}
        until(lambda: made.state() == "down")
        made.links.submit(first.ahead(42, "fetched", 1000))
        with peer("client", port) as second:
            until(lambda: made.outcomes.get("fetched-42") == ["sent"])
            second.move(9000)
            until(lambda: second.fired()["fetched-42"])
            assert second.fired() == {"fetched-42": 1}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {name: make_certificate(folder, name) for name in ("plc", "line", "stranger")}


def secured(certificates: dict[str, tuple[str, str]], who: str, **changes: Any) -> dict[str, Any]:
    certificate, key = certificates[who]
    return {"security": "encrypt", "certificate": certificate, "private_key": key, "user": "line",
            "password": "a long word", **changes}  # fmt: skip


def test_certificates_and_passwords(certificates: dict[str, tuple[str, str]]) -> None:
    trusted = [certificates["line"][0]]
    pinned = {"peer_certificate": certificates["plc"][0]}

    async def connects(port: int, values: dict[str, Any]) -> None:
        link = client(port, **values)
        try:
            await link.connect()
            await link.beat(RUNNING)
        finally:
            await link.close()

    async def body(port: int) -> None:
        right = {**secured(certificates, "line"), **pinned}
        await connects(port, right)
        wrong: dict[str, dict[str, Any]] = {
            "another certificate": {**secured(certificates, "stranger"), **pinned},
            "another password": {**right, "password": "a short word"},
            "anonymous": {**right, "user": None, "password": None},
            "unencrypted": {"user": "line", "password": "a long word"},
            "another PLC": {**right, "peer_certificate": certificates["stranger"][0]},
            "only signed": {**right, "security": "sign"},
        }
        for name, values in wrong.items():
            try:
                await asyncio.wait_for(connects(port, values), 10)
            except LinkError:
                continue
            pytest.fail(f"{name}: it was let in")

    with peer("server", **secured(certificates, "plc", trusted=trusted)) as plc:
        asyncio.run(asyncio.wait_for(body(plc.port), 120))  # it waits for several refusals


def test_a_server_that_is_ready_between_two_attempts_is_not_built_again() -> None:
    async def body() -> None:
        port = free_port()
        nodes = LocalNodes(OpcUaServerSettings(port=port, slots=2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(nodes.open(), 0.01)  # the building goes on
        for _ in range(1000):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        await nodes.open()
        await nodes.close()

    asyncio.run(asyncio.wait_for(body(), 60))


def test_a_port_that_is_taken_and_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    async def body() -> None:
        with mute_server() as port:
            link = OpcUaServer(OpcUaServerSettings(port=port, slots=2))
            with pytest.raises(LinkError, match=r"cannot listen.*in use"):
                await link.connect()
            await link.close()
        values = {
            "port": free_port(),
            "security": "encrypt",
            "slots": 2,
            "certificate": str(tmp_path / "no.pem"),
            "private_key": str(tmp_path / "no.key"),
        }
        link = OpcUaServer(OpcUaServerSettings.model_validate(values))
        with pytest.raises(LinkError, match=r"cannot listen.*no\.pem"):
            await link.connect()
        await link.close()

    run(body())
