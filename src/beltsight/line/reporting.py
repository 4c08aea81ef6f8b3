"""What happened on the line, as rows of its log: events, and what became of commands."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from beltsight.errors import StoreError
from beltsight.line.actuators.life import CLOSED
from beltsight.line.actuators.link_status import LinkEvent
from beltsight.line.actuators.protocol import Acknowledgement, Command, SentOutcome
from beltsight.line.command_rows import command_row
from beltsight.line.deciding import Clocks, Log
from beltsight.line.figures import FigureBook
from beltsight.line.health import Health
from beltsight.line.supply import CameraChange
from beltsight.store.rows import EventRow, Row

_KEPT = 65_536


class Reporter:
    """Writes rows; any thread may call, and nothing is raised.

    Args:
        log: keeps rows.
        run_id: of the run.
        clocks: both times.
        figures: counts commands.

    Attributes:
        unlogged: rows that the log did not take.
        settled: commands that have their outcome.
        refused_frames: that could not be used.
        failures: items that could not be decided.
    """

    def __init__(self, log: Log, run_id: str, clocks: Clocks, figures: FigureBook) -> None:
        self.unlogged = 0
        self.settled = 0
        self.refused_frames = 0
        self.failures = 0
        self._refusal = ""
        self._log = log
        self._run_id = run_id
        self._clocks = clocks
        self._figures = figures
        self._commands: dict[str, Command] = {}
        self._commands_lock = threading.Lock()
        self._health = Health()

    def event(
        self, kind: str, severity: str = "info", text: str = "", data: Mapping[str, Any] = {}
    ) -> None:
        """Something happened; ``kind`` such as ``line-up``, see :class:`EventRow`."""
        self._add(
            EventRow(
                run_id=self._run_id, wall_s=self._clocks.wall_s(),
                monotonic_s=self._clocks.monotonic_s(), event=kind, severity=severity,
                text=text[:2000], data=dict(data),
            )
        )  # fmt: skip

    def health(self, health: Health) -> None:
        """The line's health now; its changes are events."""
        before, self._health = self._health, health
        if health.level == before.level and health.why == before.why:
            return
        severity = {"good": "info", "warning": "warning", "fault": "error"}[health.level]
        values = {r.name: r.value for r in health.readings.values() if r.level != "good"}
        self.event(f"health-{health.level}", severity, health.why, {"readings": values})

    def state(self, name: str, reason: str, is_new: bool = False) -> None:
        """The line's state has changed; ``is_new`` where its links are only being made."""
        severity = {"degraded": "warning", "safe": "error"}.get(name, "info")
        severity = "info" if is_new else severity
        self.event(f"state-{name}", severity, reason)

    def frame(self, why: str) -> None:
        """A frame could not be used; the same again is not told again."""
        self.refused_frames += 1
        if why != self._refusal:
            self._refusal = why
            self.event("frame-refused", "warning", why)

    def failure(self, item_id: int, error: Exception) -> None:
        """An item could not be decided."""
        self.failures += 1
        text = f"item {item_id}: {type(error).__name__}: {error}"
        self.event("decision-failed", "error", text)

    def camera(self, change: CameraChange) -> None:
        """A camera was lost or came back."""
        if change.is_back:
            self.event("camera-back", "info", change.text)
        else:
            self.event("camera-lost", "error", change.text)

    def link(self, event: LinkEvent) -> None:
        """A link changed its state; that it ends with the line is no alarm."""
        severity = {"up": "info", "degraded": "warning"}.get(event.state, "error")
        if event.line == "stopped" and event.reason == CLOSED:
            severity = "info"
        text = f"{event.link} is {event.state}" + (f": {event.reason}" if event.reason else "")
        self.event(f"link-{event.state}", severity, text, {"line": event.line})

    def submitted(self, command: Command) -> None:
        """A command is about to leave: its peer may answer before it counts as sent."""
        with self._commands_lock:
            if len(self._commands) >= _KEPT:
                self._commands.pop(next(iter(self._commands)))
            self._commands[command.command_id] = command

    def outcome(self, command: Command, outcome: SentOutcome, when_s: float) -> None:
        """What became of a command.

        ``when_s`` is the links' own; in a simulation that is another clock than the rows have.
        """
        self._figures.add_command(outcome, command.item_id)
        self.settled += 1
        self._add(self._command_row(command, outcome))

    def acknowledged(self, link: str, answer: Acknowledgement, when_s: float) -> None:
        """What a peer says of a command that it took; ``when_s`` as of :meth:`outcome`."""
        with self._commands_lock:
            command = self._commands.get(answer.command_id)
        if command is None:
            self.event("unknown-command", "warning", f"{link}: {answer.command_id}")
            return
        known = {"fired": "fired", "late": "late"}.get(answer.outcome, "refused")
        self._figures.add_command(f"peer: {answer.outcome}", command.item_id)
        text = f"{link}: {answer.outcome}"
        if answer.raw_count is not None:
            text += f" at count {answer.raw_count}"
        self._add(self._command_row(command, known, text))

    def _command_row(self, command: Command, outcome: str, text: str = "") -> Row:
        times_s = self._clocks.monotonic_s(), self._clocks.wall_s()
        return command_row(command, outcome, self._run_id, times_s, text)

    def _add(self, row: Row) -> None:
        try:
            self._log.append([row], _ignore)
        except StoreError:
            self.unlogged += 1


def _ignore(ids: range) -> None:
    """Nothing waits for these rows."""
