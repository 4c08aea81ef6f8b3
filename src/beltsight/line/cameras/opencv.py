"""Devices, network streams and video files, by OpenCV."""

from __future__ import annotations

import os
import time
from typing import Any

import cv2
import numpy as np

from beltsight.errors import CameraError
from beltsight.line.cameras.camera import Clock, Encoder, EndOfFrames
from beltsight.line.cameras.pump import PumpedCamera
from beltsight.line.cameras.settings import CameraSettings
from beltsight.records import Frame, Photo

# By how much the number of frames that a file states may be off: some containers only estimate it.
_TAIL_FRAMES, _TAIL_SHARE = 2, 0.01
_DAMAGED_IN_A_ROW = 25


class OpenCvCamera(PumpedCamera):
    """A device, an address or a video file.

    Args:
        settings: with a source of one of these kinds.
        encoder: belt counts; read as soon as a frame has come, before it is decoded.
        clock: seconds that never go back; stamps frames likewise.

    A device or address keeps the newest ``queue_frames`` frames and counts what it drops; a file
    drops none. Times of a file are those of its frames, from when it was opened.

    Raises:
        CameraError: it cannot be opened.
    """

    def __init__(
        self,
        settings: CameraSettings,
        encoder: Encoder | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(
            OpenCvSource(settings, encoder, clock),
            name=f"{settings.name} ({settings.source})",
            queue_frames=settings.queue_frames,
            open_timeout_s=settings.open_timeout_s,
            stall_s=settings.stall_s,
            clock=clock,
            encoder=encoder,
            frames_per_s=settings.frames_per_s,
        )


class OpenCvSource:
    """Reads a :class:`cv2.VideoCapture`; see :class:`beltsight.line.cameras.pump.FrameSource`."""

    def __init__(self, settings: CameraSettings, encoder: Encoder | None, clock: Clock) -> None:
        self._settings = settings
        self._encoder = encoder
        self._clock = clock
        self._capture: Any = None
        self._shape: tuple[int, ...] | None = None
        self._number = 0
        self._damaged = 0
        self._kept: Frame | None = None
        # A device that does not answer takes seconds to say so.
        self._patience = 3 if settings.source.kind == "device" else _DAMAGED_IN_A_ROW
        self._start_s = 0.0
        self._rate = 0.0
        self.is_file = settings.source.kind == "path"
        self.lossless = self.is_file
        self.paced = self.is_file and settings.pace == "source"

    def open(self) -> None:
        """Open the capture; bounded by timeouts where OpenCV has them."""
        settings = self._settings
        kind, value = settings.source.kind, _address(settings)
        if kind == "url":
            limits = _milliseconds(settings.open_timeout_s, settings.stall_s)
            self._capture = cv2.VideoCapture(value, cv2.CAP_FFMPEG, limits)
        elif kind == "device":
            self._capture = cv2.VideoCapture(int(value) if value.isdigit() else value)
            self._ask_of_device()
        else:
            if not os.path.isfile(value):
                raise CameraError(f"{value}: no such video file; check the path")
            # By its whole path: FFmpeg takes some other texts for instructions.
            self._capture = cv2.VideoCapture(os.path.abspath(value), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CameraError(f"{settings.source} cannot be opened; {_ADVICE[kind]}")
        self._start_s = self._clock()
        self._rate = settings.frames_per_s or _sane_rate(self._capture.get(cv2.CAP_PROP_FPS))

    def next(self) -> Frame | None:
        """The next frame; None for one that cannot be decoded."""
        if self._damaged:
            self._damaged -= 1
            return None
        frame, self._kept = self._kept, None
        if frame is not None:
            return frame
        while not self._capture.grab():
            # A damaged frame looks like the end of the stream; only what comes after tells.
            self._damaged += 1
            if self._damaged >= self._patience:
                self._damaged = 0
                raise self._end()
        frame = self._taken()
        if self._damaged:
            self._kept, frame = frame, None
            self._damaged -= 1
        return frame

    def _taken(self) -> Frame | None:
        """The frame that was just grabbed; its time and count are taken before it is decoded."""
        time_s = self._clock()
        count = self._encoder() if self._encoder and not self.paced else None
        decoded, picture = self._capture.retrieve()
        number = self._number + self._damaged
        self._number = number + 1
        photo = _rgb(picture) if decoded and picture is not None else None
        self._shape = self._shape or (None if photo is None else photo.shape)
        if photo is None or photo.shape != self._shape:
            self._damaged += 1
            return None
        if self.is_file:
            time_s = self._start_s + number / self._rate
        return Frame(photo, time_s, count, number, self._settings.exposure_s)

    def close(self) -> None:
        """Release the capture."""
        if self._capture is not None:
            self._capture.release()

    def _end(self) -> Exception:
        if not self.is_file:
            source = self._settings.source
            return CameraError(f"{source} broke off after {self._number} frames; the line opens "
                               "it again; check network, power and cable")  # fmt: skip
        if self._number == 0:
            return CameraError(
                f"{self._settings.source} holds no frame that can be decoded; convert it to MP4"
            )
        stated = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        missing = int(stated) - self._number if np.isfinite(stated) and stated < 1e9 else 0
        enough = missing > max(_TAIL_FRAMES, _TAIL_SHARE * stated)
        return EndOfFrames(missing if enough else 0)

    def _ask_of_device(self) -> None:
        settings = self._settings
        wishes = {
            cv2.CAP_PROP_FRAME_WIDTH: settings.width_px,
            cv2.CAP_PROP_FRAME_HEIGHT: settings.height_px,
            cv2.CAP_PROP_FPS: settings.frames_per_s,
            cv2.CAP_PROP_BUFFERSIZE: 2,  # the newest frame matters, not the oldest
        }
        for wish, value in wishes.items():
            if value is not None:
                self._capture.set(wish, value)


_ADVICE = {
    "url": "check address, user and password, and that the camera can be reached from here",
    "device": "check that it is connected and that no other program has it",
    "path": "it is no video that OpenCV reads; convert it to MP4",
}


def _address(settings: CameraSettings) -> str:
    if settings.password_env is None:
        return settings.source.value
    password = os.environ.get(settings.password_env)
    if not password:
        raise CameraError(
            f"{settings.source}: the environment variable {settings.password_env} holds no "
            "password; set it before the line starts"
        )
    return settings.source.with_password(password).value


def _milliseconds(open_s: float, read_s: float) -> list[int]:
    # A little over the pump's own limits, so that its message comes first.
    return [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1200 * open_s),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1200 * read_s),
    ]  # fmt: skip


def _sane_rate(stated: float) -> float:
    """Files may state nothing, or nonsense."""
    return float(stated) if np.isfinite(stated) and 0.1 <= stated <= 10_000 else 30.0


def _rgb(picture: Any) -> Photo | None:
    """OpenCV's blue-green-red or grey -> red-green-blue; None for what is neither."""
    if picture.dtype != np.uint8 or min(picture.shape[:2]) < 8:
        return None
    if picture.ndim == 2 or picture.shape[2] == 1:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)
    if picture.shape[2] != 3:
        return None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
