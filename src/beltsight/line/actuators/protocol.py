"""What goes between the line and an actuator: commands, beats, states and acknowledgements."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Protocol, get_args, runtime_checkable

from pydantic import Field

from beltsight.config import NAME_PATTERN
from beltsight.strict import Strict

Timing = Literal["plc", "host"]
LinkState = Literal["connecting", "up", "degraded", "down"]
StateName = Literal["starting", "running", "degraded", "safe", "stopped"]
SentOutcome = Literal["sent", "late", "unknown", "refused"]
Acknowledged = Literal["fired", "late", "duplicate", "refused"]

# In the order of the numbers that protocols without text write: starting is 0, running 1, ...
LINE_STATES: tuple[StateName, ...] = get_args(StateName)
# In all others lanes stay closed.
FIRING: frozenset[StateName] = frozenset({"running", "degraded"})
LINK_STATES: tuple[LinkState, ...] = get_args(LinkState)
SENT_OUTCOMES: tuple[SentOutcome, ...] = get_args(SentOutcome)
ACKNOWLEDGED: tuple[Acknowledged, ...] = get_args(Acknowledged)
CONNECTING = "the link is being made"


@dataclass(frozen=True, slots=True)
class Command:
    """Open these lanes from one encoder count to another.

    Counts rise with the belt's forward motion. The peer fires on its own counter, which shows the
    raw counts; the others are for the host's books.

    Args:
        command_id: unique for ever (run id and number); a peer drops an id that it knows.
        item_id: the item of the run that it is for.
        link: name of the link that carries it.
        actuator: name of the valve bank or flap.
        lanes: indexes of the lanes to open, rising, from 0.
        fire_count: unwrapped count at which the effect is to reach the belt.
        end_count: unwrapped count at which it is to end; not before ``fire_count``.
        raw_fire_count: ``fire_count`` as the peer's own counter shows it.
        raw_end_count: ``end_count`` as the peer's own counter shows it.
        belt_position_mm: of the item.
        issued_s: monotonic time at which the command was made.
        pulse_ms: the shortest time to hold the lanes open.
        latency_ms: from switching the output to the effect on the belt. A peer that times the pulse
            switches this much earlier, by its own speed; 0 where ``fire_count`` has it in already.
        timing: ``plc``: the peer fires on its own counter. ``host``: the peer fires as soon as it
            has the command, for ``pulse_ms``; the counts are for its records only.
    """

    command_id: str
    item_id: int
    link: str
    actuator: str
    lanes: tuple[int, ...]
    fire_count: int
    end_count: int
    raw_fire_count: int
    raw_end_count: int
    belt_position_mm: float
    issued_s: float
    pulse_ms: float = 20.0
    latency_ms: float = 0.0
    timing: Timing = "plc"


@dataclass(frozen=True, slots=True)
class LineState:
    """What every beat tells the peer.

    Args:
        name: a peer fires in ``running`` and ``degraded`` only.
        reason: in words, for the PLC's panel; may be empty.
        raw_count: the encoder as the host last read it, for the peer to compare with its own.
        items: decided since the start of the run.
        commands: handed to the links since then.
        late: decisions that missed their window.
    """

    name: StateName
    reason: str = ""
    raw_count: int | None = None
    items: int = 0
    commands: int = 0
    late: int = 0


def greeting(state: LineState) -> LineState:
    """What a peer is told while its link is made: the state of the last beat, but never to fire.

    While a link is down the line may be safe, and the first beat after the connection tells.

    Example:
        >>> greeting(LineState("running", items=3)).name, greeting(LineState("starting")).name
        ('safe', 'starting')
    """
    if state.name not in FIRING:
        return state
    return replace(state, name="safe", reason=CONNECTING)


def signed_count(count: int) -> int:
    """A raw count for peers whose whole numbers are signed: the upper half of 64 bits is negative.

    Example:
        >>> signed_count(2**64 - 5), signed_count(-5), signed_count(2**63 - 1) == 2**63 - 1
        (-5, -5, True)
    """
    return (count + 2**63) % 2**64 - 2**63


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a peer says of a command, after it took it.

    Args:
        command_id: of the command.
        outcome: ``fired``; ``late``: its count had passed; ``duplicate``: known already;
            ``refused``: the peer is in its safe state, or knows no such actuator or lane.
        raw_count: the peer's counter then, or None where it does not tell.
    """

    command_id: str
    outcome: Acknowledged
    raw_count: int | None = None


@runtime_checkable
class Actuator(Protocol):
    """One peer: a PLC, a broker or a simulation.

    All methods are awaited in one event loop and raise :class:`beltsight.errors.LinkError`,
    whatever the peer or its library does, with the foreign error as cause. None may block the loop;
    any may be cancelled at any await, after which :meth:`connect` has to work. ``beat`` and some
    ``send`` may be awaited at the same time.
    """

    @property
    def name(self) -> str:
        """Name of the link, as commands carry it."""

    async def connect(self) -> None:
        """Reach the peer, check that it is the right one, and return when it has answered.

        Until a beat says so, the peer hears of no state in which it may fire (:func:`greeting`).
        Called again after any error; drops what is left of the former connection first. The caller
        limits the time. A peer that is reached but wrong (a node or register is missing, a login is
        refused) is a LinkError that says what was expected.
        """

    async def send(self, command: Command) -> None:
        """Hand a command over; returns when the peer has it.

        An error or a cancellation leaves open whether the peer has it: the caller never sends it
        again unless :meth:`known` tells that it has not.
        """

    async def known(self, command_ids: Collection[str]) -> frozenset[str] | None:
        """Which of these commands the peer has, or None where it cannot tell."""

    async def beat(self, state: LineState) -> tuple[Acknowledgement, ...]:
        """Write a rising number and the line's state, and check that the peer is alive.

        Returns what the peer acknowledged since the last beat; empty where it does not tell.
        """

    async def make_safe(self, reason: str) -> None:
        """Tell the peer to close everything and drop the commands that it holds.

        It goes on when a beat says ``running`` or ``degraded`` again.
        """

    async def close(self) -> None:
        """End the connection for good; never raises, and may be called in any state."""


class PeerSettings(Strict):
    """Settings that every kind of link has; each kind adds its own and narrows ``kind``.

    Args:
        kind: one of ``KINDS``.
        name: what actuators call it as their ``link``.
    """

    kind: str
    name: str = Field("plc", pattern=NAME_PATTERN, max_length=64)
