"""A camera that breaks is opened again, with pauses that grow; nothing is raised on the way."""

from __future__ import annotations

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
    assert first.closed and not found.is_open and found.losses == 1
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


def test_the_first_opening_must_work() -> None:
    with pytest.raises(CameraError, match="no such device"):
        supply([CameraError("no such device")], Clock())


def test_the_end_of_a_file_is_passed_on() -> None:
    found, told = supply([Scripted([EndOfFrames()])], Clock())
    with pytest.raises(EndOfFrames):
        found.read()
    assert told == []
