"""Modbus TCP: the line writes commands into a ring of registers that the PLC empties.

Nothing is left to the library's own retries and reconnection: a write that is sent twice is a valve
that opens twice.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import suppress
from secrets import randbelow
from typing import Literal, cast

from pydantic import Field

from beltsight.errors import LinkError
from beltsight.line.actuators import modbus_map as layout
from beltsight.line.actuators.modbus_client import RefusedError, Registers, check_library
from beltsight.line.actuators.protocol import (
    Acknowledged,
    Acknowledgement,
    Command,
    LineState,
    PeerSettings,
    greeting,
)

_MOST_KEPT = 10_000


class ModbusSettings(PeerSettings):
    """A link over Modbus TCP.

    Args:
        host: name or address of the PLC.
        port: 502 by custom.
        device_id: 1 unless the PLC stands behind a gateway.
        base: the first holding register of the map, counted from 0.
        actuators: the number that the PLC knows each actuator by.
        word_order: of values with 32 bits.
        watchdog_ms: told to the PLC: how long without a beat until it goes to its safe state.
        poll_ms: pause between two looks at the PLC's registers while waiting for it.
    """

    kind: Literal["modbus"] = "modbus"
    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(502, ge=1, le=65535)
    device_id: int = Field(1, ge=0, le=255)
    base: int = Field(0, ge=0, le=65536 - layout.map_size(max(layout.SLOTS)))
    actuators: dict[str, int] = Field(default_factory=dict)
    word_order: layout.WordOrder = "high-first"
    watchdog_ms: int = Field(150, ge=20, le=60_000)
    poll_ms: float = Field(2.0, gt=0, le=1000)


class _Waiting:
    """A command in the queue: the number it got in the ring, or why it got none."""

    def __init__(self, command: Command, actuator: int) -> None:
        self.command = command
        self.actuator = actuator
        self.number: int | None = None
        self.error: str | None = None


class ModbusActuator:
    """A PLC that serves the registers of ``docs/modbus.md``.

    Args:
        settings: where it is.

    Raises:
        MissingExtraError: pymodbus is not installed.
    """

    def __init__(self, settings: ModbusSettings) -> None:
        check_library()
        self._settings = settings
        self._place = f"modbus link {settings.name!r} ({settings.host}:{settings.port})"
        self._registers: Registers | None = None
        self._writing = asyncio.Lock()
        self._queue: list[_Waiting] = []
        self._state = LineState("starting")
        self._session = 1 + randbelow(0xFFFF)
        self._slots = 0
        self._beat = 0
        self._safe_count = 0
        self._written = 0
        self._plc = layout.PlcBlock(0, 0, 0, 0, ())
        self._looking: asyncio.Task[None] | None = None
        self._greeted = False
        self._outcomes_read = 0
        # What became of each command: its number where the PLC has it, None where it has not.
        # Those in doubt wait for the next connection, which reads how far the PLC has got.
        self._numbers: OrderedDict[str, int | None] = OrderedDict()
        self._doubtful: dict[str, int] = {}
        self._ids: OrderedDict[int, str] = OrderedDict()

    @property
    def name(self) -> str:
        """Name of the link, as commands carry it."""
        return self._settings.name

    async def connect(self) -> None:
        """Reach the PLC, check its map, and return when its program has answered a beat.

        Raises:
            LinkError: no answer, or not the registers of ``docs/modbus.md``.
        """
        self._drop()
        self._state = greeting(self._state)
        registers = Registers(
            self._place, self._settings.host, self._settings.port,
            self._settings.device_id, self._settings.base,
        )  # fmt: skip
        self._registers, self._looking, self._greeted = registers, None, False
        try:
            await registers.open()
            await self._greet()
        except BaseException:
            registers.drop()
            raise

    async def send(self, command: Command) -> None:
        """Put a command into the ring and wait until the PLC's program has taken it.

        Raises:
            LinkError: the PLC is gone or refuses, or the command does not fit the registers.
        """
        if command.command_id in self._doubtful:
            raise LinkError(
                f"{self._place}: whether the PLC has command {command.command_id} is not known; "
                "connect again first"
            )
        known = self._numbers.get(command.command_id)
        number = await self._put(command) if known is None else known
        await self._until(lambda plc: layout.reached(plc.taken, number))

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """Which of these commands are in the PLC's ring or were taken from it.

        None where one of them is older than this program's connections to the PLC, or where the
        PLC was restarted since.

        Raises:
            LinkError: not connected.
        """
        self._connected()
        if any(one not in self._numbers or one in self._doubtful for one in command_ids):
            return None
        return frozenset(one for one in command_ids if self._numbers[one] is not None)

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        """Write a rising number and the line's state, and wait until the PLC's program echoes it.

        Raises:
            LinkError: the PLC is gone or refuses, or wrote what it may not.
        """
        self._state = state
        await self._beat_once(state)
        new = self._plc.since(self._outcomes_read)
        self._outcomes_read = self._plc.outcomes
        return tuple(self._read_outcome(*one) for one in new if one[0] in self._ids)

    async def make_safe(self, reason: str) -> None:
        """Write the safe state; returns when the PLC has it in its registers.

        Raises:
            LinkError: the PLC is gone or refuses.
        """
        self._state = LineState("safe", reason)
        self._safe_count = layout.after(self._safe_count)
        await self._write_line(self._state)

    async def close(self) -> None:
        """Tell the PLC that the line has stopped and hang up; never raises."""
        try:
            if self._registers:
                with suppress(LinkError):
                    await self._write_line(LineState("stopped"))
        finally:
            self._drop()
            await asyncio.sleep(0)  # the loop closes the socket in its next turn

    async def _greet(self) -> None:
        """Read where the PLC stands, go on from there, and wait until its program has seen us."""
        head = await self._connected().read(layout.PLC_AT, 2)
        try:
            self._slots = layout.read_head(head)
        except ValueError as error:
            raise LinkError(
                f"{self._place}: {error}; check base, device_id and the PLC's program"
            ) from error
        line = await self._connected().read(layout.LINE_AT, layout.LINE_SIZE)
        same = line[7] == self._session
        self._safe_count, self._written = line[3], line[8]
        self._plc = await self._look()
        self._beat = self._plc.beat  # the next one differs from what the PLC echoes already
        if layout.steps(self._plc.taken, self._written) > self._slots:
            # The PLC counts anew: the ring is empty where it stands.
            same, self._written = False, self._plc.taken
            await self._connected().write(layout.WRITTEN_AT, [self._written])
        self._settle(same)
        await self._connected().write(layout.SESSION_AT, [self._session])
        await self._write_line(self._state)
        beat = self._beat
        await self._until(
            lambda plc: layout.reached(plc.beat, beat) and plc.session == self._session
        )
        self._greeted = True

    def _settle(self, same_session: bool) -> None:
        """What became of the commands in doubt, by the last number that the PLC was given.

        Where the PLC's memory is not the one that this program wrote into, nothing can be told of
        any command, and their numbers mean nothing any more.
        """
        doubtful, self._doubtful = self._doubtful, {}
        if not same_session:
            self._numbers = OrderedDict.fromkeys(k for k, n in self._numbers.items() if n is None)
            self._ids.clear()
            self._outcomes_read = self._plc.outcomes
            return
        for command_id, number in doubtful.items():
            has = layout.reached(self._written, number)
            self._remember(command_id, number if has else None)

    async def _put(self, command: Command) -> int:
        """Into the ring; whoever comes first writes for all that wait."""
        actuator = self._settings.actuators.get(command.actuator)
        if actuator is None:
            raise LinkError(
                f"{self._place}: actuator {command.actuator!r} has no number; add it to the "
                "link's table 'actuators'"
            )
        waiting = _Waiting(command, actuator)
        layout.write_slot(command, 0, actuator, self._settings.word_order)  # refuse it alone
        self._queue.append(waiting)
        try:
            async with self._writing:
                while waiting.number is None and waiting.error is None:
                    await self._write_batch()
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)
                self._remember(command.command_id, None)
        if waiting.number is None:
            raise LinkError(str(waiting.error))
        return waiting.number

    async def _write_batch(self) -> None:
        """Slots first, then the number that makes them valid."""
        if self._room() == 0:
            await self._until(lambda plc: layout.steps(plc.taken, self._written) < self._slots)
        registers = self._connected()
        if self._doubtful:
            # Their numbers may be taken: the next connection tells, and nothing is written before.
            raise LinkError(f"{self._place}: the connection has broken; connect again")
        first = layout.after(self._written)
        place = first % self._slots
        count = min(self._room(), layout.BATCH, self._slots - place)
        batch, self._queue[:count] = self._queue[:count], []
        numbers = [layout.after(first, step) for step in range(len(batch))]
        slots: list[int] = []
        for one, number in zip(batch, numbers, strict=True):
            slots += layout.write_slot(one.command, number, one.actuator, self._settings.word_order)
            self._doubtful[one.command.command_id] = number
        try:
            await registers.write(layout.RING_AT + place * layout.SLOT_SIZE, slots)
            await registers.write(layout.WRITTEN_AT, [numbers[-1]])
        except BaseException as error:
            refused = isinstance(error, RefusedError)
            for one in batch:
                one.error = str(error) or f"{self._place}: given up"
                if refused:
                    del self._doubtful[one.command.command_id]
                    self._remember(one.command.command_id, None)
            if not refused:
                registers.drop()
            raise
        for one, number in zip(batch, numbers, strict=True):
            del self._doubtful[one.command.command_id]
            self._remember(one.command.command_id, number)
            one.number = number
        self._written = numbers[-1]

    def _remember(self, command_id: str, number: int | None) -> None:
        self._numbers[command_id] = number
        if len(self._numbers) > _MOST_KEPT:
            self._numbers.popitem(last=False)
        if number is not None:
            self._ids.pop(number, None)
            self._ids[number] = command_id
            if len(self._ids) > _MOST_KEPT:
                self._ids.popitem(last=False)

    def _room(self) -> int:
        return self._slots - layout.steps(self._plc.taken, self._written)

    async def _until(self, done: Callable[[layout.PlcBlock], bool]) -> None:
        """All that wait share one look at the PLC, so that a burst does not flood it."""
        while not done(self._plc):
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_soon())
                self._looking.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.shield(self._looking)

    async def _look_soon(self) -> None:
        await asyncio.sleep(self._settings.poll_ms / 1000)
        await self._refresh()

    async def _look(self) -> layout.PlcBlock:
        registers = await self._connected().read(layout.PLC_AT, layout.plc_size(self._slots))
        return layout.read_plc(registers, self._settings.word_order)

    async def _refresh(self) -> None:
        registers, plc = self._connected(), await self._look()
        lost = layout.steps(plc.taken, self._written) > self._slots
        if self._greeted and (lost or plc.session != self._session):
            registers.drop()
            raise LinkError(
                f"{self._place}: expected the PLC to be in session {self._session} and at command "
                f"{self._written} or up to {self._slots} before, got session {plc.session} and "
                f"command {plc.taken}; was it restarted, or does something else write here?"
            )
        self._plc = plc

    async def _beat_once(self, state: LineState) -> None:
        await self._write_line(state)
        beat = self._beat
        await self._until(lambda plc: layout.reached(plc.beat, beat))

    async def _write_line(self, state: LineState) -> None:
        self._beat = layout.after(self._beat)
        settings = self._settings
        await self._connected().write(
            layout.LINE_AT,
            layout.write_line(
                state, self._beat, settings.watchdog_ms, self._safe_count, settings.word_order
            ),
        )

    def _read_outcome(self, number: int, code: int, raw_count: int) -> Acknowledgement:
        try:
            outcome = cast(Acknowledged, layout.outcome_name(code))
        except ValueError as error:
            raise LinkError(f"{self._place}: command {number}: {error}") from error
        return Acknowledgement(self._ids[number], outcome, raw_count)

    def _connected(self) -> Registers:
        if self._registers is None:
            raise LinkError(f"{self._place}: not connected; connect first")
        return self._registers

    def _drop(self) -> None:
        registers, self._registers = self._registers, None
        if registers:
            registers.drop()
