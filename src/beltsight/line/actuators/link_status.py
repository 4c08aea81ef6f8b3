"""What is told of links: how they are, and what became of their commands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from beltsight.line.actuators.protocol import (
    Acknowledgement,
    Command,
    LinkState,
    SentOutcome,
    StateName,
)


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """A link changed its state.

    Args:
        link: its name.
        state: the new one.
        reason: in words; empty where it came up.
        time_s: monotonic.
        line: state of the line that follows from it.
    """

    link: str
    state: LinkState
    reason: str
    time_s: float
    line: StateName


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """A link as it is now.

    Args:
        link: its name.
        state: of the link.
        reason: why it is not up, in words.
        quality: share of the last beats that were answered in time, 0 to 1.
        beats: answered since the start.
        downs: times that it went down.
        waiting: commands in its queue.
        outcomes: commands by what became of them.
        answer_ms: the longest of the last beats' answers.
        send_ms: the longest of the last commands' answers.
    """

    link: str
    state: LinkState
    reason: str
    quality: float
    beats: int
    downs: int
    waiting: int
    outcomes: dict[SentOutcome, int]
    answer_ms: float
    send_ms: float


@dataclass(frozen=True, slots=True)
class Reports:
    """Called in the links' thread: each must return at once and may raise nothing.

    Args:
        event: a link changed its state.
        outcome: what became of a command, and the monotonic time; once for every command.
        acknowledged: what a peer says of a command: link, acknowledgement, monotonic time.
        is_late: whether a command's moment has passed, so that it is dropped; asked before sending.
    """

    event: Callable[[LinkEvent], None] = lambda event: None
    outcome: Callable[[Command, SentOutcome, float], None] = lambda command, outcome, when: None
    acknowledged: Callable[[str, Acknowledgement, float], None] = lambda link, answer, when: None
    is_late: Callable[[Command], bool] = lambda command: False
