"""Table ``[camera]`` of ``line.toml``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from beltsight.line.cameras.source import Source, parse_source
from beltsight.strict import Strict


class CameraSettings(Strict):
    """Where frames come from, and how long one waits for them; a text alone is the source.

    Args:
        source: a device number, an address (``rtsp://``, ``http://``...), a video file, a folder of
            photos, ``genicam`` or ``genicam:SERIAL``.
        name: what people call it.
        password_env: environment variable with the password for the address; it then need not
            stand in a file.
        width_px, height_px: to be asked of a device; whatever it gives is taken.
        frames_per_s: of a folder; asked of a device. With it lost frames of devices and addresses
            are counted by their times.
        exposure_s: how long the shutter is open, where known; stamped on frames.
        pace: of files and folders: ``source`` gives each frame when it is due, ``fast`` at once.
        queue_frames: how many wait at most; of a camera the newest, of a file the next.
        open_timeout_s: for the camera to answer.
        stall_s: without a frame for so long, a camera counts as broken.
        encoder_csv: of a folder: a table with columns ``file`` and ``count`` (and ``time_s``);
            by default ``encoder.csv`` in the folder, where it is there.
        producer: the GenTL producer's file (``.cti``), which the camera's maker supplies.
        encoder_from_camera: take the count from the GenICam camera's own chunk data
            (``ChunkEncoderValue``), latched at exposure.

    Example:
        >>> CameraSettings.model_validate("rtsp://me:word@cam/1").source
        Source('rtsp://***@cam/1')
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # parse_source raises ConfigError, which passes through pydantic: its own would show the value.
    source: Annotated[Source, BeforeValidator(parse_source)]
    name: Annotated[str, Field(min_length=1, max_length=80)] = "camera"
    password_env: str | None = None
    width_px: int | None = Field(None, ge=16, le=20_000)
    height_px: int | None = Field(None, ge=16, le=20_000)
    frames_per_s: float | None = Field(None, gt=0, le=10_000, allow_inf_nan=False)
    exposure_s: float | None = Field(None, gt=0, le=10, allow_inf_nan=False)
    pace: Literal["source", "fast"] = "source"
    queue_frames: int = Field(4, ge=1, le=64)
    open_timeout_s: float = Field(5.0, gt=0, le=120, allow_inf_nan=False)
    stall_s: float = Field(2.0, gt=0, le=120, allow_inf_nan=False)
    encoder_csv: Path | None = None
    producer: Path | None = None
    encoder_from_camera: bool = False

    @model_validator(mode="before")
    @classmethod
    def _text_is_source(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str | int) else value
