"""Commands through a ring of slots and beats both ways, over whatever reads and writes nodes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from beltsight.errors import LinkError
from beltsight.line.actuators.opcua_space import (
    ACK,
    OpcUaSettings,
    acknowledgement,
    host_values,
    slot_values,
)
from beltsight.line.actuators.protocol import CONNECTING, Acknowledgement, Command, LineState

_POLL_S = 0.005


class Nodes(Protocol):
    """Reads and writes variables by their names in the space."""

    async def read(self, names: Iterable[str]) -> dict[str, Any]:
        """Their values, in one request."""

    async def write(self, values: Mapping[str, Any]) -> None:
        """Write them, in whatever order the server likes, and check that it took all of them.

        What has to be seen after the rest is written by a call of its own (OPC UA Part 4, Write:
        the order within a request is not defined, and some of its values may be refused).

        Raises:
            LinkError: it did not take all of them; it may have taken some.
        """


class Ring:
    """The host's side of the ring.

    It outlives connections: the sequence goes on where the PLC still has this session, and begins
    anew where the PLC has lost it.

    Args:
        settings: of the link.
        confirms: wait until the PLC has taken a command; needed where the nodes are this side's.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: OpcUaSettings,
        confirms: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._confirms = confirms
        self._clock = clock
        self._session = secrets.randbelow(2**32 - 1) + 1
        self._opened = False
        self._forgotten = False  # the PLC lost what it was sent before this connection
        self._next = 1
        self._given: dict[str, int] = {}  # the last commands that were given a sequence
        self._tail = 0
        self._acked = 0
        self._beat = 0
        self._plc_run = 0
        self._plc_beat: int | None = None
        self._plc_beat_s = 0.0
        self._writing = asyncio.Lock()

    async def open(self, nodes: Nodes) -> None:
        """Find the PLC alive and agree with it where the ring begins.

        Raises:
            LinkError: its program does not run.
        """
        self._writing = asyncio.Lock()
        self._plc_beat = None
        # What stands there may be the last beat's state, or that of a program that died.
        await self.make_safe(nodes, CONNECTING)
        slots = range(self._settings.slots)
        names = [f"Slots[{slot}].Sequence" for slot in slots]
        found = await nodes.read(["Host.Session", "Plc.Tail", *names])
        same = found["Host.Session"] == self._session
        run = self._plc_run
        if same:
            self._tail = found["Plc.Tail"]
            self._next = max(self._tail, *(found[name] for name in names)) + 1
        else:
            self._next, self._tail, self._acked = 1, 0, 0
            self._given.clear()
            # A PLC that sees the session goes to the start: no old slot may stand there by then.
            await nodes.write(dict.fromkeys(names, 0))
            await nodes.write({"Host.Session": self._session})
        await self._meet(nodes, at_start=not same)
        self._forgotten = self._opened and (not same or self._plc_run != run)
        self._opened = True

    async def send(self, nodes: Nodes, command: Command) -> None:
        """Write a command into the next slot, as soon as the PLC has made room.

        The sequence makes the slot valid, and goes out when the rest of it has arrived.
        """
        async with self._writing:
            values = slot_values(command, self._next, self._settings.slots)
            while self._next - self._tail > self._settings.slots:
                await self._read_tail(nodes)
            sequence = self._give(command.command_id)
            name = f"Slots[{sequence % self._settings.slots}].Sequence"
            valid = {name: values.pop(name)}
            await nodes.write(values)
            await nodes.write(valid)
        while self._confirms and self._tail < sequence:
            await self._read_tail(nodes)

    async def known(self, nodes: Nodes, command_ids: Collection[str]) -> frozenset[str] | None:
        """What stands whole in the ring; None where the PLC began anew.

        The id alone says nothing: where a write broke off, the slot has the sequence of the
        command that it held before.
        """
        if self._forgotten:
            return None
        slots = self._settings.slots
        asked = {one: self._given[one] for one in command_ids if one in self._given}
        places = sorted({sequence % slots for sequence in asked.values()})
        found = await nodes.read(
            f"Slots[{place}].{part}" for place in places for part in ("Id", "Sequence")
        )
        there = {
            (found[f"Slots[{place}].Id"], found[f"Slots[{place}].Sequence"]) for place in places
        }
        return frozenset(one for one, sequence in asked.items() if (one, sequence) in there)

    async def beat(self, nodes: Nodes, state: LineState) -> tuple[Acknowledgement, ...]:
        """Both beats, and what the PLC has acknowledged.

        Raises:
            LinkError: the PLC's program has stopped.
        """
        self._beat += 1
        await nodes.write(host_values(state, self._beat))
        names = ("Plc.Run", "Plc.Beat", "Plc.Tail", "Plc.Acked", "Host.Session")
        found = await nodes.read(names)
        if found["Plc.Run"] != self._plc_run:
            raise LinkError("the PLC's program has started anew; what it held is lost")
        if found["Host.Session"] != self._session:
            raise LinkError("another host writes to this PLC, or it has started anew")
        self._see_tail(found["Plc.Tail"])
        self._see_beat(found["Plc.Beat"])
        return await self._acknowledged(nodes, found["Plc.Acked"])

    async def make_safe(self, nodes: Nodes, reason: str) -> None:
        """Write the state alone: the PLC acts on it in its next cycle."""
        await nodes.write(
            {
                name: value
                for name, value in host_values(LineState("safe", reason), None).items()
                if name in ("Host.State", "Host.Reason")
            }
        )

    def _give(self, command_id: str) -> int:
        """The next sequence; the ring holds no more commands than it has slots."""
        sequence, self._next = self._next, self._next + 1
        self._given.pop(command_id, None)
        self._given[command_id] = sequence
        if len(self._given) > self._settings.slots:
            del self._given[next(iter(self._given))]
        return sequence

    async def _meet(self, nodes: Nodes, at_start: bool) -> None:
        """Wait until the PLC's beat has moved and, in a new session, it has gone to the start."""
        until_s = self._clock() + self._settings.hello_ms / 1000
        first: int | None = None
        while True:
            found = await nodes.read(["Plc.Run", "Plc.Beat", "Plc.Tail", "Plc.Acked"])
            beat = found["Plc.Beat"]
            first = beat if first is None else first
            ready = not at_start or found["Plc.Tail"] == found["Plc.Acked"] == 0
            if beat != first and ready:
                self._plc_run = found["Plc.Run"]
                self._see_beat(beat)
                return
            if self._clock() > until_s:
                raise LinkError(_unmet(found, beat != first, self._settings.hello_ms))
            await asyncio.sleep(_POLL_S)

    async def _read_tail(self, nodes: Nodes) -> None:
        await asyncio.sleep(_POLL_S)
        self._see_tail((await nodes.read(["Plc.Tail"]))["Plc.Tail"])

    def _see_tail(self, tail: int) -> None:
        if tail >= self._next:
            raise LinkError(
                f"the PLC says that it has taken command {tail} of the ring, but only "
                f"{self._next - 1} have been written; expected Plc.Tail to follow Slots[].Sequence"
            )
        self._tail = max(self._tail, tail)

    def _see_beat(self, beat: int) -> None:
        now_s = self._clock()
        if beat != self._plc_beat:
            self._plc_beat, self._plc_beat_s = beat, now_s
        silent_ms = (now_s - self._plc_beat_s) * 1000
        if silent_ms > self._settings.plc_timeout_ms:
            raise LinkError(f"the PLC's program stands still: Plc.Beat is {beat} since "
                            f"{silent_ms:.0f} ms")  # fmt: skip

    async def _acknowledged(self, nodes: Nodes, acked: int) -> tuple[Acknowledgement, ...]:
        slots = self._settings.slots
        if acked <= self._acked:
            return ()
        new = range(max(self._acked, acked - slots) + 1, acked + 1)
        names = [f"Acks[{one % slots}].{part}" for one in new for part in ACK]
        found = await nodes.read(names)
        self._acked = acked
        answers = (
            acknowledgement(found, f"Acks[{one % slots}]")
            for one in new
            if found[f"Acks[{one % slots}].Sequence"] == one
        )
        return tuple(answer for answer in answers if answer is not None)


def _unmet(found: Mapping[str, Any], beats: bool, hello_ms: float) -> str:
    if not beats:
        return (
            f"no PLC program runs at the other side: Plc.Beat has stood at {found['Plc.Beat']} for "
            f"{hello_ms:.0f} ms; expected it to rise every 50 ms"
        )
    return (
        f"the PLC has not gone to the start of the ring within {hello_ms:.0f} ms: Plc.Tail is "
        f"{found['Plc.Tail']} and Plc.Acked {found['Plc.Acked']}; expected 0 after Host.Session "
        "changed"
    )
