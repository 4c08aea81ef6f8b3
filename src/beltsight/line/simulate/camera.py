"""A camera over the simulated belt, and what can go wrong with it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from beltsight.errors import CameraError, ConfigError
from beltsight.line.cameras import CameraCounts, EndOfFrames
from beltsight.line.simulate.motion import VirtualClock
from beltsight.records import Frame, Photo

FaultKind = Literal["stall", "lose", "corrupt", "garble", "break"]
_KINDS = ("stall", "lose", "corrupt", "garble", "break")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the camera for a while.

    Args:
        kind: ``stall``: it gives nothing. ``lose``: frames do not arrive, their numbers are
            missing. ``corrupt``: frames arrive and cannot be decoded. ``garble``: frames are
            delivered with rubbish in their lower part. ``break``: reading raises CameraError, and a
            camera that is opened meanwhile does so, too.
        from_s, to_s: when, in seconds since the belt started.
        share: of the frames of that time, for ``lose``, ``corrupt`` and ``garble``.
    """

    kind: FaultKind
    from_s: float
    to_s: float
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in _KINDS or not (self.from_s < self.to_s and 0 < self.share <= 1):
            raise ConfigError(
                f"a fault is one of {', '.join(_KINDS)}, from a time to a later one, for a share "
                f"over 0 and up to 1, got {self}"
            )


class SimulatedCamera:
    """See :class:`beltsight.line.cameras.Camera`.

    In real time a frame comes when it is due; a reader that is late finds the newest few, and the
    others are counted as dropped. On a :class:`VirtualClock` each read gives the next frame at once
    and moves the clock to it.

    Args:
        picture: (time, number of the frame) -> what the belt looks like.
        count_at: time -> raw encoder count, latched at exposure.
        clock: seconds since the belt started.
        frames_per_s: rate.
        exposure_s: stamped on frames.
        faults: that are planned.
        queue_frames: how many frames wait at most.
        seed: decides which frames a fault takes.
        end_s: time of the last frame at most; then EndOfFrames.
    """

    name = "simulated camera"

    def __init__(
        self,
        picture: Callable[[float, int], Photo],
        count_at: Callable[[float], int | None],
        clock: Callable[[], float],
        *,
        frames_per_s: float = 30.0,
        exposure_s: float | None = None,
        faults: tuple[Fault, ...] = (),
        queue_frames: int = 4,
        seed: int = 0,
        end_s: float | None = None,
    ) -> None:
        self._picture = picture
        self._count_at = count_at
        self._clock = clock
        self._rate = frames_per_s
        self._exposure_s = exposure_s
        self._faults = faults
        self._queue = queue_frames
        self._seed = seed
        self._closed = threading.Event()
        self._counts = CameraCounts()
        self._end_s = end_s
        # A camera that is opened while the belt runs begins with the next frame.
        self._next = math.ceil(clock() * frames_per_s - 1e-9)

    @property
    def counts(self) -> CameraCounts:
        """Frames delivered, dropped, lost and corrupt so far."""
        return self._counts

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None where none came in time.

        Raises:
            CameraError: it is closed, or a fault has broken it.
            EndOfFrames: the time is over.
        """
        deadline_s = self._clock() + max(0.0, timeout_s)
        while True:
            if self._closed.is_set():
                raise CameraError(f"{self.name} is closed; open it again to read on")
            due_s = self._drop_old() / self._rate
            if self._end_s is not None and due_s > self._end_s:
                raise EndOfFrames
            if self._fault("break", due_s):
                self._pass(due_s + 1 / self._rate)
                raise CameraError(f"{self.name} has broken, as it was told to; open it again")
            if due_s > deadline_s + 1e-9:
                self._wait_until(deadline_s)
                return None
            self._wait_until(due_s)
            number, self._next = self._next, self._next + 1
            frame = self._frame(number, due_s)
            if frame is not None:
                return frame

    def close(self) -> None:
        """No frames from now on."""
        self._closed.set()

    def _drop_old(self) -> int:
        """The number of the next frame, after those that did not wait."""
        if isinstance(self._clock, VirtualClock):
            return self._next
        oldest = math.floor(self._clock() * self._rate + 1e-9) - self._queue + 1
        late = oldest - self._next
        if late > 0:
            taken = [n for n in range(self._next, oldest) if self._missing(n)]
            self._count(dropped=late - len(taken), lost=len(taken))
            self._next = oldest
        return self._next

    def _pass(self, time_s: float) -> None:
        """On a clock of its own time goes on, or who opens the camera again would never get on."""
        if isinstance(self._clock, VirtualClock):
            self._clock.advance(time_s)

    def _wait_until(self, time_s: float) -> None:
        if isinstance(self._clock, VirtualClock):
            self._clock.advance(time_s)
        else:
            self._closed.wait(max(0.0, time_s - self._clock()))

    def _frame(self, number: int, time_s: float) -> Frame | None:
        if self._missing(number):
            self._count(lost=1)
            return None
        if self._fault("corrupt", time_s, number):
            self._count(corrupt=1)
            return None
        image = self._picture(time_s, number)
        if self._fault("garble", time_s, number):
            image = _garbled(image, number)
        self._count(delivered=1)
        return Frame(image, time_s, self._count_at(time_s), number, self._exposure_s)

    def _missing(self, number: int) -> bool:
        time_s = number / self._rate
        return self._fault("stall", time_s) or self._fault("lose", time_s, number)

    def _fault(self, kind: FaultKind, time_s: float, number: int | None = None) -> bool:
        for fault in self._faults:
            if fault.kind != kind or not fault.from_s <= time_s < fault.to_s:
                continue
            if number is None or fault.share >= 1:
                return True
            drawn = np.random.default_rng((self._seed, _KINDS.index(kind), number)).random()
            if drawn < fault.share:
                return True
        return False

    def _count(
        self, *, delivered: int = 0, dropped: int = 0, lost: int = 0, corrupt: int = 0
    ) -> None:
        now = self._counts
        self._counts = replace(
            now,
            delivered=now.delivered + delivered,
            dropped=now.dropped + dropped,
            lost=now.lost + lost,
            corrupt=now.corrupt + corrupt,
        )


def _garbled(image: Photo, seed: int) -> Photo:
    """As after a broken transfer: from some row on shifted blocks, then grey."""
    rng = np.random.default_rng(seed)
    rows = image.shape[0]
    first, last = sorted(int(row) for row in rng.integers(rows // 4, rows, 2))
    out = image.copy()
    for top in range(first, last, 16):
        out[top : top + 16] = np.roll(out[top : top + 16], int(rng.integers(1, rows)), axis=1)
    out[last:] = 128
    return out
