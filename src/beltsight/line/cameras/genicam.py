"""GenICam cameras (GigE Vision, USB3 Vision, CoaXPress) through ``harvesters``.

Written against the documented interface of harvesters 1.4 and tried with a stand-in for it in the
tests, not with a camera: there is none where this is built.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from beltsight.errors import CameraError, ConfigError, MissingExtraError
from beltsight.line.cameras.camera import Clock, Encoder
from beltsight.line.cameras.pump import NothingYet, PumpedCamera
from beltsight.line.cameras.settings import CameraSettings
from beltsight.records import Frame, Photo

# GenICam names a Bayer pattern by its first row, OpenCV by the second row's middle.
_TO_RGB: dict[str, int | None] = {
    "RGB8": None,
    "BGR8": cv2.COLOR_BGR2RGB,
    "Mono8": cv2.COLOR_GRAY2RGB,
    "BayerRG8": cv2.COLOR_BayerBG2RGB,
    "BayerBG8": cv2.COLOR_BayerRG2RGB,
    "BayerGR8": cv2.COLOR_BayerGB2RGB,
    "BayerGB8": cv2.COLOR_BayerGR2RGB,
}
_FETCH_S = 0.25  # how long one look for a frame may take, so that closing is quick
_SECONDS_PER_MICROSECOND = 1e-6


class GenicamCamera(PumpedCamera):
    """A camera behind a GenTL producer.

    Args:
        settings: with the source ``genicam`` or ``genicam:SERIAL`` and the producer's file.
        encoder: belt counts, read when a frame has come; not used with ``encoder_from_camera``.
        clock: seconds that never go back.
        make_harvester: gives what ``harvesters.core.Harvester`` is.

    Raises:
        CameraError: no such camera, or it cannot be started.
        ConfigError: no producer's file.
        MissingExtraError: harvesters is not installed.
    """

    def __init__(
        self,
        settings: CameraSettings,
        encoder: Encoder | None = None,
        clock: Clock = time.monotonic,
        make_harvester: Callable[[], Any] | None = None,
    ) -> None:
        maker = make_harvester or _installed_harvester()
        super().__init__(
            GenicamSource(settings, encoder, clock, maker),
            name=f"{settings.name} ({settings.source})",
            queue_frames=settings.queue_frames,
            open_timeout_s=settings.open_timeout_s,
            stall_s=settings.stall_s,
            clock=clock,
        )


def _installed_harvester() -> Callable[[], Any]:
    try:
        harvesters: Any = importlib.import_module("harvesters.core")
    except ImportError as error:
        raise MissingExtraError("a GenICam camera", "genicam") from error
    made: Callable[[], Any] = harvesters.Harvester
    return made


class GenicamSource:
    """Reads an image acquirer; see :class:`beltsight.line.cameras.pump.FrameSource`."""

    lossless = False
    paced = False

    def __init__(
        self,
        settings: CameraSettings,
        encoder: Encoder | None,
        clock: Clock,
        make_harvester: Callable[[], Any],
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._clock = clock
        self._make = make_harvester
        self._harvester: Any = None
        self._acquirer: Any = None
        self._shape: tuple[int, ...] | None = None
        self._silent_since: float | None = None

    def open(self) -> None:
        """Load the producer, find the camera and start it."""
        producer = self._settings.producer
        if producer is None or not producer.is_file():
            raise ConfigError(
                f"camera.producer: expected the GenTL producer's file (.cti), which the camera's "
                f"maker supplies, got {str(producer) if producer else 'none'}"
            )
        self._harvester = self._make()
        self._harvester.add_file(str(producer))
        self._harvester.update()
        self._acquirer = self._create()
        self._set_features()
        self._acquirer.start()
        self._silent_since = self._clock()

    def next(self) -> Frame | None:
        """The next frame; None for one of an unsuitable shape."""
        buffer = self._acquirer.try_fetch(timeout=_FETCH_S)
        time_s = self._clock()
        if buffer is None:
            if time_s - (self._silent_since or time_s) > self._settings.stall_s:
                raise CameraError(
                    f"{self._settings.source} has given no frame for {self._settings.stall_s:g} s; "
                    "check trigger, cable and bandwidth"
                )
            raise NothingYet
        self._silent_since = time_s
        count = self._encoder() if self._encoder else None
        with buffer:  # goes back to the producer, which has few of them
            return self._frame(buffer, time_s, count)

    def close(self) -> None:
        """Stop the camera and let the producer go."""
        try:
            if self._acquirer is not None:
                self._acquirer.stop()
                self._acquirer.destroy()
        finally:
            if self._harvester is not None:
                self._harvester.reset()

    def _create(self) -> Any:
        serial = self._settings.source.value
        found = [
            str(getattr(info, "serial_number", "")) for info in self._harvester.device_info_list
        ]
        if not found or (serial and serial not in found):
            seen = ", ".join(found) or "none"
            wanted = f"with the serial number {serial}" if serial else "at all"
            raise CameraError(
                f"no GenICam camera {wanted}; the producer sees: {seen}; check power, cable and "
                "address"
            )
        return self._harvester.create({"serial_number": serial} if serial else 0)

    def _set_features(self) -> None:
        settings = self._settings
        wishes = {
            "Width": settings.width_px,
            "Height": settings.height_px,
            "AcquisitionFrameRate": settings.frames_per_s,
            "ExposureTime": settings.exposure_s and settings.exposure_s / _SECONDS_PER_MICROSECOND,
        }
        nodes = self._acquirer.remote_device.node_map
        for name, value in wishes.items():
            if value is None:
                continue
            try:
                getattr(nodes, name).value = value
            except Exception as error:  # genicam raises its own, which core does not know
                raise CameraError(
                    f"{settings.source} does not take {name} = {value:g}; leave it out, or set "
                    "what the camera's manual allows"
                ) from error

    def _frame(self, buffer: Any, time_s: float, count: int | None) -> Frame | None:
        components = buffer.payload.components
        photo = to_rgb(components[0], str(self._settings.source)) if components else None
        self._shape = self._shape or (None if photo is None else photo.shape)
        if photo is None or photo.shape != self._shape:
            return None
        nodes = self._acquirer.remote_device.node_map
        if self._settings.encoder_from_camera:
            count = _node(nodes, "ChunkEncoderValue")
            if count is None:
                raise CameraError(
                    f"{self._settings.source} sends no ChunkEncoderValue; switch on "
                    "ChunkModeActive and the chunk EncoderValue, or leave encoder_from_camera out"
                )
        microseconds = _node(nodes, "ChunkExposureTime")
        exposure_s = self._settings.exposure_s
        if microseconds is not None:
            exposure_s = microseconds * _SECONDS_PER_MICROSECOND
        number = getattr(getattr(buffer, "module", None), "frame_id", None)
        sequence = None if number is None else int(number)
        return Frame(photo, time_s, None if count is None else int(count), sequence, exposure_s)


def to_rgb(component: Any, where: str) -> Photo | None:
    """A component of a buffer as a photo of its own, since the buffer is used again.

    Args:
        component: with ``width``, ``height``, ``data_format`` and flat ``data``.
        where: for the message.

    Returns:
        uint8 (H, W, 3) RGB, or None where the data does not fill the picture.

    Raises:
        CameraError: a pixel format that is not known.
    """
    if component.data_format not in _TO_RGB:
        raise CameraError(
            f"{where} sends {component.data_format}; set its PixelFormat to one of "
            f"{', '.join(_TO_RGB)}"
        )
    height, width = int(component.height), int(component.width)
    channels = 3 if component.data_format in ("RGB8", "BGR8") else 1
    data = np.asarray(component.data)
    if data.dtype != np.uint8 or data.size != height * width * channels or min(height, width) < 8:
        return None
    picture = data.reshape((height, width, 3) if channels == 3 else (height, width))
    code = _TO_RGB[component.data_format]
    return picture.copy() if code is None else np.asarray(cv2.cvtColor(picture, code), np.uint8)


def _node(nodes: Any, name: str) -> Any:
    """A feature's value, or None where the camera has none."""
    try:
        return getattr(nodes, name).value
    except Exception:  # AttributeError, or what genicam raises for one that is not readable now
        return None
