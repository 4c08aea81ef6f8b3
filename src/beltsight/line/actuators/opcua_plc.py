"""A simulated PLC behind an OPC UA link: the program that ``docs/actuators.md`` asks for.

It speaks the real protocol, as the server or as the client, and fires on a counter of its own.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from beltsight.line.actuators.opcua_client import RemoteNodes
from beltsight.line.actuators.opcua_server import LocalNodes
from beltsight.line.actuators.opcua_space import ACK, SLOT, command_of
from beltsight.line.actuators.plc import Plc, Switch
from beltsight.line.actuators.protocol import (
    ACKNOWLEDGED,
    FIRING,
    LINE_STATES,
    Acknowledgement,
    StateName,
)


class OpcUaPlc:
    """Runs a PLC's program against the space, cycle by cycle.

    Args:
        program: the rules of a PLC.
        nodes: of its own server (with ``plc_is_client=False``), or of the host's.
        encoder: monotonic time -> the raw count of its counter then.
        cycle_ms: pause between two cycles.
        on_switch: told of every lane that is switched.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        program: Plc,
        nodes: LocalNodes | RemoteNodes,
        encoder: Callable[[float], int | None],
        *,
        cycle_ms: float = 5.0,
        on_switch: Callable[[Switch], None] = lambda switch: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.program = program
        self._nodes = nodes
        self._encoder = encoder
        self._cycle_s = cycle_ms / 1000
        self._on_switch = on_switch
        self._clock = clock
        self._slots = nodes.settings.slots
        self._sequences = [f"Slots[{slot}].Sequence" for slot in range(self._slots)]
        self._run = secrets.randbelow(2**32 - 1) + 1
        self._session: int | None = None
        self._host_beat: int | None = None
        self._beat = 0
        self._may_say = 0
        self._unsaid: deque[Acknowledgement] = deque(maxlen=program.settings.remembered)
        self._tail = 0
        self._acked = 0

    async def run(self) -> None:
        """Until cancelled.

        Raises:
            LinkError: the other side has gone.
        """
        await self._nodes.open()
        while True:
            await self.cycle()
            await asyncio.sleep(self._cycle_s)

    async def cycle(self) -> None:
        """Read, scan, answer: once."""
        names = ["Host.Session", "Host.Beat", "Host.State", "Plc.Acked", *self._sequences]
        found = await self._nodes.read(names)
        sequences = [found[name] for name in self._sequences]
        if found["Host.Session"] != self._session:
            # What lies there from before this program's own start is too old to be known.
            started = self._session is None
            self._tail = max(sequences) if started else 0
            self._acked = found["Plc.Acked"] if started and self._tail else 0
            self._session = found["Host.Session"]
        self._hear(found)
        await self._take(sequences)
        now_s = self._clock()
        for switch in self.program.scan(self._encoder(now_s), now_s):
            self._on_switch(switch)
        self._beat = (self._beat + 1) & 0xFFFFFFFF
        await self._nodes.write(
            {
                "Plc.Run": self._run,
                "Plc.Tail": self._tail,
                **self._answers(),
                "Plc.Acked": self._acked,
                "Plc.Beat": self._beat,
            }
        )

    def _hear(self, found: dict[str, Any]) -> None:
        state = found["Host.State"]
        name: StateName = LINE_STATES[state] if 0 <= state < len(LINE_STATES) else "safe"
        if name not in FIRING:
            self.program.make_safe()
        if found["Host.Beat"] != self._host_beat:
            self._may_say = self._slots // 2
            self._host_beat = found["Host.Beat"]
            self.program.beat(name, self._clock())

    async def _take(self, sequences: list[int]) -> None:
        """The new slots in the order of their sequence, which may have gaps."""
        new = sorted(one for one in sequences if one > self._tail)
        if not new:
            return
        names = [f"Slots[{one % self._slots}].{part}" for one in new for part in SLOT]
        found = await self._nodes.read(names)
        for one in new:
            self.program.take(command_of(found, f"Slots[{one % self._slots}]", "plc"))
            self._tail = one

    def _answers(self) -> dict[str, Any]:
        """At most half of the ring for one beat of the host, which reads them with its beats."""
        self._unsaid.extend(self.program.acknowledgements())
        values: dict[str, Any] = {}
        while self._unsaid and self._may_say:
            self._may_say -= 1
            answer = self._unsaid.popleft()
            self._acked += 1
            raw = -1 if answer.raw_count is None else answer.raw_count
            outcome = ACKNOWLEDGED.index(answer.outcome)
            row = (answer.command_id, outcome, raw, self._acked)
            prefix = f"Acks[{self._acked % self._slots}]"
            values |= {f"{prefix}.{part}": value for part, value in zip(ACK, row, strict=True)}
        return values
