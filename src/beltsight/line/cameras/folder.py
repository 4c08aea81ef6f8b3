"""A folder of photos as a camera, with encoder counts from a table where there is one."""

from __future__ import annotations

import csv
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beltsight.errors import CameraError, ImageError
from beltsight.image import decode
from beltsight.line.cameras.camera import Clock, Encoder, EndOfFrames
from beltsight.line.cameras.pump import PumpedCamera
from beltsight.line.cameras.settings import CameraSettings
from beltsight.photos import find_photos
from beltsight.records import Frame

ENCODER_CSV = "encoder.csv"
_RATE = 30.0
_MOST_ROWS = 5_000_000
_STALL_S = 30.0  # a folder on a network drive may answer late, and a large photo decodes for long


@dataclass(frozen=True, slots=True)
class Row:
    """What the table says of one photo."""

    count: int | None
    time_s: float | None


class FolderCamera(PumpedCamera):
    """The photos of a folder, by name, at a rate or as fast as they are read.

    Args:
        settings: with a folder as its source. ``frames_per_s`` is 30 where it is not given.
        encoder: stamps photos without a count in the table.
        clock: seconds that never go back.

    A photo that cannot be decoded, or has another size than the first, is counted as corrupt and
    passed over; its number in the sequence stays free.

    Raises:
        CameraError: no such folder, no photos in it, or a table that cannot be read.
    """

    def __init__(
        self,
        settings: CameraSettings,
        encoder: Encoder | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(
            FolderSource(settings, encoder, clock),
            name=f"{settings.name} ({settings.source})",
            queue_frames=settings.queue_frames,
            open_timeout_s=max(settings.open_timeout_s, _STALL_S),
            stall_s=max(settings.stall_s, _STALL_S),
            clock=clock,
            encoder=encoder,
        )


class FolderSource:
    """Reads photos; see :class:`beltsight.line.cameras.pump.FrameSource`."""

    lossless = True

    def __init__(self, settings: CameraSettings, encoder: Encoder | None, clock: Clock) -> None:
        self._settings = settings
        self._encoder = encoder
        self._clock = clock
        self._folder = settings.source.value
        self._rows: dict[str, Row] = {}
        self._shape: tuple[int, ...] | None = None
        self._number = 0
        self._start_s = 0.0
        self.paced = settings.pace == "source"

    def open(self) -> None:
        """Read the table and find the first photo."""
        if not os.path.isdir(self._folder):
            raise CameraError(f"{self._folder}: no such folder; check the path")
        given = self._settings.encoder_csv
        table = given or Path(self._folder) / ENCODER_CSV
        if given is not None or table.is_file():
            self._rows = read_counts(table)
        self._paths = find_photos([self._folder])
        self._start_s = self._clock()

    def next(self) -> Frame | None:
        """The next photo; None for one that cannot be used."""
        path = next(self._paths, None)
        if path is None:
            if self._number == 0:
                raise CameraError(f"{self._folder}: no photos in it; expected .jpg, .png or others")
            raise EndOfFrames
        number, self._number = self._number, self._number + 1
        row = self._rows.get(os.path.relpath(path, self._folder).replace(os.sep, "/"))
        try:
            photo = decode(path)
        except ImageError:
            return None
        self._shape = self._shape or photo.shape
        if photo.shape != self._shape:
            return None
        time_s = self._start_s + number / (self._settings.frames_per_s or _RATE)
        if row is not None and row.time_s is not None:
            time_s = self._start_s + row.time_s
        count = row.count if row else None
        if count is None and self._encoder is not None and not self.paced:
            count = self._encoder()
        return Frame(photo, time_s, count, number, self._settings.exposure_s)

    def close(self) -> None:
        """Nothing is held."""


def read_counts(table: Path) -> dict[str, Row]:
    """Encoder counts by photo.

    Args:
        table: CSV in UTF-8 with columns ``file`` (relative to the folder) and ``count``, and
            ``time_s`` (from the first photo on) if there is one. Empty cells are unknown.

    Raises:
        CameraError: it cannot be read; the message names the line.
    """
    rows: dict[str, Row] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            if not {"file", "count"} <= set(reader.fieldnames or ()):
                raise CameraError(
                    f"{table}: expected the columns 'file' and 'count', got "
                    f"{', '.join(reader.fieldnames or ()) or 'an empty file'}"
                )
            for line in reader:
                if len(rows) >= _MOST_ROWS:
                    raise CameraError(f"{table}: over {_MOST_ROWS:,} lines; split the folder")
                rows[line["file"]] = _row(line, f"{table}, line {reader.line_num}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CameraError(f"{table}: not readable as CSV: {error}") from error
    return rows


def _row(line: dict[str, str], where: str) -> Row:
    count, time_s = line.get("count") or "", line.get("time_s") or ""
    try:
        row = Row(int(count) if count else None, float(time_s) if time_s else None)
    except ValueError:
        row = Row(None, float("nan"))
    wild = row.time_s is not None and not (np.isfinite(row.time_s) and 0 <= row.time_s < 1e9)
    if not line.get("file") or wild or abs(row.count or 0) > 2**63:
        raise CameraError(
            f"{where}: expected a file, a whole number in 'count' and seconds from 0 on in "
            f"'time_s', got {line.get('file')!r}, {count!r}, {time_s!r}"
        )
    return row
