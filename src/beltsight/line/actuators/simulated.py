"""A PLC in this process: the protocol's other side, firing on a counter that it is given."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from typing import Literal

from pydantic import Field

from beltsight.errors import LinkError
from beltsight.line.actuators.plc import Plc, PlcSettings, Switch
from beltsight.line.actuators.protocol import Acknowledgement, Command, LineState, PeerSettings

MOST_SCANS_AT_ONCE = 5000


class SimulatedSettings(PeerSettings):
    """A simulated PLC.

    Args:
        kind: ``simulated``.
        plc: what its program is told.
        answer_ms: how long it takes to answer the host.
        records: switches that it keeps for whoever scores the run.
    """

    kind: Literal["simulated"] = "simulated"
    plc: PlcSettings = Field(default_factory=PlcSettings)
    answer_ms: float = Field(0.0, ge=0, le=10_000)
    records: int = Field(200_000, ge=1)


class SimulatedPlc:
    """A :class:`Plc` with a clock and a counter of its own, as if it were another machine.

    Its scans happen at exact times of its own, not when this process finds the time: whoever calls
    :meth:`run_to` late gets the switches that a real PLC would have made meanwhile.

    Args:
        settings: of the link.
        encoder: monotonic time, not after now -> the raw count then, or None where it gives none.
        start_s: time of the first scan.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        encoder: Callable[[float], int | None],
        start_s: float,
    ) -> None:
        self.program = Plc(settings.plc)
        self.switches: deque[Switch] = deque(maxlen=settings.records)
        self._encoder = encoder
        self._scan_s = settings.plc.scan_ms / 1000
        self._start_s = start_s
        self._scans = 0
        self._lock = threading.Lock()

    def run_to(self, now_s: float) -> None:
        """Make all scans until now. After a pause beyond all use only the last of them."""
        with self._lock:
            self._run_to(now_s)

    def take(self, command: Command, now_s: float) -> None:
        """A command arrives."""
        with self._lock:
            self._run_to(now_s)
            self.program.take(command)

    def beat(self, state: LineState, now_s: float) -> tuple[Acknowledgement, ...]:
        """A beat arrives; what became of commands goes back."""
        with self._lock:
            self._run_to(now_s)
            self.program.beat(state.name, now_s)
            return self.program.acknowledgements()

    def make_safe(self, now_s: float) -> None:
        """The host says: close everything."""
        with self._lock:
            self._run_to(now_s)
            self.program.make_safe()
            self._scan(now_s)

    def known(self, command_ids: Collection[str]) -> frozenset[str]:
        """Which of these it has had."""
        with self._lock:
            return self.program.known(command_ids)

    def _run_to(self, now_s: float) -> None:
        due = int((now_s - self._start_s) / self._scan_s) + 1
        self._scans = max(self._scans, due - MOST_SCANS_AT_ONCE)
        for number in range(self._scans, due):
            self._scan(self._start_s + number * self._scan_s)
        self._scans = max(self._scans, due)

    def _scan(self, time_s: float) -> None:
        self.switches.extend(self.program.scan(self._encoder(time_s), time_s))


class SimulatedActuator:
    """The link to a simulated PLC.

    ``stalled`` makes the PLC silent, as one that hangs, and ``refuses`` makes connecting fail; both
    may be set from any thread. The PLC's own program goes on in either case, as a real one does.

    Args:
        settings: of the link.
        encoder: as :class:`SimulatedPlc` takes it.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        settings: SimulatedSettings,
        encoder: Callable[[float], int | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.plc = SimulatedPlc(settings, encoder, clock())
        self.stalled = False
        self.refuses = False
        self._clock = clock
        self._scanning: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """Name of the link."""
        return self.settings.name

    async def connect(self) -> None:
        """Start the PLC's scans, where they do not run yet."""
        await self._answer()
        if self.refuses:
            raise LinkError(f"{self.name}: the simulated PLC refuses the connection")
        if self._scanning is None:
            self._scanning = asyncio.create_task(self._scan_on())

    async def send(self, command: Command) -> None:
        """The PLC takes it at once and answers after ``answer_ms``."""
        await self._reach()
        self.plc.take(command, self._clock())
        await self._answer()

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """What the PLC has had."""
        await self._reach()
        await self._answer()
        return self.plc.known(command_ids)

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        """The PLC sees it at once and answers after ``answer_ms``."""
        await self._reach()
        answers = self.plc.beat(state, self._clock())
        await self._answer()
        return answers

    async def make_safe(self, reason: str) -> None:
        """Close everything."""
        await self._reach()
        await self._answer()
        self.plc.make_safe(self._clock())

    async def close(self) -> None:
        """Stop the scans."""
        scanning, self._scanning = self._scanning, None
        if scanning is not None:
            scanning.cancel()
            await asyncio.gather(scanning, return_exceptions=True)

    async def _answer(self) -> None:
        await asyncio.sleep(self.settings.answer_ms / 1000)
        await self._stall()

    async def _reach(self) -> None:
        if self._scanning is None:
            raise LinkError(f"{self.name}: not connected")
        await self._stall()

    async def _stall(self) -> None:
        while self.stalled:
            await asyncio.sleep(0.005)

    async def _scan_on(self) -> None:
        """Often enough for whoever looks at the switches; their times do not depend on it."""
        while True:
            self.plc.run_to(self._clock())
            await asyncio.sleep(0.02)
