"""What every actuator must keep; each takes the whole of it against its real peer on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.line.actuators.peers import broker, command, free_port, given_up, plc, until

from beltsight.errors import LinkError
from beltsight.line.actuators import (
    KINDS,
    Acknowledgement,
    Actuator,
    LineState,
    PeerSettings,
    open_actuator,
    read_peer,
)

PATIENCE_S = 30.0
RUNNING = LineState("running", raw_count=1000, items=3, commands=2, late=1)
LIBRARIES = {"opcua-server": "asyncua", "opcua-client": "asyncua", "modbus": "pymodbus",
             "mqtt": "aiomqtt", "mqtt-sparkplug": "aiomqtt"}  # fmt: skip
FORGETFUL = ("mqtt-sparkplug",)  # its peer in the tests does not remember ids, as a PLC has to


@dataclass(frozen=True)
class Bench:
    """An actuator, what its peer has done so far, and how to talk to it."""

    kind: str
    actuator: Actuator
    executed: Callable[[str], int]  # how often the peer carried a command out
    runner: asyncio.Runner

    def run(self, body: Any) -> Any:
        return self.runner.run(asyncio.wait_for(body, PATIENCE_S))


def made(table: dict[str, Any]) -> Actuator:
    return open_actuator(read_peer(table), lambda time_s: 0)


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from beltsight.line.actuators.simulated import SimulatedActuator

    # A machine that trains at the same time may stand for longer than the watchdog waits.
    actuator = made({"kind": "simulated", "plc": {"watchdog_ms": 60_000}})
    assert isinstance(actuator, SimulatedActuator)
    switches = actuator.plc.switches
    yield actuator, lambda name: sum(s.is_open and s.command_id == name for s in list(switches))


@asynccontextmanager
async def opcua_client(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from tests.line.actuators.opcua_peers import SLOTS, peer, url

    with peer("server") as one:
        values = {"url": url(one.port), "slots": SLOTS, "hello_ms": 30_000}
        actuator = made({"kind": "opcua-client", "plc_timeout_ms": 20_000, **values})
        yield actuator, lambda name: one.fired()[name]


@asynccontextmanager
async def opcua_server(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from tests.line.actuators.opcua_peers import SLOTS, peer

    port = free_port()
    with peer("client", port) as one:
        values = {"port": port, "slots": SLOTS, "hello_ms": 30_000, "plc_timeout_ms": 20_000}
        actuator = made({"kind": "opcua-server", **values})
        yield actuator, lambda name: one.fired()[name]


@asynccontextmanager
async def modbus(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from beltsight.line.actuators import modbus_map as layout

    with plc() as one:
        actuator = made({"kind": "modbus", "port": one.port, "actuators": {"air": 3}})

        def executed(name: str) -> int:
            digest = tuple(layout.digest(name))
            return sum(tuple(slot[1:5]) == digest for slot in one.tell("report")["taken"])

        yield actuator, executed


@asynccontextmanager
async def mqtt(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from tests.line.actuators.json_plc import JsonPlc

    with broker(folder) as one:
        async with JsonPlc(one.port) as peer:
            actuator = made({"kind": "mqtt", "broker": {"port": one.port}})
            yield actuator, lambda name: sum(c["id"] == name for c in peer.commands)


@asynccontextmanager
async def sparkplug(folder: Path) -> AsyncIterator[tuple[Actuator, Callable[[str], int]]]:
    from tests.line.actuators.sparkplug_host import Host

    with broker(folder) as one:
        async with Host(one.port) as peer:
            actuator = made({"kind": "mqtt-sparkplug", "broker": {"port": one.port}})
            yield actuator, peer.ids.count


Opening = Callable[[Path], AbstractAsyncContextManager[tuple[Actuator, Callable[[str], int]]]]
PEERS: dict[str, Opening] = {
    "simulated": simulated, "opcua-server": opcua_server, "opcua-client": opcua_client,
    "modbus": modbus, "mqtt": mqtt, "mqtt-sparkplug": sparkplug,
}  # fmt: skip


def test_every_kind_takes_the_contract() -> None:
    assert set(PEERS) == set(KINDS)


def nobody_there(kind: str) -> PeerSettings:
    port = free_port()
    own: dict[str, dict[str, Any]] = {
        "opcua-server": {"port": port, "slots": 2, "hello_ms": 50},
        "opcua-client": {"url": f"opc.tcp://127.0.0.1:{port}", "slots": 2},
        "modbus": {"port": port, "actuators": {"air": 1}},
        "simulated": {},
    }
    return read_peer({"kind": kind, "name": "lonely", **own.get(kind, {"broker": {"port": port}})})


@pytest.mark.parametrize("kind", PEERS)
def test_with_nobody_there_each_call_is_a_link_error_and_closing_is_quiet(kind: str) -> None:
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind], reason="the extra 'industrial' is not installed")

    async def body() -> None:
        actuator = open_actuator(nobody_there(kind), lambda time_s: 0)
        assert actuator.name == "lonely"
        for call in (
            actuator.beat(RUNNING),
            actuator.send(command(1)),
            actuator.known(["a"]),
            actuator.make_safe("x"),
        ):
            with pytest.raises(LinkError):
                await call
        if kind == "simulated":
            actuator.stalled = True  # type: ignore[attr-defined]
            await given_up(actuator.connect())
        else:
            with pytest.raises(LinkError) as caught:
                await actuator.connect()
            assert len(str(caught.value).splitlines()) == 1
        await actuator.close()
        await actuator.close()

    asyncio.run(asyncio.wait_for(body(), PATIENCE_S))


@pytest.fixture(scope="module", params=PEERS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: Any) -> Iterator[Bench]:
    """One peer and one actuator for all tests of a kind, connected."""
    kind = request.param
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind], reason="the extra 'industrial' is not installed")
    with asyncio.Runner() as runner:
        stack = PEERS[kind](tmp_path_factory.mktemp(kind))
        actuator, executed = runner.run(stack.__aenter__())
        try:
            runner.run(asyncio.wait_for(actuator.connect(), PATIENCE_S))
            yield Bench(kind, actuator, executed, runner)
        finally:
            runner.run(actuator.close())
            runner.run(stack.__aexit__(None, None, None))


def now(number: int, kind: str, **changes: Any) -> Any:
    """A command that a peer carries out as soon as it has it, in a lane that no other opens."""
    lanes = (number % 32,)
    return command(number, command_id=f"{kind}-{number}", timing="host", lanes=lanes, **changes)


async def answers(actuator: Actuator, *ids: str) -> dict[str, Acknowledgement]:
    """Beat until the peer has said what became of these commands."""
    found: dict[str, Acknowledgement] = {}
    while not set(ids) <= set(found):
        found |= {one.command_id: one for one in await actuator.beat(RUNNING)}
        await asyncio.sleep(0.005)
    return found


def test_it_is_an_actuator_of_its_name(bench: Bench) -> None:
    assert isinstance(bench.actuator, Actuator)
    assert bench.actuator.name == "plc"


def test_a_command_arrives_once_and_is_acknowledged(bench: Bench) -> None:
    async def body() -> None:
        one = now(1, bench.kind)
        await bench.actuator.beat(RUNNING)
        await bench.actuator.send(one)
        found = await answers(bench.actuator, one.command_id)
        assert found[one.command_id].outcome == "fired"
        await until(lambda: bench.executed(one.command_id))

    bench.run(body())
    assert bench.executed(f"{bench.kind}-1") == 1


def test_an_id_that_the_peer_has_is_not_carried_out_again(bench: Bench) -> None:
    if bench.kind in FORGETFUL:
        pytest.skip("the peer of this test does not remember ids")

    async def body() -> None:
        for _ in range(2):
            await bench.actuator.send(now(2, bench.kind))
        await bench.actuator.send(now(3, bench.kind))
        await answers(bench.actuator, f"{bench.kind}-3")
        await until(lambda: bench.executed(f"{bench.kind}-3"))

    bench.run(body())
    assert bench.executed(f"{bench.kind}-2") == 1


def test_sends_and_beats_may_be_under_way_together(bench: Bench) -> None:
    ids = [f"{bench.kind}-{number}" for number in range(10, 34)]

    async def body() -> None:
        beats = [bench.actuator.beat(RUNNING) for _ in range(4)]
        sends = [bench.actuator.send(now(number, bench.kind)) for number in range(10, 34)]
        told = await asyncio.gather(*sends, *beats)
        assert [one for one in told if one is not None and not isinstance(one, tuple)] == []
        await until(lambda: all(bench.executed(one) for one in ids))

    bench.run(body())
    assert [bench.executed(one) for one in ids] == [1] * len(ids)


def test_it_tells_truly_which_commands_the_peer_has_or_that_it_cannot(bench: Bench) -> None:
    async def body() -> frozenset[str] | None:
        await bench.actuator.send(now(40, bench.kind))
        return await bench.actuator.known([f"{bench.kind}-40", "never-sent"])

    assert bench.run(body()) in (None, frozenset({f"{bench.kind}-40"}))


def test_a_beat_takes_every_state(bench: Bench) -> None:
    async def body() -> None:
        for name in ("starting", "degraded", "stopped", "safe", "running"):
            state = LineState(name, "because – µ" * 50, raw_count=-5, items=2**40)
            assert isinstance(await bench.actuator.beat(state), tuple)
        assert isinstance(await bench.actuator.beat(LineState("running")), tuple)

    bench.run(body())


def test_after_the_safe_state_it_goes_on(bench: Bench) -> None:
    async def body() -> None:
        await bench.actuator.make_safe("somebody pressed the button – twice")
        await bench.actuator.beat(LineState("safe"))
        await bench.actuator.beat(RUNNING)
        if bench.kind.startswith("opcua"):
            await asyncio.sleep(0.1)  # a cycle of the PLC, which has to see the change
        await bench.actuator.send(now(50, bench.kind))
        await until(lambda: bench.executed(f"{bench.kind}-50"))

    bench.run(body())


def test_connecting_again_goes_on_where_it_was(bench: Bench) -> None:
    async def body() -> None:
        await bench.actuator.connect()
        await bench.actuator.beat(RUNNING)
        await bench.actuator.send(now(60, bench.kind))
        await until(lambda: bench.executed(f"{bench.kind}-60"))

    bench.run(body())
    assert bench.executed(f"{bench.kind}-1") == 1


@pytest.mark.parametrize("steps", [0, 1, 3, 10])
def test_it_may_be_cancelled_anywhere_and_connects_again(bench: Bench, steps: int) -> None:
    number = 70 + steps

    async def body() -> None:
        for call in (bench.actuator.beat(RUNNING), bench.actuator.send(now(number, bench.kind)),
                     bench.actuator.connect()):  # fmt: skip
            task = asyncio.ensure_future(call)
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await bench.actuator.connect()
        await bench.actuator.beat(RUNNING)
        await bench.actuator.send(now(number + 100, bench.kind))
        await until(lambda: bench.executed(f"{bench.kind}-{number + 100}"))

    bench.run(body())
    assert bench.executed(f"{bench.kind}-{number}") <= 1
