"""What links over a broker share: one session, what the peer has said, and beats in turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Collection
from typing import Any

from beltsight.errors import LinkError
from beltsight.line.actuators.broker import Note, Session
from beltsight.line.actuators.protocol import (
    ACKNOWLEDGED,
    Acknowledgement,
    Command,
    LineState,
)

_MOST_KEPT = 10_000
_LONGEST_ID = 200


class Taken:
    """What the peer says of commands: which it has, and what became of them. Bounded."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._outcomes: deque[Acknowledgement] = deque(maxlen=_MOST_KEPT)

    def __contains__(self, command_id: str) -> bool:
        return command_id in self._ids

    def add(self, command_id: Any, outcome: Any = None, raw_count: Any = None) -> None:
        """The peer has a command, and where it says so, what it did with it.

        Raises:
            ValueError: not an id, an outcome or a count.
        """
        if not isinstance(command_id, str) or not 0 < len(command_id) <= _LONGEST_ID:
            raise ValueError(f"expected a command's id, got {command_id!r:.40}")
        if outcome is not None and outcome not in ACKNOWLEDGED:
            raise ValueError(f"expected one of {', '.join(ACKNOWLEDGED)}, got {outcome!r:.40}")
        if raw_count is not None and type(raw_count) is not int:
            raise ValueError(f"expected raw_count as an integer, got {raw_count!r:.40}")
        self._ids[command_id] = None
        if len(self._ids) > _MOST_KEPT:
            self._ids.popitem(last=False)
        if outcome is not None:
            self._outcomes.append(Acknowledgement(command_id, outcome, raw_count))

    def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """These commands where the peer has said of each that it has it, else None."""
        ids = frozenset(command_ids)
        return ids if ids <= self._ids.keys() else None

    def drain(self) -> tuple[Acknowledgement, ...]:
        """The outcomes since the last call."""
        outcomes = tuple(self._outcomes)
        self._outcomes.clear()
        return outcomes


class BrokerLink(ABC):
    """The base of links over a broker, which is not the peer: what counts is what the peer answers.

    Args:
        name: of the link.
        kind: in messages, e.g. ``mqtt``.
    """

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._told_as = f"{kind} link {name!r}"
        self._session: Session | None = None
        self._state = LineState("starting")
        self._beats = 0
        self._taken = Taken()

    @property
    def name(self) -> str:
        """Name of the link, as commands carry it."""
        return self._name

    async def send(self, command: Command) -> None:
        """Publish a command and wait until the peer says that it has it.

        Raises:
            LinkError: not connected, the connection broke, or the peer's answer is unreadable.
        """
        session = self._connected()
        if command.command_id in self._taken:
            return
        async with session.answers.expected(f"command {command.command_id}") as answer:
            await self._publish_command(session, command)
            await answer

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """These commands where the peer has acknowledged all of them; it cannot be asked.

        Raises:
            LinkError: not connected.
        """
        self._connected()
        return self._taken.known(command_ids)

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        """Publish a rising number with the line's state, and wait until the peer returns it.

        Raises:
            LinkError: not connected, the connection broke, or the peer's answer is unreadable.
        """
        self._state = state
        await self._beat_once(state)
        return self._taken.drain()

    @abstractmethod
    async def _publish_command(self, session: Session, command: Command) -> None:
        """Publish a command that the peer has not acknowledged."""

    @abstractmethod
    async def _publish_beat(self, session: Session, beat: int, state: LineState) -> None:
        """Publish a beat."""

    async def _beat_once(self, state: LineState) -> None:
        session = self._connected()
        self._beats += 1
        beat = self._beats
        async with session.answers.expected(f"beat {beat}") as answer:
            await self._publish_beat(session, beat, state)
            await answer

    async def _end(self, last: Note | None) -> None:
        session, self._session = self._session, None
        if session:
            await session.close(last)

    async def _give_up(self) -> None:
        """Let go of a session that has failed; the broker tells by its will that it is gone."""
        session, self._session = self._session, None
        if session:
            await session.give_up()

    def _connected(self) -> Session:
        if self._session is None:
            raise LinkError(f"{self._told_as}: not connected; connect first")
        return self._session
