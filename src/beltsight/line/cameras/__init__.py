"""Frames with time and encoder count: devices, streams, files, folders, GenICam.

>>> from beltsight.line.cameras import CameraSettings
>>> CameraSettings(source="belt.mp4", pace="fast").source
Source('belt.mp4')
"""

from __future__ import annotations

import os
import time

from beltsight.line.cameras.camera import Camera, CameraCounts, Clock, Encoder, EndOfFrames
from beltsight.line.cameras.folder import FolderCamera
from beltsight.line.cameras.genicam import GenicamCamera
from beltsight.line.cameras.opencv import OpenCvCamera
from beltsight.line.cameras.settings import CameraSettings
from beltsight.line.cameras.source import Source, hide_secrets

__all__ = [
    "Camera",
    "CameraCounts",
    "CameraSettings",
    "Clock",
    "Encoder",
    "EndOfFrames",
    "FolderCamera",
    "GenicamCamera",
    "OpenCvCamera",
    "Source",
    "hide_secrets",
    "open_camera",
]


def open_camera(
    settings: CameraSettings, encoder: Encoder | None = None, clock: Clock = time.monotonic
) -> Camera:
    """Open the camera that the settings speak of.

    Args:
        settings: table ``[camera]`` of ``line.toml``.
        encoder: the belt's counter, to stamp frames; None for a line without encoder.
        clock: seconds that never go back.

    Raises:
        CameraError: it cannot be opened.
        ConfigError: the settings cannot be met by any camera.
        MissingExtraError: a GenICam camera without harvesters.
    """
    source = settings.source
    if source.kind == "genicam":
        return GenicamCamera(settings, encoder, clock)
    if source.kind == "path" and os.path.isdir(source.value):
        return FolderCamera(settings, encoder, clock)
    return OpenCvCamera(settings, encoder, clock)
