"""A source in a thread: order, losses, stalls and ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from beltsight.errors import CameraError
from beltsight.line.cameras import CameraCounts, EndOfFrames
from beltsight.line.cameras.pump import LossMeter, PumpedCamera
from beltsight.records import Frame

IMAGE = np.zeros((8, 8, 3), np.uint8)


def frame(number: int | None, time_s: float = 0.0) -> Frame:
    return Frame(IMAGE, time_s, None, number)


class Script:
    """A source that does what it is told: a frame, None, an exception, or a wait for an event."""

    def __init__(self, *steps: object, lossless: bool = False, paced: bool = False) -> None:
        self.steps: Iterator[object] = iter(steps)
        self.lossless, self.paced = lossless, paced
        self.closed = threading.Event()
        self.done = threading.Event()

    def open(self) -> None:
        pass

    def next(self) -> Frame | None:
        step = next(self.steps, EndOfFrames())
        if isinstance(step, threading.Event):
            step.wait(10)
            return self.next()
        if isinstance(step, Exception):
            self.done.set()
            raise step
        assert step is None or isinstance(step, Frame)
        return step

    def close(self) -> None:
        self.closed.set()


def pumped(source: Script, **settings: float) -> PumpedCamera:
    return PumpedCamera(source, name="cam", **settings)  # type: ignore[arg-type]


def test_a_camera_keeps_the_newest_frames_and_counts_the_rest() -> None:
    source = Script(*(frame(n) for n in range(10)))
    camera = pumped(source, queue_frames=3)
    assert source.done.wait(5)
    time.sleep(0.01)
    seen = [camera.read(1.0) for _ in range(3)]
    assert [one.sequence for one in seen if one] == [7, 8, 9]
    assert camera.counts == CameraCounts(delivered=3, dropped=7)
    with pytest.raises(EndOfFrames):
        camera.read(1.0)
    assert source.closed.wait(5)


def test_a_file_drops_nothing() -> None:
    camera = pumped(Script(*(frame(n) for n in range(20)), lossless=True), queue_frames=2)
    seen = []
    with pytest.raises(EndOfFrames):
        while True:
            seen.append(camera.read(5.0))
    assert [one.sequence for one in seen if one] == list(range(20))
    assert camera.counts.dropped == 0


def test_gaps_in_the_numbering_are_losses_and_corrupt_frames_are_not() -> None:
    source = Script(frame(5), frame(6), None, frame(8), frame(12), lossless=True)
    camera = pumped(source, queue_frames=8)
    assert source.done.wait(5)
    for _ in range(4):
        assert camera.read(1.0) is not None
    # 7 was corrupt; 9, 10 and 11 never came.
    assert camera.counts == CameraCounts(delivered=4, lost=3, corrupt=1)


def test_a_corrupt_frame_of_a_camera_is_not_lost_as_well() -> None:
    meter = LossMeter(10.0)
    lost = 0
    for number in range(40):
        if number in (7, 8, 20):
            meter.came_corrupt()
        elif number != 30:
            lost += meter.lost_at(number / 10)
    assert lost == 1


def test_missing_frames_of_a_file_are_corrupt() -> None:
    camera = pumped(Script(frame(0), EndOfFrames(missing=4), lossless=True))
    assert camera.read(1.0) is not None
    with pytest.raises(EndOfFrames):
        camera.read(1.0)
    assert camera.counts.corrupt == 4


def test_a_stalled_source_blocks_no_longer_than_asked_and_then_counts_as_broken() -> None:
    go_on = threading.Event()
    camera = pumped(Script(frame(0), go_on), stall_s=0.2)
    assert camera.read(1.0) is not None
    started = time.monotonic()
    assert camera.read(0.05) is None
    assert 0.04 < time.monotonic() - started < 2.0
    with pytest.raises(CameraError, match=r"no frame for .* s; check its power"):
        for _ in range(100):
            camera.read(0.05)
    started = time.monotonic()
    camera.close()  # the source still hangs
    assert time.monotonic() - started < 2.0
    go_on.set()


def test_whatever_a_driver_raises_becomes_one_error_without_its_words() -> None:
    camera = pumped(Script(frame(0), RuntimeError("rtsp://u:hunter2@h")))
    assert camera.read(1.0) is not None
    with pytest.raises(CameraError, match="RuntimeError") as caught:
        camera.read(1.0)
    assert "hunter2" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_source_that_does_not_open_in_time_is_given_up() -> None:
    hold = threading.Event()

    class Slow(Script):
        def open(self) -> None:
            hold.wait(10)

    started = time.monotonic()
    with pytest.raises(CameraError, match=r"did not answer within 0.1 s"):
        pumped(Slow(), open_timeout_s=0.1)
    assert time.monotonic() - started < 3
    hold.set()


def test_a_source_that_cannot_be_opened_is_let_go_before_it_is_said() -> None:
    let_go = threading.Event()

    class Refusing(Script):
        def open(self) -> None:
            raise CameraError("no such camera")

        def close(self) -> None:
            time.sleep(0.2)  # as a driver does; a process that ends meanwhile would abort
            let_go.set()

    with pytest.raises(CameraError, match="no such camera"):
        pumped(Refusing())
    assert let_go.is_set()


def test_reading_a_closed_camera_says_so() -> None:
    camera = pumped(Script(threading.Event()))
    camera.close()
    camera.close()
    with pytest.raises(CameraError, match="closed"):
        camera.read(0.1)


def test_a_paced_frame_comes_when_it_is_due_with_the_count_of_then() -> None:
    now = [100.0]
    counts = iter([11, 22])
    source = Script(
        frame(0, 100.0), replace(frame(1, 99.0), encoder_count=7), lossless=True, paced=True
    )
    camera = PumpedCamera(source, name="cam", clock=lambda: now[0], encoder=lambda: next(counts))
    first, second = camera.read(1.0), camera.read(1.0)
    assert first and second
    assert (first.encoder_count, second.encoder_count) == (11, 7)


def test_a_frame_that_is_not_due_yet_is_waited_for_and_no_stall() -> None:
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return 100.0

    source = Script(frame(0, 3700.0), lossless=True, paced=True)
    camera = PumpedCamera(source, name="cam", clock=clock, stall_s=0.0)
    assert asked.wait(10)
    assert camera.read(0.01) is None
    camera.close()


def test_lost_frames_by_time_are_told_from_late_ones_and_from_a_slow_clock() -> None:
    def lost(times: list[float]) -> int:
        meter = LossMeter(30.0)
        return sum(meter.lost_at(time_s) for time_s in times)

    steady = [n / 30 for n in range(300)]
    assert lost(steady) == 0
    assert lost([n / 29.97 for n in range(20_000)]) == 0  # a camera a thousandth slower
    assert lost([t for n, t in enumerate(steady) if n not in (50, 120, 121, 122)]) == 4
    held = [max(t, 52 / 30) if 50 <= n < 53 else t for n, t in enumerate(steady)]
    assert lost(held) == 0  # three come at once, late
    rng = np.random.default_rng(0)
    assert lost([t + 0.004 * rng.random() for t in steady]) == 0
    assert LossMeter(None).lost_at(5.0) == 0
