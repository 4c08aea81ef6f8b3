"""Modbus against a real server in a process of its own, which runs the program of a PLC."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.line.actuators.peers import (
    Plc,
    Wire,
    command,
    given_up,
    mute_server,
    plc,
    run,
    until,
)

from beltsight.errors import LinkError
from beltsight.line.actuators import Acknowledgement, LineState
from beltsight.line.actuators import modbus_map as layout
from beltsight.line.actuators.modbus import ModbusActuator, ModbusSettings

pytest.importorskip("pymodbus", reason="the extra 'industrial' is not installed")
RUNNING = LineState("running", raw_count=70_000)


@pytest.fixture(scope="module")
def shared() -> Iterator[Plc]:
    """A PLC that a test leaves as it found it; its books go on."""
    with plc() as made:
        yield made


def link(port: int, **changes: Any) -> ModbusActuator:
    settings = {"port": port, "actuators": {"air": 3}, **changes}
    return ModbusActuator(ModbusSettings.model_validate(settings))


def taken_ids(peer: Plc, since: int = 0) -> list[tuple[int, ...]]:
    return [tuple(slot[1:5]) for slot in peer.tell("taken", str(since))]


def changed(peer: Plc, register: int) -> Callable[[], bool]:
    """Whether the line has written a register since now."""
    before = peer.tell("registers")[register]
    return lambda: bool(peer.tell("registers")[register] != before)


def ids_of(*numbers: int) -> list[tuple[int, ...]]:
    return [tuple(layout.digest(f"run1-{number}")) for number in numbers]


def test_a_command_arrives_as_documented_and_its_outcome_comes_back(shared: Plc) -> None:
    async def body() -> tuple[Acknowledgement, ...]:
        actuator = link(shared.port)
        await actuator.connect()
        try:
            await actuator.send(command(1, timing="host"))
            return await actuator.beat(RUNNING)
        finally:
            await actuator.close()

    before = shared.tell("count")
    outcomes = run(body())
    [slot] = shared.tell("taken", str(before))
    # 705,032,705 = 10757 * 65536 + 61,953 and 705,033,105 = 10757 * 65536 + 62,353
    sha = struct.unpack(">4H", hashlib.sha256(b"run1-1").digest()[:8])
    assert slot[1:] == [*sha, 3, 0, 0b101, 10757, 61_953, 10757, 62_353, 200, 75, 1, 0]
    assert outcomes == (Acknowledgement("run1-1", "fired", 77),)


def test_a_beat_writes_the_lines_block(shared: Plc) -> None:
    async def body() -> list[int]:
        actuator = link(shared.port, watchdog_ms=150)
        await actuator.connect()
        await actuator.beat(RUNNING)
        first = shared.tell("registers")
        await actuator.beat(RUNNING)
        second = shared.tell("registers")
        assert layout.steps(first[80], second[80]) == 1
        assert second[2] == second[80]  # the PLC's echo
        await actuator.make_safe("a test")
        safe = shared.tell("registers")
        assert (safe[81], layout.steps(second[83], safe[83])) == (3, 1)
        await actuator.close()
        assert shared.tell("registers")[81] == 4  # stopped
        return list(second)

    registers = run(body())
    # state running, watchdog, safe count, counted, 70,000 = 1 * 65536 + 4464
    assert (registers[81:83], registers[84:87]) == ([1, 150], [1, 1, 4464])


def test_a_plc_with_its_words_the_other_way_round(shared: Plc) -> None:
    async def body() -> tuple[Acknowledgement, ...]:
        actuator = link(shared.port, word_order="low-first")
        await actuator.connect()
        try:
            await actuator.send(command(91))
            told = await actuator.beat(RUNNING)
            assert shared.tell("registers")[85:87] == [4464, 1]
            return told
        finally:
            await actuator.close()

    before = shared.tell("count")
    [told] = run(body())
    [slot] = shared.tell("taken", str(before))
    # 705,032,795 = 10757 * 65536 + 62,043 and 705,033,195 = 10757 * 65536 + 62,443
    assert slot[5:12] == [3, 0b101, 0, 62_043, 10757, 62_443, 10757]
    assert told.raw_count == 77 * 65536  # the PLC writes 0 and 77


def test_a_burst_is_taken_once_each(shared: Plc) -> None:
    async def body() -> None:
        actuator = link(shared.port)
        await actuator.connect()
        await asyncio.gather(*(actuator.send(command(number)) for number in range(2000, 3000)))
        await actuator.send(command(2500))  # known: nothing is written
        assert await actuator.known(["run1-2000", "run1-2999"]) == frozenset(
            {"run1-2000", "run1-2999"}
        )
        await actuator.close()

    before = shared.tell("count")
    run(body())
    assert taken_ids(shared, before) == ids_of(*range(2000, 3000))


@pytest.mark.parametrize(("order", "has"), [("cut-before", False), ("cut-after", True)])
def test_a_reset_amid_a_write_is_settled_by_the_next_connection(order: str, has: bool) -> None:
    async def body(peer: Plc) -> None:
        actuator = link(peer.port)
        await actuator.connect()
        await actuator.send(command(1))
        peer.tell(order)
        with pytest.raises(LinkError, match="the connection: the PLC has ended it; connect again"):
            await actuator.send(command(2))
        assert await actuator.known(["run1-2"]) is None
        with pytest.raises(LinkError, match="whether the PLC has command run1-2 is not known"):
            await actuator.send(command(2))
        await actuator.connect()
        assert await actuator.known(["run1-1", "run1-2"]) == frozenset(
            {"run1-1", *["run1-2"] * has}
        )
        await actuator.send(command(2))
        await actuator.send(command(3))
        await actuator.close()

    with plc() as peer:
        run(body(peer))
        assert taken_ids(peer) == ids_of(1, 2, 3)


def test_a_refused_write_is_told_and_the_connection_goes_on(shared: Plc) -> None:
    async def body() -> None:
        actuator = link(shared.port)
        await actuator.connect()
        shared.tell("refuse", "1")
        with pytest.raises(LinkError, match=r"writing 16 .*exception 6 \(device busy\)"):
            await actuator.send(command(31))
        assert await actuator.known(["run1-31"]) == frozenset()
        await actuator.send(command(31))
        await actuator.close()

    before = shared.tell("count")
    run(body())
    assert taken_ids(shared, before) == ids_of(31)


def test_a_program_that_stands_still_answers_no_beat_and_takes_nothing(shared: Plc) -> None:
    async def body() -> None:
        actuator = link(shared.port)
        await actuator.connect()
        shared.tell("freeze")
        await given_up(actuator.beat(RUNNING), changed(shared, 80))
        shared.tell("thaw")
        await actuator.connect()
        shared.tell("freeze")
        await given_up(actuator.send(command(41)), changed(shared, 88))
        await given_up(actuator.connect(), changed(shared, 80))
        shared.tell("thaw")
        await actuator.connect()
        # It was in the ring all the time: sent again, it would be there twice.
        assert await actuator.known(["run1-41"]) == frozenset({"run1-41"})
        await actuator.send(command(41))
        await actuator.close()

    before = shared.tell("count")
    run(body())
    assert taken_ids(shared, before) == ids_of(41)


def test_more_commands_than_slots_wait_for_the_plc(shared: Plc) -> None:
    async def body() -> None:
        actuator = link(shared.port)
        await actuator.connect()
        shared.tell("freeze")
        sends = [asyncio.create_task(actuator.send(command(n))) for n in range(50, 62)]
        await until(lambda: (state := shared.tell("registers"))[88] - state[3] == 8)
        assert not any(send.done() for send in sends)
        for send in sends[-2:]:  # two that did not fit into the 8 slots yet
            send.cancel()
        await asyncio.wait(sends[-2:])
        assert await actuator.known(["run1-60", "run1-61", "run1-50"]) == frozenset({"run1-50"})
        shared.tell("thaw")
        await asyncio.gather(*sends[:-2])
        await actuator.close()

    before = shared.tell("count")
    run(body())
    assert taken_ids(shared, before) == ids_of(*range(50, 60))


def test_a_restarted_plc_makes_all_commands_unknown_and_is_followed() -> None:
    async def body(peer: Plc) -> None:
        actuator = link(peer.port)
        await actuator.connect()
        for number in range(1, 4):
            await actuator.send(command(number))
        peer.tell("restart")
        with pytest.raises(LinkError, match="was it restarted"):
            await actuator.beat(RUNNING)
        await actuator.connect()
        assert await actuator.known(["run1-1"]) is None
        await actuator.send(command(4))
        await actuator.close()

    with plc() as peer:
        run(body(peer))
        assert taken_ids(peer) == ids_of(1, 2, 3, 4)


def test_a_number_that_the_plc_took_ahead_of_the_line_is_put_right() -> None:
    """Its program lost count while its registers stayed."""

    async def body(peer: Plc) -> None:
        actuator = link(peer.port)
        await actuator.connect()
        peer.tell("freeze")
        peer.tell("poke", "3", "500")
        with pytest.raises(
            LinkError, match=r"at command 0 or up to 8 before, got session [0-9]+ and command 500"
        ):
            await actuator.beat(RUNNING)
        await given_up(actuator.connect())
        peer.tell("thaw")
        await actuator.connect()
        await actuator.send(command(1))
        await actuator.close()

    with plc() as peer:
        run(body(peer))
        assert taken_ids(peer) == ids_of(1)


def test_a_held_up_peer_is_given_up_and_reached_again(shared: Plc) -> None:
    async def body() -> None:
        async with Wire(shared.port) as held, Wire(shared.port) as good:
            actuator = link(held.port)
            await actuator.connect()
            held.hold()
            beat = asyncio.create_task(actuator.beat(RUNNING))
            await given_up(actuator.send(command(71)))
            with pytest.raises(LinkError, match="the connection: the line has given it up"):
                await beat
            actuator._settings = actuator._settings.model_copy(update={"port": good.port})
            await actuator.connect()
            assert await actuator.known(["run1-71"]) == frozenset()
            await actuator.close()

    run(body())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("registers=40",), r"reading 9 registers from 80.*illegal data address: declare"),
        (("registers=100",), r"reading 40 registers from 0|writing .*illegal data address"),
        (("layout=7",), "expected layout 1 in register 0, got 7; check base, device_id"),
        (("slots=5",), "expected 4, 8 or 16 slots in register 1, got 5"),
    ],
)
def test_wrong_registers_are_named(options: tuple[str, ...], said: str) -> None:
    async def body(peer: Plc) -> None:
        actuator = link(peer.port)
        try:
            await actuator.connect()
            await actuator.send(command(1))
        except LinkError as error:
            assert re.search(said, str(error)), str(error)
        else:
            pytest.fail("it did not notice")
        finally:
            await actuator.close()

    with plc(*options) as peer:
        run(body(peer))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        # Transaction 1, protocol 0, 5 bytes, device 1, function 3, 2 bytes: one register for two.
        ("0001 0000 0005 01 03 02 0001", "reading 2 registers from 0: got 1"),
        ("0001 0000 0003 01 83 0b", r"exception 11 \(gateway target"),
    ],
)
def test_answers_that_do_not_fit_the_question(answer: str, said: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(bytes.fromhex(answer))
                connection.recv(64)

        thread = threading.Thread(target=serve)
        thread.start()
        actuator = link(server.getsockname()[1])
        try:
            with pytest.raises(LinkError, match=said):
                run(actuator.connect())
        finally:
            thread.join()


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def body(port: int) -> None:
        actuator = link(port)
        await given_up(actuator.connect())
        with pytest.raises(LinkError, match="not connected"):
            await actuator.send(command(1))
        await actuator.close()

    with mute_server() as port:
        run(body(port))


def test_nobody_there() -> None:
    with mute_server() as port:
        pass

    async def body() -> None:
        actuator = link(port)
        with pytest.raises(LinkError, match="nothing answers; is the PLC's Modbus server on"):
            await actuator.connect()
        await actuator.close()

    run(body())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"actuator": "flap"}, "'flap' has no number; add it to the link's table 'actuators'"),
        ({"lanes": (32,)}, r"lanes 0 to 31 over Modbus, got \[32\]"),
        ({"raw_fire_count": 1 << 32}, "expected a count of 32 bits, got 4294967296"),
        ({"pulse_ms": 7000.0}, "up to 6553.5, got 7000.0"),
    ],
)
def test_what_does_not_fit_is_refused_alone(
    changes: dict[str, Any], said: str, shared: Plc
) -> None:
    async def body() -> None:
        actuator = link(shared.port)
        await actuator.connect()
        with pytest.raises(LinkError, match=said):
            await actuator.send(command(81, **changes))
        await actuator.beat(RUNNING)
        await actuator.close()

    before = shared.tell("count")
    run(body())
    assert taken_ids(shared, before) == []
