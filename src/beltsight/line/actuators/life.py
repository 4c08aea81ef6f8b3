"""The life of one link: connect, beat, send; down at the first sign of trouble, and back."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from beltsight.errors import LinkError
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkStatus
from beltsight.line.actuators.protocol import (
    FIRING,
    SENT_OUTCOMES,
    Acknowledgement,
    Actuator,
    Command,
    LineState,
    LinkState,
    SentOutcome,
)

Answer = TypeVar("Answer")
_KEPT = 200  # answer times
_CLOSING_S = 1.0
CLOSED = "closed"  # the reason of a link that was up until the line ended it


class Owner(Protocol):
    """What a link's life needs of all links together."""

    def line_state(self) -> LineState:
        """What the next beat says."""

    def may_send(self) -> bool:
        """Whether commands go out in this state."""

    def changed(self, life: Life, reason: str) -> None:
        """The link has another state."""

    def settled(self, command: Command, outcome: SentOutcome) -> None:
        """A command has its outcome."""

    def acknowledged(self, life: Life, answer: Acknowledgement) -> None:
        """The peer said what became of a command."""

    def is_late(self, command: Command) -> bool:
        """Whether a command's moment has passed."""


async def within(work: Coroutine[Any, Any, Answer], limit_ms: float, what: str) -> Answer:
    """Await work, but no longer than the limit, even where it does not let itself be cancelled.

    Raises:
        LinkError: whatever it raised, or that it took too long.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=limit_ms / 1000)
        for _ in range(8):
            # Where this machine itself was held up, the answer may be here already, unread.
            if task.done():
                break
            await asyncio.sleep(0)
    finally:
        if not task.done():
            task.add_done_callback(_forget)
            task.cancel()
    if not task.done():
        raise LinkError(f"{what} was not answered within {limit_ms:.0f} ms")
    if task.cancelled():
        raise LinkError(f"{what} was broken off")
    error = task.exception()
    if error is None:
        return task.result()
    if isinstance(error, LinkError):
        raise error
    raise LinkError(f"{what} failed: {type(error).__name__}: {error}") from error


def _forget(task: asyncio.Future[Any]) -> None:
    """What abandoned work raises later concerns nobody; unread, asyncio would complain of it."""
    if not task.cancelled():
        task.exception()


class Life:
    """One link in the links' event loop. All but ``waiting`` is touched in that loop alone."""

    def __init__(
        self,
        actuator: Actuator,
        settings: LinksSettings,
        owner: Owner,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self.actuator = actuator
        self.name = actuator.name
        self.settings = settings
        self.state: LinkState = "connecting"
        self.reason = "not connected yet"
        self.waiting: deque[Command] = deque()
        self.ticked_s = clock()
        self._owner = owner
        self._clock = clock
        self._rng = rng
        self._doubtful: dict[str, Command] = {}  # sent, and nobody knows whether it arrived
        self._sending: dict[asyncio.Task[None], Command] = {}
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        self._safe_reason: str | None = None
        self._may_fire = False  # what the last answered beat told the peer
        self._failed: asyncio.Future[str] | None = None
        self._ending = False
        self._in_time: deque[bool] = deque(maxlen=settings.quality_over)
        self._answers_ms: deque[float] = deque(maxlen=_KEPT)
        self._sends_ms: deque[float] = deque(maxlen=_KEPT)
        self._beats = 0
        self._downs = 0
        self.outcomes: dict[SentOutcome, int] = dict.fromkeys(SENT_OUTCOMES, 0)

    @property
    def is_up(self) -> bool:
        """Whether it carries commands."""
        return self.state in ("up", "degraded")

    @property
    def quality(self) -> float:
        """Share of the last beats that were answered in time; 0 before the first."""
        return sum(self._in_time) / len(self._in_time) if self._in_time else 0.0

    def status(self) -> LinkStatus:
        """As it is now; may be called from any thread."""
        return LinkStatus(
            self.name, self.state, self.reason, round(self.quality, 4), self._beats, self._downs,
            len(self.waiting), dict(self.outcomes), max(tuple(self._answers_ms), default=0.0),
            max(tuple(self._sends_ms), default=0.0),
        )  # fmt: skip

    def wake(self) -> None:
        """There is something in the queue, or sending is allowed again."""
        self._wake.set()

    def hurry(self, safe_reason: str | None = None) -> None:
        """Beat now instead of at the next time; where a reason is given, make the peer safe."""
        self._safe_reason = safe_reason
        self._hurry.set()

    async def run(self) -> None:
        """Until cancelled."""
        sweeping = asyncio.create_task(self._sweep_on())
        attempt = 0
        try:
            while True:
                reason = await self._connect()
                if reason is None:
                    attempt = 0
                    reason = await self._live()
                    self._downs += 1
                self._set_state("down", reason)
                self._break_off()
                await self._pause(attempt)
                attempt += 1
        finally:
            sweeping.cancel()
            self._break_off()
            await asyncio.gather(sweeping, *self._sending, return_exceptions=True)

    async def end(self) -> None:
        """Say goodbye: the peer is told to be safe where it answers, and the connection ended.

        A link that was not up keeps the reason why it was not.
        """
        was_up, told = self.is_up, CLOSED
        try:
            if was_up:
                limit_ms = self.settings.timeout_ms
                reason = "the line has stopped"
                await within(self.actuator.make_safe(reason), limit_ms, "the safe state")
                await within(self.actuator.beat(self._owner.line_state()), limit_ms, "a beat")
        except LinkError as error:  # its own watchdog makes the peer safe
            told = f"the peer did not answer that the line has stopped: {error}"
        with suppress(LinkError):  # it is given up all the same
            await within(self.actuator.close(), _CLOSING_S * 1000, "closing")
        self._set_state("down", told if was_up else self.reason)
        for command in self._doubtful.values():
            self._settle(command, "unknown")
        self._doubtful.clear()
        while self.waiting:
            self._settle(self.waiting.popleft(), "refused")

    async def _connect(self) -> str | None:
        """Why it did not work, or None where the link is up."""
        try:
            await within(self.actuator.connect(), self.settings.connect_ms, "the connection")
            await self._resolve_doubtful()
            await self._beat()
        except LinkError as error:
            return str(error)
        self._set_state(self._up(), "")
        return None

    async def _resolve_doubtful(self) -> None:
        """Ask the peer which commands it has; those that it has not go out again, first of all."""
        if not self._doubtful:
            return
        ids = list(self._doubtful)
        limit_ms = self.settings.timeout_ms
        known = await within(self.actuator.known(ids), limit_ms, "the question for known commands")
        commands, self._doubtful = list(self._doubtful.values()), {}
        for command in reversed(commands):
            if known is None:
                self._settle(command, "unknown")
            elif command.command_id in known:
                self._settle(command, "sent")
            else:
                self.waiting.appendleft(command)

    async def _live(self) -> str:
        """Beat and send until something fails; why it did."""
        loop = asyncio.get_running_loop()
        self._failed = failed = loop.create_future()
        tasks = [asyncio.create_task(self._beat_on()), asyncio.create_task(self._send_on())]
        try:
            reason: str = await failed
            return reason
        except asyncio.CancelledError:
            await self._finish(tasks[0])
            raise
        finally:
            self._failed = None
            for task in tasks:
                task.cancel()
            # No wait for them: the line must hear of it first.

    async def _finish(self, beating: asyncio.Task[None]) -> None:
        """The line ends: what is being said to the peer is said to its end.

        Who breaks off a request breaks the connection with it, and the good-bye needs that.
        """
        self._ending = True
        self._hurry.set()
        await asyncio.wait({beating, *self._sending}, timeout=self.settings.timeout_ms / 1000)

    def _fail(self, reason: str) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(reason)

    async def _beat_on(self) -> None:
        loop = asyncio.get_running_loop()
        period_s = self.settings.beat_ms / 1000
        next_s = loop.time() + period_s
        try:
            while not self._ending:
                await self._until(next_s)
                if self._ending:
                    return
                # Never longer than a period from now, whether it was hurried or held up.
                next_s = min(max(next_s, loop.time() - period_s), loop.time()) + period_s
                if self._safe_reason is not None:
                    reason, self._safe_reason = self._safe_reason, None
                    limit_ms = self.settings.timeout_ms
                    await within(self.actuator.make_safe(reason), limit_ms, "the safe state")
                await self._beat()
                state = self._up()
                if state != self.state:
                    self._set_state(state, "" if state == "up" else "beats were missed")
        except LinkError as error:
            self._in_time.append(False)
            self._fail(str(error))

    async def _until(self, when_s: float) -> None:
        left_s = when_s - asyncio.get_running_loop().time()
        if not self._hurry.is_set() and left_s > 0:
            timer = asyncio.get_running_loop().call_later(left_s, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()
        self._hurry.clear()

    async def _beat(self) -> None:
        began_s = self._clock()
        state = self._owner.line_state()
        beat = self.actuator.beat(state)
        answers = await within(beat, self.settings.timeout_ms, "a beat")
        if self._may_fire != (state.name in FIRING):
            self._may_fire = not self._may_fire
            self._wake.set()
        self._answers_ms.append((self._clock() - began_s) * 1000)
        self._in_time.append(True)
        self._beats += 1
        for answer in answers:
            self._owner.acknowledged(self, answer)

    async def _send_on(self) -> None:
        while True:
            self._wake.clear()
            while self.waiting and self._can_send():
                command = self.waiting.popleft()
                if self._owner.is_late(command):
                    self._settle(command, "late")
                    continue
                task = asyncio.create_task(self._send(command))
                self._sending[task] = command
                task.add_done_callback(self._sent)
            await self._wake.wait()

    def _can_send(self) -> bool:
        """A peer that was told to be safe would refuse: it has to hear of the change first."""
        allowed = self._may_fire and self._owner.may_send()
        return allowed and len(self._sending) < self.settings.in_flight

    async def _send(self, command: Command) -> None:
        began_s = self._clock()
        try:
            sent = self.actuator.send(command)
            await within(sent, self.settings.timeout_ms, f"command {command.command_id}")
        except LinkError as error:
            self._doubtful[command.command_id] = command
            self._fail(str(error))
        except asyncio.CancelledError:
            self._doubtful[command.command_id] = command
            raise
        else:
            self._sends_ms.append((self._clock() - began_s) * 1000)
            self._settle(command, "sent")

    def _sent(self, task: asyncio.Task[None]) -> None:
        command = self._sending.pop(task, None)
        if command is not None and task.cancelled():  # before its first step, too
            self._doubtful[command.command_id] = command
        self._wake.set()

    def _break_off(self) -> None:
        for task in list(self._sending):
            task.cancel()

    async def _pause(self, attempt: int) -> None:
        settings = self.settings
        most_ms = min(settings.retry_first_ms * 2.0 ** min(attempt, 30), settings.retry_most_ms)
        wait_s = most_ms * (1 - settings.jitter * self._rng.random()) / 1000
        await asyncio.sleep(wait_s)
        missed = int(wait_s * 1000 / settings.beat_ms) + 1
        if self._beats:
            self._in_time.extend([False] * min(missed, settings.quality_over))

    async def _sweep_on(self) -> None:
        """Drop what has become too old while it could not be sent."""
        while True:
            await asyncio.sleep(self.settings.beat_ms / 1000)
            self.ticked_s = self._clock()
            while self.waiting and self._owner.is_late(self.waiting[0]):
                self._settle(self.waiting.popleft(), "late")
            gone = [one for one in self._doubtful.values() if self._owner.is_late(one)]
            for command in gone:
                del self._doubtful[command.command_id]
                self._settle(command, "unknown")

    def _settle(self, command: Command, outcome: SentOutcome) -> None:
        self.outcomes[outcome] += 1
        self._owner.settled(command, outcome)

    def _up(self) -> LinkState:
        return "up" if self.quality >= self.settings.degraded_below else "degraded"

    def _set_state(self, state: LinkState, reason: str) -> None:
        """Attempts that fail one after the other are one event."""
        self.reason = reason
        if state != self.state:
            self.state = state
            self._owner.changed(self, reason)
