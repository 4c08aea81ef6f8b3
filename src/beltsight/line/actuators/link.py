"""All links of a line in one thread, so that no peer ever holds up the frame loop."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from beltsight.config import nearest
from beltsight.errors import LineError
from beltsight.line.actuators.life import Life
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkEvent, LinkStatus, Reports
from beltsight.line.actuators.protocol import (
    FIRING,
    Acknowledgement,
    Actuator,
    Command,
    LineState,
    SentOutcome,
    StateName,
)

_KEPT_IDS = 65_536
_STUCK_BEATS = 4
_CLOSE_S = 5.0


class _Effective(NamedTuple):
    """The line's state as links make it.

    Args:
        state: what beats say.
        cause: its reason, without what may differ at each attempt to connect.
        is_new: nothing has failed, but a link is being made for the first time.
    """

    state: LineState
    cause: str
    is_new: bool = False


class Links:
    """Holds every link up, sends commands, and brings the line to its safe state when one fails.

    The line starts in ``starting``; commands leave in ``running`` and ``degraded`` only and wait
    otherwise, until they are late.

    Args:
        actuators: each with a name of its own.
        settings: times and bounds.
        reports: what to call with events and outcomes, in the links' thread.
        report_state: told of every change of :meth:`line_state`, in the thread that has made it:
            name, reason, and whether it is only that links are being made for the first time. It
            must return at once and may raise nothing.
        clock: monotonic seconds.
        seed: of the jitter; None: another one each time.

    Attributes:
        report_errors: how often a function of ``reports`` raised, which is passed over.

    Raises:
        LineError: two links of one name.

    Example:
        >>> from beltsight.line.actuators.simulated import SimulatedActuator, SimulatedSettings
        >>> links = Links([SimulatedActuator(SimulatedSettings(), lambda time_s: 0)])
        >>> links.status()["plc"].state
        'connecting'
    """

    def __init__(
        self,
        actuators: Sequence[Actuator],
        settings: LinksSettings | None = None,
        reports: Reports | None = None,
        *,
        report_state: Callable[[StateName, str, bool], None] = lambda name, reason, is_new: None,
        clock: Callable[[], float] = time.monotonic,
        seed: int | None = None,
    ) -> None:
        self.settings = settings or LinksSettings()
        self.report_errors = 0
        self._reports = reports or Reports()
        self._report_state = report_state
        self._clock = clock
        rng = random.Random(seed)
        self._lives = {
            actuator.name: Life(actuator, self.settings, self, clock, rng) for actuator in actuators
        }
        if len(self._lives) < len(actuators):
            names = [actuator.name for actuator in actuators]
            raise LineError(f"each link needs a name of its own, got {names}")
        self._stated = LineState("starting")
        self._told: tuple[StateName, str] = ("starting", "")  # the state that was reported last
        self._told_lock = threading.Lock()
        self._fallen: str | None = None  # the reason for a safe state that waits for its reset
        self._ids: dict[str, None] = {}
        self._ids_lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; connections are made in it.

        Raises:
            LineError: started before.
        """
        if self._thread is not None:
            raise LineError("these links have been started before; make new ones to start again")
        self._thread = threading.Thread(target=self._run, name="beltsight-links", daemon=True)
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        """Tell every peer that answers to be safe, end all connections and the thread.

        Commands that still wait are ``refused``, those under way ``unknown``.
        """
        if self._thread is None:
            return
        self.state_line(replace(self._stated, name="stopped", reason="the line has stopped"))
        self._in_loop(self._end)
        self._thread.join(_CLOSE_S)

    def __enter__(self) -> Links:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, command: Command) -> bool:
        """Queue a command; never waits, whatever the peers do.

        Returns False where it is refused: the queue is full, the id was given before, or the links
        are not running. The outcome is reported in every case.

        Raises:
            LineError: no link of that name.
        """
        life = self._lives.get(command.link)
        if life is None:
            raise LineError(f"command {command.command_id}: no link {command.link!r}; "
                            f"{nearest(command.link, self._lives)}")  # fmt: skip
        with self._ids_lock:
            is_known = command.command_id in self._ids
            self._ids[command.command_id] = None
            if len(self._ids) > _KEPT_IDS:
                self._ids.pop(next(iter(self._ids)))
        if not is_known and len(life.waiting) < self.settings.queue and self._loop is not None:
            life.waiting.append(command)
            if self._in_loop(life.wake):
                return True
            life.waiting.remove(command)
        life.outcomes["refused"] += 1
        if not self._in_loop(lambda: self.settled(command, "refused")):
            self.settled(command, "refused")
        return False

    def state_line(self, state: LineState) -> None:
        """Say what the line does; every beat carries it, and a change goes out at once."""
        changed = state.name != self._stated.name
        self._stated = state
        if changed:
            self._in_loop(self._spread)
        self._tell()

    def reset(self) -> None:
        """Leave the safe state that a link has caused, where every link is up again."""
        self._in_loop(self._lift)

    def line_state(self) -> LineState:
        """What the beats say: the state that was given, or ``safe`` where a link is down."""
        return self._effective().state

    def status(self) -> Mapping[str, LinkStatus]:
        """Every link as it is now. A link whose thread hangs is down."""
        found = {name: life.status() for name, life in self._lives.items()}
        now_s = self._clock()
        bound_s = (_STUCK_BEATS * self.settings.beat_ms + self.settings.timeout_ms) / 1000
        for name, life in self._lives.items():
            silent_s = now_s - life.ticked_s
            if self._loop is not None and silent_s > bound_s:
                reason = f"the links' thread has not run for {silent_s:.1f} s"
                found[name] = replace(found[name], state="down", reason=reason)
        return found

    # What the links' lives call, in the loop.

    def may_send(self) -> bool:
        """Whether commands go out in this state."""
        return self.line_state().name in FIRING

    def changed(self, life: Life, reason: str) -> None:
        """A link has another state: the line's may follow, and all that answer hear of it."""
        if life.state == "down" and self.settings.recover == "reset":
            self._fallen = self._fallen or f"{life.name}: {reason}"
        self._spread()
        line = self.line_state().name
        self._report(
            self._reports.event, LinkEvent(life.name, life.state, reason, self._clock(), line)
        )
        self._tell()

    def settled(self, command: Command, outcome: SentOutcome) -> None:
        """A command has its outcome."""
        self._report(self._reports.outcome, command, outcome, self._clock())

    def acknowledged(self, life: Life, answer: Acknowledgement) -> None:
        """A peer said what became of a command."""
        self._report(self._reports.acknowledged, life.name, answer, self._clock())

    def is_late(self, command: Command) -> bool:
        """Whether a command's moment has passed; a question that fails counts as no."""
        return bool(self._report(self._reports.is_late, command))

    def _report(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception:
            # A display or log that fails must not end the links.
            self.report_errors += 1
            return None

    def _effective(self) -> _Effective:
        stated = self._stated
        if self.settings.safe == "stated" or stated.name not in FIRING:
            return _Effective(stated, stated.reason)
        # What has failed says more than what has not been there yet.
        lacking = [(life.state, life) for life in self._lives.values() if not life.is_up]
        if lacking:
            state, life = min(lacking, key=lambda one: one[0] == "connecting")
            cause = f"link {life.name!r} is {state}"
            safe = replace(stated, name="safe", reason=f"{cause}: {life.reason}")
            return _Effective(safe, cause, state == "connecting")
        if self._fallen is not None:
            cause = f"waits for a reset after: {self._fallen}"
            return _Effective(replace(stated, name="safe", reason=cause), cause)
        return _Effective(stated, stated.reason)

    def _tell(self) -> None:
        """Report the line's state where it has changed; any thread may call, after each change."""
        with self._told_lock:  # else two threads could report one change, or in the wrong order
            now = self._effective()
            if (now.state.name, now.cause) == self._told:
                return
            self._told = now.state.name, now.cause
            self._report(self._report_state, now.state.name, now.state.reason, now.is_new)

    def _spread(self) -> None:
        state = self.line_state()
        safe_reason = None if state.name in FIRING else state.reason or state.name
        for life in self._lives.values():
            life.wake()
            life.hurry(safe_reason)

    def _lift(self) -> None:
        if all(life.is_up for life in self._lives.values()):
            self._fallen = None
            self._spread()
            self._tell()

    def _end(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _in_loop(self, function: Callable[[], Any]) -> bool:
        loop = self._loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(function)
        except RuntimeError:  # closed meanwhile
            return False
        return True

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._loop = None
            self._ready.set()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(life.run()) for life in self._lives.values()]
        self._ready.set()
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(life.end() for life in self._lives.values()))
