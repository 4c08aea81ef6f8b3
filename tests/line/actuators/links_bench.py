"""Links around a peer whose every answer a test can spoil, with all that they report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

from tests.line.actuators.peers import PATIENCE_S, command

from beltsight.errors import LinkError
from beltsight.line.actuators import Acknowledgement, Actuator, Command, LineState
from beltsight.line.actuators.link import Links
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkEvent, Reports

RUNNING = LineState("running")
# For tests of what happens, not of when: a busy machine is slow.
PATIENT = {"timeout_ms": 5000, "connect_ms": 5000, "retry_first_ms": 5, "beat_ms": 10}


class Peer:
    """An actuator whose every answer a test can hold up or spoil."""

    def __init__(self, name: str = "plc") -> None:
        self.name = name
        self.taken: list[str] = []
        self.beats: list[str] = []
        self.safe: list[str] = []
        self.connects = 0
        self.closed = 0
        self.told: list[Acknowledgement] = []
        self.tells = True
        self.refuses: Exception | None = None
        self.hung = False  # nothing is answered
        self.deaf_to_cancel = False
        self.loses: str | None = None  # the answer to this command is lost: "before" or "after"
        self.sending = 0
        self.most_sending = 0
        self.send_s = 0.0

    async def connect(self) -> None:
        await self._answer()
        if self.refuses is not None:
            raise self.refuses
        self.connects += 1

    async def send(self, one: Command) -> None:
        self.sending += 1
        self.most_sending = max(self.sending, self.most_sending)
        try:
            await self._answer()
            await asyncio.sleep(self.send_s)
            lost, self.loses = self.loses, None
            if lost != "before":
                self.taken.append(one.command_id)
            if lost is not None:
                raise LinkError("the connection was reset")
        finally:
            self.sending -= 1

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        await self._answer()
        return frozenset(self.taken) & frozenset(command_ids) if self.tells else None

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        await self._answer()
        self.beats.append(state.name)
        told, self.told = tuple(self.told), []
        return told

    async def make_safe(self, reason: str) -> None:
        await self._answer()
        self.safe.append(reason)

    async def close(self) -> None:
        self.closed += 1

    async def _answer(self) -> None:
        while self.hung:
            try:
                await asyncio.sleep(0.002)
            except asyncio.CancelledError:
                if not self.deaf_to_cancel:
                    raise


class Line:
    """Links with all their reports."""

    def __init__(self, *actuators: Actuator, **settings: Any) -> None:
        self.events: list[LinkEvent] = []
        self.outcomes: dict[str, list[str]] = {}
        self.answers: list[tuple[str, Acknowledgement]] = []
        self.late: set[str] = set()
        self.settled_s: dict[str, float] = {}
        reports = Reports(
            self.events.append,
            self._settled,
            lambda link, answer, when: self.answers.append((link, answer)),
            lambda one: one.command_id in self.late,
        )
        values = {**PATIENT, **settings}
        self.links = Links(actuators, LinksSettings.model_validate(values), reports, seed=1)

    def _settled(self, one: Command, outcome: str, when_s: float) -> None:
        self.outcomes.setdefault(one.command_id, []).append(outcome)
        self.settled_s[one.command_id] = when_s

    def state(self, name: str = "plc") -> str:
        return self.links.status()[name].state

    def is_up(self, name: str = "plc") -> bool:
        return self.state(name) in ("up", "degraded")


@contextmanager
def line(*actuators: Actuator, up: bool = True, **settings: Any) -> Iterator[Line]:
    made = Line(*actuators, **settings)
    with made.links:
        made.links.state_line(RUNNING)
        if up:
            until(lambda: all(made.is_up(one.name) for one in actuators))
        yield made


def until(true: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.001)


def one(number: int, link: str = "plc", **changes: Any) -> Command:
    return command(number, link=link, issued_s=time.monotonic(), **changes)
