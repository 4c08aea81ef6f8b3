"""A camera that breaks is opened again, with pauses that grow; nothing is raised on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from beltsight.errors import CameraError
from beltsight.line.cameras import Camera, CameraCounts, EndOfFrames
from beltsight.line.supply import CameraChange, Supply, SupplySettings
from beltsight.records import Frame

STEADY = SupplySettings(wait_s=0.1, retry_first_s=1.0, retry_most_s=4.0, jitter=0.0)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        self.now_s += seconds


class Scripted:
    """A camera that gives what it is told: a frame, nothing, or an error."""

    name = "scripted"

    def __init__(self, script: list[object]) -> None:
        self.script = script
        self.closed = False
        self.delivered = 0

    @property
    def counts(self) -> CameraCounts:
        return CameraCounts(delivered=self.delivered, lost=1)

    def read(self, timeout_s: float) -> Frame | None:
        step = self.script.pop(0) if self.script else None
        if isinstance(step, Exception):
            raise step
        if step is None:
            return None
        self.delivered += 1
        return Frame(np.zeros((4, 4, 3), np.uint8), float(self.delivered))

    def close(self) -> None:
        self.closed = True


def supply(opened: list[object], clock: Clock) -> tuple[Supply, list[CameraChange]]:
    """Cameras or errors, one per attempt to open."""
    told: list[CameraChange] = []

    def open_camera() -> Camera:
        made = opened.pop(0)
        if isinstance(made, Exception):
            raise made
        assert isinstance(made, Scripted)
        return made

    opener: Callable[[], Camera] = open_camera
    return Supply(opener, STEADY, clock, clock.pause, told.append), told


def test_a_broken_camera_comes_back() -> None:
    clock = Clock()
    first, second = Scripted(["frame", None, CameraError("cable")]), Scripted(["frame"])
    cut = CameraError("still off")
    found, told = supply([first, cut, cut, second], clock)
    assert found.read() is not None and found.read() is None and found.is_open
    assert found.read() is None
    assert not found.is_open and found.losses == 1
    frames = 0
    while frames == 0:
        before_s = clock.now_s
        frames += found.read() is not None
        assert frames or clock.now_s > before_s or not found.is_open  # it never spins
    # Waits of 1, 2 and 4 seconds.
    assert clock.now_s == pytest.approx(7.0, abs=0.2)
    assert [change.is_back for change in told] == [False, True]
    assert told[0].text == "cable" and told[1].text == "after 3 attempts"
    assert found.counts == CameraCounts(delivered=2, lost=2)
    assert first.closed


def test_a_camera_that_opens_and_gives_nothing_is_not_back() -> None:
    clock = Clock()
    flapping = [Scripted([CameraError("no stream")]) for _ in range(3)]
    found, told = supply([Scripted([CameraError("cable")]), *flapping, Scripted(["frame"])], clock)
    while found.read() is None:
        pass
    # Waits of 1, 2, 4 and, at most, 4 seconds.
    assert clock.now_s == pytest.approx(11.0, abs=0.2)
    assert [change.text for change in told] == ["cable", "after 4 attempts"]
    assert found.losses == 1


def test_the_first_opening_must_work() -> None:
    with pytest.raises(CameraError, match="no such device"):
        supply([CameraError("no such device")], Clock())


def test_the_end_of_a_file_is_passed_on() -> None:
    found, told = supply([Scripted([EndOfFrames()])], Clock())
    with pytest.raises(EndOfFrames):
        found.read()
    assert told == []


class Slow:
    """A device that takes as long to open and to close as the test lets it."""

    def __init__(self, camera: Scripted) -> None:
        self.camera = camera
        self.may_go = threading.Event()
        self.opened = 0

    def open(self) -> Camera:
        self.opened += 1
        if self.opened > 1:
            assert self.may_go.wait(30)
        return self.camera


def read_until(found: Supply, true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end_s
        found.read()


def test_nobody_waits_for_a_device_that_is_slow_to_open() -> None:
    clock, slow = Clock(), Slow(Scripted([CameraError("cable")]))
    settings = STEADY.model_copy(update={"wait_s": 0.001})
    found = Supply(slow.open, settings, clock, clock.pause, lambda change: None)
    read_until(found, lambda: slow.opened == 2)
    began_s = time.monotonic()
    assert [found.read() for _ in range(10)] == [None] * 10
    assert time.monotonic() - began_s < 10  # without an end otherwise
    assert slow.opened == 2 and not found.is_open
    slow.may_go.set()
    read_until(found, lambda: found.is_open)
    found.close()
    assert slow.opened == 2


def test_a_camera_that_opens_after_the_end_is_let_go() -> None:
    clock, slow = Clock(), Slow(Scripted([CameraError("cable")]))
    settings = STEADY.model_copy(update={"wait_s": 0.001})
    found = Supply(slow.open, settings, clock, clock.pause, lambda change: None)
    read_until(found, lambda: slow.opened == 2)
    slow.camera.closed = False
    found.close()
    slow.may_go.set()
    end_s = time.monotonic() + 30
    while not slow.camera.closed:
        assert time.monotonic() < end_s
        time.sleep(0.001)
