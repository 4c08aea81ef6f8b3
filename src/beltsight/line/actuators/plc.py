"""What a PLC does with commands: the rules of ``docs/actuators.md`` as a program that can be run.

The simulated link runs it in this process, and the tests run it behind each real protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import Field

from beltsight.line.actuators.protocol import (
    FIRING,
    Acknowledged,
    Acknowledgement,
    Command,
    StateName,
)
from beltsight.strict import Strict

# Its own speed is taken over so long: the compensation of latency errs by the change within it.
SPEED_WINDOW_S = 0.010


class PlcSettings(Strict):
    """What a PLC program is told once.

    Args:
        counter_bits: of its counter, which wraps around; 0 where it does not.
        reversed: its counter falls while the belt runs forward.
        scan_ms: time between two looks at the counter.
        watchdog_ms: without a beat for so long it goes to its safe state by itself.
        max_open_ms: a lane is closed after so long, also where the belt has stopped under it.
        remembered: ids that it keeps to tell a command that it has had already.
    """

    counter_bits: int = Field(32, ge=0, le=64)
    reversed: bool = False
    scan_ms: float = Field(1.0, gt=0, le=100)
    watchdog_ms: float = Field(150.0, gt=0)
    max_open_ms: float = Field(500.0, gt=0)
    remembered: int = Field(4096, ge=16)


@dataclass(frozen=True, slots=True)
class Switch:
    """A lane that was switched.

    Args:
        time_s: of the scan.
        actuator: its name.
        lane: its index.
        is_open: whether it was opened or closed.
        raw_count: the PLC's counter then.
        command_id: the command that opened it; the last one to let go of it where it closes.
    """

    time_s: float
    actuator: str
    lane: int
    is_open: bool
    raw_count: int
    command_id: str


@dataclass(slots=True)
class _Held:
    command: Command
    is_new: bool = True
    opened_s: float | None = None


@dataclass(slots=True)
class _Speed:
    """Counts per second over the last window, forward positive."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)
    counts_per_s: float = 0.0

    def update(self, time_s: float, count: int) -> None:
        self.seen.append((time_s, count))
        while len(self.seen) > 2 and time_s - self.seen[1][0] >= SPEED_WINDOW_S:
            self.seen.popleft()
        since_s = time_s - self.seen[0][0]
        self.counts_per_s = (count - self.seen[0][1]) / since_s if since_s > 0 else 0.0


def signed_difference(later: int, earlier: int, bits: int) -> int:
    """How far a counter of ``bits`` has gone from one raw count to another, the shorter way.

    Example:
        >>> signed_difference(5, 65530, 16), signed_difference(65530, 5, 16)
        (11, -11)
        >>> signed_difference(5, 65530, 0)
        -65525
    """
    if not bits:
        return later - earlier
    span = 1 << bits
    ahead = (later - earlier) % span
    return ahead - span if ahead >= span >> 1 else ahead


class Plc:
    """Takes commands and beats, is scanned with its counter, and switches lanes.

    It is not safe for threads: whoever feeds it from several holds a lock.

    Example:
        >>> plc = Plc(PlcSettings())
        >>> plc.beat("running", 0.0)
        >>> plc.scan(1000, 0.0)
        []
        >>> hit = Command("r-1", 1, "plc", "jets", (2,), 1100, 1200, 1100, 1200, 0.0, 0.0)
        >>> plc.take(hit), plc.take(hit)
        (None, 'duplicate')
        >>> [(s.lane, s.is_open, s.raw_count) for s in plc.scan(1100, 0.04)]
        [(2, True, 1100)]
    """

    def __init__(self, settings: PlcSettings) -> None:
        self.settings = settings
        self.count = 0  # unwrapped, forward positive, from the first scan
        self._raw: int | None = None
        self._speed = _Speed()
        self._held: dict[str, _Held] = {}
        self._ids: dict[str, None] = {}
        self._beat_s: float | None = None
        self._state: StateName = "safe"
        self._acknowledged: deque[Acknowledgement] = deque(maxlen=settings.remembered)

    @property
    def is_safe(self) -> bool:
        """Whether it fires nothing: told so, or its watchdog has run out."""
        return self._state not in FIRING

    def known(self, command_ids: Iterable[str]) -> frozenset[str]:
        """Which of these it has had."""
        return frozenset(one for one in command_ids if one in self._ids)

    def take(self, command: Command) -> Acknowledged | None:
        """Hold a command until its count; why it does not, or None where it does."""
        if command.command_id in self._ids:
            return self._answer(command, "duplicate")
        self._ids[command.command_id] = None
        if len(self._ids) > self.settings.remembered:
            self._ids.pop(next(iter(self._ids)))
        if self.is_safe or len(self._held) >= self.settings.remembered:
            return self._answer(command, "refused")
        self._held[command.command_id] = _Held(command)
        return None

    def beat(self, state: StateName, now_s: float) -> None:
        """The host lives; what it says of the line decides whether lanes may open."""
        self._beat_s = now_s
        self._state = state

    def make_safe(self) -> None:
        """As after a beat that says so; the next scan closes all lanes and drops all commands."""
        self._state = "safe"

    def acknowledgements(self) -> tuple[Acknowledgement, ...]:
        """What became of commands since the last call, oldest first."""
        answers = tuple(self._acknowledged)
        self._acknowledged.clear()
        return answers

    def scan(self, raw_count: int | None, now_s: float) -> list[Switch]:
        """One cycle of the program: look at the counter and switch what is due.

        Args:
            raw_count: the counter, or None where it gives nothing: nothing opens then.
            now_s: monotonic time, never falling.
        """
        if self._beat_s is None or now_s - self._beat_s > self.settings.watchdog_ms / 1000:
            self._state = "safe"
        if raw_count is not None:
            self._follow(raw_count, now_s)
        switches: list[Switch] = []
        if self.is_safe:
            return self._drop_all(now_s)
        for held in list(self._held.values()):
            if held.opened_s is None:
                if raw_count is not None:
                    switches += self._open_if_due(held, now_s)
            elif self._is_over(held, held.opened_s, now_s):
                switches += self._let_go(held, now_s)
        return switches

    def _follow(self, raw_count: int, now_s: float) -> None:
        if self._raw is not None:
            moved = signed_difference(raw_count, self._raw, self.settings.counter_bits)
            self.count += -moved if self.settings.reversed else moved
        self._raw = raw_count
        self._speed.update(now_s, self.count)

    def _ahead(self, raw_target: int, latency_ms: float) -> float:
        """Counts left until the output must switch, to the nearest scan.

        Negative where the moment has passed.
        """
        assert self._raw is not None
        left = signed_difference(raw_target, self._raw, self.settings.counter_bits)
        left = -left if self.settings.reversed else left
        early_s = (latency_ms + self.settings.scan_ms / 2) / 1000
        return left - max(self._speed.counts_per_s, 0.0) * early_s

    def _open_if_due(self, held: _Held, now_s: float) -> list[Switch]:
        command = held.command
        was_new, held.is_new = held.is_new, False
        if command.timing == "plc":
            ahead = self._ahead(command.raw_fire_count, command.latency_ms)
            if ahead > 0:
                return []
            # Two scans: what came just before its count is fired, not refused for a scan's sake.
            room = max(self._speed.counts_per_s * 2 * self.settings.scan_ms / 1000, 1.0)
            # Past its end, the counter has leapt.
            over = self._ahead(command.raw_end_count, command.latency_ms) < -room
            if over or (was_new and ahead < -room):
                self._answer(command, "late")
                del self._held[command.command_id]
                return []
        open_already = self._open_lanes(command.actuator)
        held.opened_s = now_s
        self._answer(command, "fired")
        return [
            self._switch(command, lane, True, now_s)
            for lane in command.lanes
            if lane not in open_already
        ]

    def _is_over(self, held: _Held, opened_s: float, now_s: float) -> bool:
        open_ms = (now_s - opened_s) * 1000 + 1e-6  # a sum of scans may fall short by rounding
        command = held.command
        if open_ms >= max(self.settings.max_open_ms, command.pulse_ms):
            return True
        if open_ms < command.pulse_ms:
            return False
        if command.timing == "host":
            return True
        return self._raw is None or self._ahead(command.raw_end_count, command.latency_ms) <= 0

    def _open_lanes(self, actuator: str) -> set[int]:
        return {
            lane
            for held in self._held.values()
            if held.opened_s is not None and held.command.actuator == actuator
            for lane in held.command.lanes
        }

    def _let_go(self, held: _Held, now_s: float) -> list[Switch]:
        """A lane closes when the last command that holds it open is over."""
        command = held.command
        del self._held[command.command_id]
        still = self._open_lanes(command.actuator)
        return [
            self._switch(command, lane, False, now_s) for lane in command.lanes if lane not in still
        ]

    def _drop_all(self, now_s: float) -> list[Switch]:
        switches = []
        for held in list(self._held.values()):
            if held.opened_s is None:
                self._answer(held.command, "refused")
                del self._held[held.command.command_id]
            else:
                switches += self._let_go(held, now_s)
        return switches

    def _switch(self, command: Command, lane: int, is_open: bool, now_s: float) -> Switch:
        raw = self._raw if self._raw is not None else 0
        return Switch(now_s, command.actuator, lane, is_open, raw, command.command_id)

    def _answer(self, command: Command, outcome: Acknowledged) -> Acknowledged:
        self._acknowledged.append(Acknowledgement(command.command_id, outcome, self._raw))
        return outcome
