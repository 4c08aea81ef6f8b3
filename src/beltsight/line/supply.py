"""Frames from a camera that may break: it is closed, waited for and opened again."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from pydantic import Field

from beltsight.errors import BeltsightError
from beltsight.line.cameras.camera import Camera, CameraCounts
from beltsight.records import Frame
from beltsight.strict import Strict


class SupplySettings(Strict):
    """How long is waited for frames, and for a camera that broke.

    Args:
        wait_s: for one frame; then the caller gets none, and may see to other things: items whose
            time is up are looked for so often.
        retry_first_s, retry_most_s: wait before a broken camera is opened again; doubled after
            each attempt, up to the longest.
        jitter: share of a wait that is random.
    """

    wait_s: float = Field(0.01, gt=0, le=10, allow_inf_nan=False)
    retry_first_s: float = Field(0.2, gt=0, le=600, allow_inf_nan=False)
    retry_most_s: float = Field(10.0, gt=0, le=600, allow_inf_nan=False)
    jitter: float = Field(0.3, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class CameraChange:
    """A camera was lost or came back.

    Args:
        is_back: which of the two.
        text: what it said.
    """

    is_back: bool
    text: str


class Supply:
    """Frames, whatever the camera does.

    Args:
        open_camera: opens it; raises BeltsightError where that does not work.
        settings: times.
        clock: monotonic seconds.
        pause: waits so many seconds.
        changed: told when the camera is lost, and when it is back.

    Attributes:
        losses: how often the camera broke.
    """

    def __init__(
        self,
        open_camera: Callable[[], Camera],
        settings: SupplySettings,
        clock: Callable[[], float],
        pause: Callable[[float], None],
        changed: Callable[[CameraChange], None],
    ) -> None:
        self.losses = 0
        self._open = open_camera
        self._settings = settings
        self._clock = clock
        self._pause = pause
        self._changed = changed
        self._camera: Camera | None = open_camera()
        self._attempt = 0
        self._is_lost = False
        self._retry_s = 0.0
        self._before = CameraCounts()
        self._chance = random.Random()
        # A device that is gone takes seconds to close and to open, while items wait to be decided.
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="beltsight-camera")
        self._opening: Future[Camera] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a camera now."""
        return self._camera is not None

    @property
    def counts(self) -> CameraCounts:
        """Of all cameras that were opened, together."""
        now = self._camera.counts if self._camera else CameraCounts()
        before = self._before
        return CameraCounts(
            before.delivered + now.delivered, before.dropped + now.dropped,
            before.lost + now.lost, before.corrupt + now.corrupt,
        )  # fmt: skip

    def read(self) -> Frame | None:
        """The next frame; None where none came in time, or there is no camera now.

        Raises:
            EndOfFrames: a file is over.
        """
        if self._camera is None and not self._reopen():
            return None
        assert self._camera is not None
        try:
            frame = self._camera.read(self._settings.wait_s)
        except BeltsightError as error:
            self._lose(str(error))
            return None
        if frame is not None and self._is_lost:
            # Open is not back: a camera may open each time and give nothing.
            self._changed(CameraChange(is_back=True, text=f"after {self._attempt + 1} attempts"))
            self._is_lost, self._attempt = False, 0
        return frame

    def close(self) -> None:
        """Let the camera go."""
        if self._camera is not None:
            self._camera.close()
        if self._opening is not None:
            self._opening.add_done_callback(_let_go)
        self._aside.shutdown(wait=False)

    def _lose(self, why: str) -> None:
        assert self._camera is not None
        self._before = self.counts
        self._aside.submit(self._camera.close)
        self._camera = None
        if self._is_lost:
            self._attempt += 1
        else:
            self.losses += 1
            self._is_lost = True
            self._changed(CameraChange(is_back=False, text=why))
        self._retry_s = self._clock() + self._wait_s()

    def _reopen(self) -> bool:
        if self._opening is None:
            left_s = self._retry_s - self._clock()
            if left_s > 0:
                self._pause(min(left_s, self._settings.wait_s))
                return False
            self._opening = self._aside.submit(self._open)
        wait([self._opening], self._settings.wait_s)
        if not self._opening.done():
            return False
        opened, self._opening = self._opening, None
        try:
            self._camera = opened.result()
        except BeltsightError:
            self._attempt += 1
            self._retry_s = self._clock() + self._wait_s()
            return False
        return True

    def _wait_s(self) -> float:
        settings = self._settings
        wait_s = min(settings.retry_first_s * 2.0 ** min(self._attempt, 30), settings.retry_most_s)
        return wait_s * (1.0 - settings.jitter * self._chance.random())


def _let_go(opening: Future[Camera]) -> None:
    """It was being opened when the line ended."""
    if opening.exception() is None:
        opening.result().close()
