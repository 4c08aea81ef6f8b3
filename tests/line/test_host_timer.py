"""Pulses timed on this machine: never early, in order, and their errors told."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.line.actuators.peers import command

from beltsight.errors import LineError
from beltsight.line.actuators import Command
from beltsight.line.belt import BeltState
from beltsight.line.host_timer import HostTimer, HostTimerSettings, Jitter

PATIENCE_S = 30.0
SPEED_MM_S = 2500.0


def state(time_s: float, count: int, speed_mm_s: float = SPEED_MM_S) -> BeltState:
    moving: Any = "forward" if speed_mm_s > 0 else "reverse" if speed_mm_s < 0 else "stopped"
    return BeltState(time_s, count, count * 0.1, speed_mm_s, moving, False)


def at(number: int, count: int, latency_ms: float = 0.0) -> Command:
    return command(number, fire_count=count, timing="host", latency_ms=latency_ms)


class Belt:
    """Moves evenly by the real clock, and can be stopped."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self.stopped_at: int | None = None

    def count(self) -> int:
        if self.stopped_at is not None:
            return self.stopped_at
        return int((time.monotonic() - self.began_s) * SPEED_MM_S * 10)

    def __call__(self) -> BeltState:
        speed_mm_s = SPEED_MM_S if self.stopped_at is None else 0.0
        return state(time.monotonic(), self.count(), speed_mm_s)


class Fired:
    """Collects commands from the timer's thread."""

    def __init__(self, want: int) -> None:
        self.commands: list[tuple[Command, float]] = []
        self._want = want
        self._enough = threading.Event()

    def __call__(self, one: Command) -> None:
        self.commands.append((one, time.monotonic()))
        if len(self.commands) >= self._want:
            self._enough.set()

    def wait(self) -> None:
        assert self._enough.wait(PATIENCE_S)


def test_when_a_pulse_is_due() -> None:
    """2,500 counts are 250 mm: 100 ms at 2,500 mm/s, of which 30 have gone and 15 are latency."""
    timer = HostTimer(Belt(), 0.1, print)
    due_s = timer.due_in_s(at(1, 5000, 15.0), state(10.0, 2500), 10.030)
    assert due_s == pytest.approx(0.055)
    assert timer.due_in_s(at(1, 5000), state(10.0, 2500, 0.0), 10.0) is None
    assert timer.due_in_s(at(1, 5000), state(10.0, 2500, -500.0), 10.0) is None


def test_pulses_come_in_order_never_early_and_are_measured() -> None:
    belt, fired = Belt(), Fired(20)
    settings = HostTimerSettings(late_ms=1000)  # a busy machine is slow
    with HostTimer(belt, 0.1, fired, settings=settings) as timer:
        start = belt.count() + 2500
        for number in reversed(range(20)):
            assert timer.add(at(number, start + 250 * number))
        fired.wait()
        found = timer.jitter()
    assert [one.item_id for one, _ in fired.commands] == list(range(20))
    for one, when_s in fired.commands:
        assert when_s >= belt.began_s + one.fire_count / 10 / SPEED_MM_S
    assert found.pulses == 20
    assert found.p50_ms is not None and found.p99_ms is not None and found.worst_ms is not None
    assert 0 <= found.p50_ms <= found.p99_ms <= found.worst_ms + 1e-9
    print(f"host pulses: n 20, p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms, "
          f"worst {found.worst_ms:.2f} ms")  # fmt: skip


def test_a_longer_latency_comes_first() -> None:
    belt, fired = Belt(), Fired(2)
    with HostTimer(belt, 0.1, fired, settings=HostTimerSettings(late_ms=1000)) as timer:
        count = belt.count() + 7500
        timer.add(at(1, count))
        timer.add(at(2, count, 100.0))
        fired.wait()
    assert [one.item_id for one, _ in fired.commands] == [2, 1]
    assert fired.commands[1][1] - fired.commands[0][1] > 0.05


def test_a_stopped_belt_fires_nothing_until_it_goes_on() -> None:
    belt, fired = Belt(), Fired(1)
    belt.stopped_at = 1000
    with HostTimer(belt, 0.1, fired, settings=HostTimerSettings(late_ms=1000)) as timer:
        timer.add(at(1, 1100))
        time.sleep(0.03)  # it would have fired after 4 ms
        assert fired.commands == []
        belt.began_s, belt.stopped_at = time.monotonic() - 1000 / 25_000, None
        fired.wait()


@pytest.mark.parametrize(("doubtful", "age_s"), [(True, 0.0), (False, 1.0)])
def test_a_belt_that_is_doubtful_or_was_seen_long_ago_fires_nothing(
    doubtful: bool, age_s: float
) -> None:
    looks: list[int] = []
    looked, fired, late = threading.Event(), Fired(1), Fired(1)

    def belt() -> BeltState:
        looks.append(1)
        if len(looks) == 5:
            looked.set()
        return replace(state(time.monotonic() - age_s, 1000), doubtful=doubtful)

    settings = HostTimerSettings(late_ms=1000)
    with HostTimer(belt, 0.1, fired, late, settings) as timer:
        timer.add(at(1, 999 + round(age_s * SPEED_MM_S * 10)))  # just passed, at that speed
        assert looked.wait(PATIENCE_S)
    assert fired.commands == late.commands == []


def test_what_is_too_late_is_told_and_not_given() -> None:
    belt, fired, late = Belt(), Fired(1), Fired(1)
    belt.stopped_at = 50_000
    with HostTimer(lambda: state(time.monotonic(), 50_000), 0.1, fired, late) as timer:
        timer.add(at(1, 10_000))
        late.wait()
        assert timer.jitter() == Jitter(0, 1, None, None, None)
    assert fired.commands == []


def test_an_encoder_or_link_that_fails_does_not_end_it() -> None:
    belt, fired = Belt(), Fired(1)
    looks: list[int] = []

    def sometimes() -> BeltState:
        looks.append(1)
        if len(looks) == 1:
            raise OSError("no answer")
        return belt()

    def fire(one: Command) -> None:
        fired(one)
        raise RuntimeError("a link that fails")

    with HostTimer(sometimes, 0.1, fire, settings=HostTimerSettings(late_ms=1000)) as timer:
        timer.add(at(1, belt.count() + 500))
        fired.wait()
    assert timer.errors == 2


def test_its_queue_is_bounded_and_it_ends() -> None:
    belt = Belt()
    belt.stopped_at = 0
    timer = HostTimer(belt, 0.1, print, settings=HostTimerSettings(waiting=2))
    assert [timer.add(at(n, 100)) for n in range(3)] == [True, True, False]
    timer.start()
    with pytest.raises(LineError, match="started before"):
        timer.start()
    assert [one.command_id for one in timer.close()] == [at(n, 100).command_id for n in range(2)]
    assert timer.close() == ()
    assert not timer.add(at(4, 100))
    assert timer._thread is not None and not timer._thread.is_alive()
