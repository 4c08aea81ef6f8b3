"""The simulated camera: in its own time, in real time, and when it fails."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from beltsight.errors import CameraError, ConfigError
from beltsight.line.cameras import CameraCounts, EndOfFrames
from beltsight.line.simulate import Fault, SimulatedCamera, VirtualClock
from beltsight.records import Frame, Photo


def picture(time_s: float, number: int) -> Photo:
    return np.full((32, 40, 3), number % 200, np.uint8)


def camera(
    clock: Callable[[], float], *faults: Fault, end_s: float | None = None
) -> SimulatedCamera:
    return SimulatedCamera(
        picture, lambda t: round(1000 * t), clock, frames_per_s=10.0, exposure_s=0.001,
        faults=faults, end_s=end_s,
    )  # fmt: skip


def numbers(made: SimulatedCamera, until_s: float) -> list[int]:
    seen: list[int] = []
    while True:
        frame = made.read(0.1)
        if frame is None:
            continue
        assert frame.sequence is not None
        if frame.time_s > until_s:
            return seen
        seen.append(frame.sequence)


def test_on_a_virtual_clock_each_read_gives_the_next_frame_and_moves_time() -> None:
    clock = VirtualClock()
    made = camera(clock)
    frames = [made.read(1.0) for _ in range(4)]
    assert [one.time_s for one in frames if one] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [one.encoder_count for one in frames if one] == [0, 100, 200, 300]
    assert [one.sequence for one in frames if one] == [0, 1, 2, 3]
    assert clock() == pytest.approx(0.3)
    assert made.counts == CameraCounts(delivered=4)


def test_in_real_time_a_late_reader_loses_the_oldest() -> None:
    now = [0.0]
    made = camera(lambda: now[0])
    first = made.read(0.0)
    assert isinstance(first, Frame)
    assert made.read(0.0) is None  # the next is due at 0.1 s
    now[0] = 1.05
    after = [made.read(0.0) for _ in range(5)]
    assert [one.sequence if one else None for one in after] == [7, 8, 9, 10, None]
    assert made.counts == CameraCounts(delivered=5, dropped=6)


def test_lost_and_corrupt_frames_are_counted() -> None:
    lossy = camera(VirtualClock(), Fault("lose", 1.0, 2.0), Fault("corrupt", 3.0, 3.25))
    seen = numbers(lossy, 4.0)
    assert seen == [n for n in range(41) if n not in {*range(10, 20), 30, 31, 32}]
    assert lossy.counts.lost == 10
    assert lossy.counts.corrupt == 3


def test_a_share_of_frames_is_lost_the_same_each_time() -> None:
    lost = [numbers(camera(VirtualClock(), Fault("lose", 0, 100, 0.3)), 50.0) for _ in range(2)]
    assert lost[0] == lost[1]
    assert 0.6 < len(lost[0]) / 501 < 0.8


def test_a_stalled_camera_gives_nothing_in_time_and_comes_back() -> None:
    clock = VirtualClock()
    made = camera(clock, Fault("stall", 0.95, 2.0))
    for _ in range(10):
        assert made.read(0.5) is not None
    assert clock() == pytest.approx(0.9)
    assert made.read(0.5) is None
    assert clock() == pytest.approx(1.4)
    assert made.read(0.5) is None
    frame = made.read(0.5)
    assert frame is not None
    assert frame.sequence == 20
    assert made.counts.lost == 10


def test_a_broken_camera_stays_broken_until_it_is_over() -> None:
    clock = VirtualClock()
    fault = Fault("break", 0.5, 1.0)
    made = camera(clock, fault)
    for _ in range(5):
        assert made.read(0.2) is not None
    problems = 0
    frame = None
    while frame is None:
        try:
            frame = made.read(0.2)
        except CameraError:
            problems += 1
            made.close()
            made = camera(clock, fault)
    assert problems == 5
    assert frame.sequence == 10


def test_a_garbled_frame_is_delivered_with_rubbish_below() -> None:
    def ramp(time_s: float, number: int) -> Photo:
        return np.tile(np.arange(40, dtype=np.uint8)[None, :, None], (32, 1, 3))

    made = SimulatedCamera(ramp, lambda _: None, VirtualClock(), faults=(Fault("garble", 0, 1),))
    frame = made.read(0.1)
    assert frame is not None
    whole = ramp(0, 0)
    assert (frame.image[:8] == whole[:8]).all()
    assert (frame.image != whole).any()
    assert frame.encoder_count is None


def test_it_ends_and_closes() -> None:
    made = camera(VirtualClock(), end_s=0.25)
    with pytest.raises(EndOfFrames):
        for _ in range(4):
            made.read(1.0)
    assert made.counts.delivered == 3
    other = camera(VirtualClock())
    other.close()
    with pytest.raises(CameraError, match="closed"):
        other.read(1.0)


@pytest.mark.parametrize(
    ("kind", "from_s", "to_s", "share"),
    [("explode", 0, 1, 1), ("lose", 1, 1, 1), ("lose", 0, 1, 0), ("lose", 0, 1, 1.5)],
)
def test_faults_that_cannot_be_are_refused(
    kind: str, from_s: float, to_s: float, share: float
) -> None:
    with pytest.raises(ConfigError, match="fault"):
        Fault(kind, from_s, to_s, share)  # type: ignore[arg-type]
