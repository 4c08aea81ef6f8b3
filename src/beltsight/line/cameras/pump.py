"""A thread that reads a source, so that one that hangs never holds up the line."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from dataclasses import replace
from typing import Protocol

from beltsight.errors import BeltsightError, CameraError
from beltsight.line.cameras.camera import CameraCounts, Clock, Encoder, EndOfFrames
from beltsight.records import Frame

_CLOSE_S = 0.5
_SETTLE_FRAMES = 5


class NothingYet(Exception):  # noqa: N818  (no error)
    """A source has no frame now; the pump asks again, unless it was told to stop."""


class FrameSource(Protocol):
    """What a pump reads, in one thread: it may block, but for a bounded time only.

    ``lossless``: wait for the reader rather than drop frames (files).
    ``paced``: a frame is due at its own time, not before.
    """

    lossless: bool
    paced: bool

    def open(self) -> None:
        """Raises CameraError or ConfigError."""

    def next(self) -> Frame | None:
        """A frame, or None for one that cannot be decoded; NothingYet, CameraError, EndOfFrames."""

    def close(self) -> None:
        """Let go."""


class LossMeter:
    """Frames that never came, by the times of those that did.

    A late frame whose successors follow close behind is no loss, nor is a camera that runs a little
    slower than its nominal rate: only what is still behind after some frames counts.

    Example:
        >>> meter = LossMeter(10.0)
        >>> sum(meter.lost_at(n / 10) for n in range(20) if n not in (7, 8))
        2
    """

    def __init__(self, frames_per_s: float | None) -> None:
        self._rate = frames_per_s
        self._last: float | None = None
        self._behind = 0.0
        self._since = 0

    def came_corrupt(self) -> None:
        """A frame came in its turn, though nobody can say when."""
        if self._rate is not None and self._last is not None:
            self._last += 1 / self._rate

    def lost_at(self, time_s: float) -> int:
        """How many frames were found missing when this one came."""
        if self._rate is None:
            return 0
        if self._last is not None:
            step = (time_s - self._last) * self._rate - 1
            # A small leak, for clocks that differ by a little.
            self._behind = max(0.0, self._behind * (1.0 if abs(step) > 0.5 else 0.995) + step)
        self._last = time_s
        self._since = self._since + 1 if self._behind > 0.75 else 0
        if self._since < _SETTLE_FRAMES:
            return 0
        lost = round(self._behind)
        self._behind -= lost
        self._since = 0
        return lost


class PumpedCamera:
    """A camera that reads its source in a thread of its own.

    Args:
        source: opened, read and closed in that thread alone.
        name: shown in messages; without a password.
        queue_frames: how many frames wait at most.
        open_timeout_s: for the source to open.
        stall_s: without a frame for so long, ``read`` raises CameraError.
        clock: of paced sources.
        encoder: stamps frames of paced sources that have no count; live sources read it themselves.
        frames_per_s: nominal rate of a live source, to count what it loses.

    Raises:
        CameraError: the source does not open in time.
        ConfigError: it cannot be opened as it is set.
    """

    def __init__(
        self,
        source: FrameSource,
        *,
        name: str,
        queue_frames: int = 4,
        open_timeout_s: float = 5.0,
        stall_s: float = 2.0,
        clock: Clock = time.monotonic,
        encoder: Encoder | None = None,
        frames_per_s: float | None = None,
    ) -> None:
        self._name = name
        self._source = source
        self._size = queue_frames
        self._stall_s = stall_s
        self._clock = clock
        self._encoder = encoder
        self._loss = LossMeter(None if source.lossless else frames_per_s)
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._opened = False
        self._ended = False
        self._failure: BeltsightError | None = None
        self._counts = CameraCounts()
        self._expected: int | None = None
        self._last_came = time.monotonic()
        self._waits = False  # for the time of a paced frame
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)
        self._thread.start()
        self._await_opening(open_timeout_s)

    @property
    def name(self) -> str:
        """What people call it."""
        return self._name

    @property
    def counts(self) -> CameraCounts:
        """Frames delivered, dropped, lost and corrupt so far."""
        return self._counts

    def read(self, timeout_s: float) -> Frame | None:
        """See :class:`beltsight.line.cameras.Camera`."""
        with self._changed:
            self._changed.wait_for(self._has_news, max(0.0, timeout_s))
            if self._frames:
                frame = self._frames.popleft()
                self._count(delivered=1)
                self._changed.notify_all()
                return frame
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise EndOfFrames
            if self._stop.is_set():
                raise CameraError(f"{self._name} is closed; open it again to read on")
            silent_s = time.monotonic() - self._last_came
        if silent_s >= self._stall_s and not self._waits:
            raise CameraError(
                f"{self._name} has given no frame for {silent_s:.1f} s; check its power, cable and "
                "trigger; the line opens it again"
            )
        return None

    def close(self) -> None:
        """Let the source go; one that hangs is left to its thread, which ends when it answers."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def _has_news(self) -> bool:
        return bool(self._frames or self._ended or self._failure or self._stop.is_set())

    def _await_opening(self, timeout_s: float) -> None:
        with self._changed:
            came = self._changed.wait_for(lambda: self._opened or self._failure, timeout_s)
            failure = None if self._opened else self._failure
            self._last_came = time.monotonic()
        if failure is not None:
            self.close()  # else the process may end while the driver still lets go, and abort
            raise failure
        if not came:
            self.close()
            raise CameraError(
                f"{self._name} did not answer within {timeout_s:g} s; check that it is on and can "
                "be reached from this machine"
            )

    def _run(self) -> None:
        try:
            self._source.open()
            with self._changed:
                self._opened = True
                self._changed.notify_all()
            while not self._stop.is_set():
                with contextlib.suppress(NothingYet):
                    self._take(self._source.next())
        except EndOfFrames as end:
            self._finish(ended=True, corrupt=end.missing)
        except BeltsightError as error:
            self._finish(failure=error)
        except Exception as error:  # drivers raise anything
            reason = CameraError(
                f"{self._name} failed ({type(error).__name__}); check the camera and its driver"
            )
            reason.__cause__ = error
            self._finish(failure=reason)
        finally:
            # It is being given up anyway; what a broken driver says on the way is no news.
            with contextlib.suppress(Exception):
                self._source.close()

    def _finish(
        self, *, ended: bool = False, failure: BeltsightError | None = None, corrupt: int = 0
    ) -> None:
        with self._changed:
            self._ended, self._failure = ended, failure
            self._count(corrupt=corrupt)
            self._changed.notify_all()

    def _take(self, frame: Frame | None) -> None:
        if frame is None:
            with self._changed:
                self._count(corrupt=1)
                self._loss.came_corrupt()
                self._expected = None if self._expected is None else self._expected + 1
            return
        if self._source.paced:
            frame = self._when_due(frame)
        with self._changed:
            if self._source.lossless:
                self._changed.wait_for(
                    lambda: len(self._frames) < self._size or self._stop.is_set()
                )
            elif len(self._frames) >= self._size:
                self._frames.popleft()
                self._count(dropped=1)
            self._count(lost=self._lost_before(frame))
            self._frames.append(frame)
            self._last_came = time.monotonic()
            self._changed.notify_all()

    def _when_due(self, frame: Frame) -> Frame:
        self._waits = True
        self._stop.wait(max(0.0, frame.time_s - self._clock()))
        self._last_came, self._waits = time.monotonic(), False
        if self._encoder is None or frame.encoder_count is not None:
            return frame
        return replace(frame, encoder_count=self._encoder())

    def _lost_before(self, frame: Frame) -> int:
        lost = self._loss.lost_at(frame.time_s)
        if frame.sequence is not None:
            if self._expected is not None:
                lost += max(0, frame.sequence - self._expected)
            self._expected = frame.sequence + 1
        return lost

    def _count(
        self, *, delivered: int = 0, dropped: int = 0, lost: int = 0, corrupt: int = 0
    ) -> None:
        now = self._counts
        self._counts = CameraCounts(
            now.delivered + delivered, now.dropped + dropped, now.lost + lost, now.corrupt + corrupt
        )
