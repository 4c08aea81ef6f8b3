"""What the log tells of the line's state, of its links and of its commands."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import pytest
from tests.line.actuators.links_bench import PATIENT, RUNNING, Peer, one, until

from beltsight.errors import LinkError
from beltsight.line.actuators import Acknowledgement, LineState
from beltsight.line.actuators.link import Links
from beltsight.line.actuators.link_settings import LinksSettings
from beltsight.line.actuators.link_status import LinkEvent, Reports
from beltsight.line.actuators.protocol import LinkState, StateName
from beltsight.line.deciding import Clocks
from beltsight.line.figures import FigureBook
from beltsight.line.reporting import Reporter
from beltsight.store import CommandRow, EventRow, Row


class Kept:
    """A log in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def append(self, rows: Sequence[Row], on_committed: Callable[[range], None]) -> None:
        self.rows += rows

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(row.event, row.severity) for row in self.rows if isinstance(row, EventRow)]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(name, level) for name, level in self.events if name.startswith("state-")]


class Logged:
    """Links that report to a log, by a clock of the line's own."""

    def __init__(self, *peers: Peer, **settings: object) -> None:
        self.log = Kept()
        self.reporter = Reporter(
            self.log, "run1", Clocks(lambda: 7.5, lambda: 1e9), FigureBook()
        )  # fmt: skip
        reports = Reports(
            event=self.reporter.link,
            outcome=self.reporter.outcome,
            acknowledged=self.reporter.acknowledged,
        )
        self.links = Links(
            peers, LinksSettings.model_validate({**PATIENT, **settings}), reports,
            report_state=self.reporter.state,
        )  # fmt: skip

    def state(self) -> str:
        return self.links.line_state().name


def test_a_line_whose_link_was_never_up_is_told_as_safe_and_never_as_running() -> None:
    peer = Peer()
    peer.refuses = LinkError("nobody there")
    made = Logged(peer)
    with made.links:
        made.links.state_line(LineState("starting", "no frame yet"))
        until(lambda: made.links.status()["plc"].state == "down")
        for items in range(5):  # each frame says it anew
            made.links.state_line(LineState("running", items=items))
        told = made.log.rows[-1]
    assert made.log.states == [
        ("state-starting", "info"), ("state-safe", "error"), ("state-stopped", "info"),
    ]  # fmt: skip
    assert isinstance(told, EventRow) and told.text == "link 'plc' is down: nobody there"


def test_attempts_with_another_reason_each_are_one_state() -> None:
    attempts: list[int] = []

    class Odd(Peer):
        async def connect(self) -> None:
            attempts.append(1)
            raise LinkError(f"attempt {len(attempts)}")

    made = Logged(Odd(), retry_most_ms=5)
    with made.links:
        until(lambda: len(attempts) > 5)
        for _ in range(20):
            seen = len(attempts)
            made.links.state_line(RUNNING)
            until(lambda: len(attempts) > seen)  # noqa: B023
    assert made.log.states == [("state-safe", "error"), ("state-stopped", "info")]


def test_a_link_that_falls_and_comes_back_changes_the_lines_state() -> None:
    peer = Peer()
    made = Logged(peer, recover="reset")
    with made.links:
        until(lambda: made.links.status()["plc"].state == "up")
        made.links.state_line(RUNNING)
        peer.refuses, peer.loses = LinkError("gone"), "before"
        until(lambda: made.state() == "running" and peer.beats[-1] == "running")
        made.links.submit(one(1))
        until(lambda: made.links.status()["plc"].state == "down")
        peer.refuses = None
        until(lambda: made.links.status()["plc"].state == "up")
        until(lambda: len(made.log.states) == 3)  # it waits for its reset
        made.links.reset()
        until(lambda: made.state() == "running")
    running, safe = ("state-running", "info"), ("state-safe", "error")
    assert made.log.states == [running, safe, safe, running, ("state-stopped", "info")]
    assert made.log.events.index(("link-down", "error")) < made.log.events.index(safe)


def test_a_line_that_waits_for_its_first_connection_is_no_alarm() -> None:
    peer = Peer()
    peer.hung = True
    made = Logged(peer)
    with made.links:
        made.links.state_line(RUNNING)
        assert made.state() == "safe"
        peer.hung = False
        until(lambda: made.state() == "running")
    assert made.log.states == [
        ("state-safe", "info"), ("state-running", "info"), ("state-stopped", "info"),
    ]  # fmt: skip
    assert not [one for one in made.log.events if one[1] == "error"]


def test_a_change_that_two_threads_see_is_told_once() -> None:
    told: list[StateName] = []

    def slowly(name: StateName, reason: str, is_new: bool) -> None:
        time.sleep(0.01)
        told.append(name)

    links = Links([], report_state=slowly)
    threads = [threading.Thread(target=links.state_line, args=(RUNNING,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["running"]


def test_an_orderly_end_is_no_alarm() -> None:
    made = Logged(Peer())
    with made.links:
        made.links.state_line(RUNNING)
        until(lambda: made.state() == "running")
    assert made.links.status()["plc"].reason == "closed"
    assert made.log.events[-1] == ("link-down", "info")
    assert {severity for _, severity in made.log.events} == {"info"}


@pytest.mark.parametrize(
    ("state", "reason", "line", "severity"),
    [
        ("down", "closed", "stopped", "info"),
        ("down", "closed", "safe", "error"),  # a peer's own word for it
        ("down", "a beat was not answered", "stopped", "error"),
        ("degraded", "beats were missed", "running", "warning"),
    ],
)
def test_how_grave_a_links_change_is(
    state: LinkState, reason: str, line: StateName, severity: str
) -> None:
    made = Logged()
    made.reporter.link(LinkEvent("plc", state, reason, 0.0, line))
    assert made.log.events == [(f"link-{state}", severity)]


def test_a_link_that_was_not_up_keeps_its_reason_when_the_line_ends() -> None:
    never, lost = Peer("never"), Peer("lost")
    never.refuses = LinkError("nobody there")
    made = Logged(never, lost, safe="stated")
    with made.links:
        made.links.state_line(RUNNING)
        until(lambda: made.links.status()["lost"].state == "up")
        lost.refuses, lost.loses = LinkError("gone"), "before"
        made.links.submit(one(1, "lost"))
        until(lambda: made.links.status()["lost"].reason == "gone")
        until(lambda: made.links.status()["never"].state == "down")
    reasons = {name: status.reason for name, status in made.links.status().items()}
    assert reasons == {"never": "nobody there", "lost": "gone"}


def test_rows_of_commands_have_the_lines_own_clock() -> None:
    peer = Peer()
    made = Logged(peer)
    with made.links:
        made.links.state_line(RUNNING)
        made.reporter.submitted(one(1))
        peer.told = [Acknowledgement("run1-1", "fired", 42)]
        made.links.submit(one(1))
        until(lambda: len([row for row in made.log.rows if isinstance(row, CommandRow)]) == 2)
    times = {(r.outcome, r.monotonic_s) for r in made.log.rows if isinstance(r, CommandRow)}
    assert times == {("fired", 7.5), ("sent", 7.5)}
