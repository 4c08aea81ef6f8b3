"""Real peers for the tests of links: a broker, a Modbus PLC in a process, and a wire to be cut."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytest

from beltsight.line.actuators import Command

PATIENCE_S = 30.0  # no test waits for it to pass: a busy machine is slow
Result = TypeVar("Result")


def run(test: Coroutine[Any, Any, Result]) -> Result:
    """Run the body of a test; one that hangs fails."""
    return asyncio.run(asyncio.wait_for(test, PATIENCE_S))


async def until(true: Callable[[], object]) -> None:
    """Wait for a condition; the whole test has a limit."""
    while not true():
        await asyncio.sleep(0.002)


async def given_up(
    call: Coroutine[Any, Any, object], when: Callable[[], object] | None = None
) -> None:
    """Cancel a call, as the links do when the peer is late; it must not have ended by itself.

    Where no condition tells when, a moment after its start.
    """
    task = asyncio.create_task(call)
    if when is None:
        await asyncio.sleep(0.1)
    else:
        await until(lambda: when() or task.done())
    assert not task.done(), task
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled(), task


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def command(number: int, **changes: Any) -> Command:
    """One that differs from every other in each field where the peer could mix them up."""
    values: dict[str, Any] = {
        "command_id": f"run1-{number}", "item_id": number, "link": "plc", "actuator": "air",
        "lanes": (0, 2), "fire_count": 5_000_000_000 + number, "end_count": 5_000_000_400 + number,
        "raw_fire_count": 705_032_704 + number, "raw_end_count": 705_033_104 + number,
        "belt_position_mm": 81.5, "issued_s": 12.0, "pulse_ms": 20.0, "latency_ms": 7.5,
    }  # fmt: skip
    return Command(**{**values, **changes})


class Broker:
    """A mosquitto of its own; it can be killed and started again on the same port."""

    def __init__(self, folder: Path, lines: tuple[str, ...] = ("allow_anonymous true",)) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            pytest.skip("mosquitto is not installed (Debian: apt-get install mosquitto)")
        self.port = free_port()
        self._config = folder / f"mosquitto-{self.port}.conf"
        head = ("user root", "persistence false", f"listener {self.port} 127.0.0.1")
        self._config.write_text("\n".join((*head, *lines)) + "\n", encoding="utf-8")
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for_port(self.port, self._process)

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def broker(folder: Path, *lines: str) -> Iterator[Broker]:
    made = Broker(folder, lines) if lines else Broker(folder)
    made.start()
    try:
        yield made
    finally:
        made.kill()


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None:
            said = process.stderr.read().decode() if process.stderr else ""
            raise AssertionError(f"{process.args!r} ended with {process.returncode}: {said}")
        time.sleep(0.005)
    raise AssertionError(f"nothing listens on port {port}")


class Wire:
    """A TCP connection between a link and its peer, to be cut or held up."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._pumps: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        await asyncio.sleep(0)

    def cut(self) -> None:
        """Reset what is open; new connections pass."""
        for pair in self._pairs:
            for writer in pair:
                writer.transport.abort()
        self._pairs.clear()

    def hold(self) -> None:
        """Let nothing pass, and close nothing."""
        self._flows.clear()

    async def _join(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, forth = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            back.transport.abort()
            return
        self._pairs.append((back, forth))
        for reader, writer in ((near, forth), (far, back)):
            pump = asyncio.create_task(self._pump(reader, writer))
            self._pumps.add(pump)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


@contextmanager
def mute_server() -> Iterator[int]:
    """A server that accepts and says nothing."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield int(sock.getsockname()[1])


class Plc:
    """``modbus_plc.py`` in a process; it is told what to do, and tells what it took."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        program = Path(__file__).with_name("modbus_plc.py")
        self._process = subprocess.Popen(
            [sys.executable, str(program), str(self.port), *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        wait_for_port(self.port, self._process)

    def tell(self, *words: str) -> Any:
        """Give an order; returns what it answers."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(" ".join(words).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def plc(*options: str) -> Iterator[Plc]:
    made = Plc(*options)
    try:
        yield made
    finally:
        made.kill()
