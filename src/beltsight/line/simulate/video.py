"""A video of the belt as the line sees it: boxes, materials, routes, counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from beltsight.errors import ConfigError
from beltsight.line.simulate.lettering import (
    INK,
    WHITE,
    Box,
    Colour,
    frame_box,
    overlaps,
    plate,
    text_width,
    write,
)
from beltsight.records import Photo

# Told apart by people with common kinds of colour blindness, too (Okabe and Ito, lightened).
_PALETTE: tuple[Colour, ...] = (
    (86, 180, 233), (230, 159, 0), (0, 190, 140), (240, 228, 66), (213, 94, 0),
    (204, 121, 167), (90, 130, 240), (170, 200, 90),
)  # fmt: skip
_UNDECIDED: Colour = (150, 156, 166)
_FAINT: Colour = (150, 158, 170)
# By suffix, the better first: those that browsers play, then one that any machine can write.
_CODECS = {".mp4": ("vp09", "mp4v"), ".webm": ("vp09", "VP80"), ".avi": ("MJPG",)}
_NAMES = {"vp09": "VP9", "mp4v": "MPEG-4", "VP80": "VP8", "MJPG": "Motion JPEG"}


@dataclass(frozen=True, slots=True)
class Mark:
    """One item in a frame of the video.

    Args:
        box_xyxy: in the frame, ends exclusive.
        label: e.g. the material; empty while there is no answer.
        confidence: 0 to 1, or None.
        route: where it goes; gives the colour. None while undecided.
        note: a few words more, e.g. ``touching``.
    """

    box_xyxy: Box
    label: str = ""
    confidence: float | None = None
    route: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """What stands below the picture.

    Args:
        routes: items by route so far.
        figures: name and value, e.g. ``{"items/s": "12.4"}``, from left to right.
    """

    routes: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One frame of the video: the picture, uint8 (H, W, 3) RGB, and what is written on it."""

    image: Photo
    marks: Sequence[Mark] = ()
    panel: Panel = field(default_factory=Panel)


class Video:
    """Writes a video, scene by scene.

    Args:
        path: ``.mp4`` or ``.webm`` (VP9, which browsers play; MPEG-4 where this OpenCV has no VP9),
            or ``.avi`` (Motion JPEG: large, and the fastest to write).
        frames_per_s: rate.
        routes: in the order in which they take their colours; others follow as they come.
        codec: FourCC to be used instead, e.g. ``mp4v``, which is some twenty times faster than VP9.

    Raises:
        ConfigError: another suffix, no such folder, or no codec.
    """

    def __init__(
        self,
        path: Path,
        frames_per_s: float = 30.0,
        *,
        routes: Sequence[str] = (),
        codec: str | None = None,
    ) -> None:
        if path.suffix.lower() not in _CODECS:
            raise ConfigError(f"{path}: a video ends in {', '.join(_CODECS)}")
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent}: no such folder; make it first")
        if codec is not None and (len(codec) != 4 or not codec.isascii()):
            raise ConfigError(f"a codec is named by four letters, got {codec!r}")
        self.path = path
        self.frames = 0
        self._rate = frames_per_s
        self._choices = (codec,) if codec else _CODECS[path.suffix.lower()]
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._codec = ""
        self._colours: dict[str, Colour] = {}
        for route in routes:
            self._colour(route)

    @property
    def codec(self) -> str:
        """Name of the codec in use; empty before the first scene."""
        return _NAMES.get(self._codec, self._codec)

    def add(self, scene: Scene) -> None:
        """Write one frame.

        Raises:
            ConfigError: a picture of another size than the first, or no codec.
        """
        page = self.draw(scene)
        size = (page.shape[1], page.shape[0])
        if self._writer is None:
            self._writer = self._open(size)
            self._size = size
        if size != self._size:
            raise ConfigError(f"{self.path}: a frame of {size} in a video of {self._size} pixels")
        self._writer.write(cv2.cvtColor(page, cv2.COLOR_RGB2BGR))
        self.frames += 1

    def draw(self, scene: Scene) -> Photo:
        """The frame as it is written, uint8 RGB, a little higher than the picture."""
        height, width = scene.image.shape[:2]
        unit = max(0.5, width / 1280)
        foot = 2 * round(36 * unit)
        page = np.empty((height + height % 2 + foot, width + width % 2, 3), np.uint8)
        page[:] = INK
        page[:height, :width] = scene.image
        self._draw_marks(page[:height, :width], scene.marks, round(15 * unit))
        self._draw_panel(page[-foot:], scene.panel, unit)
        return page

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        for codec in self._choices:
            fourcc = cv2.VideoWriter.fourcc(*codec)
            writer = cv2.VideoWriter(str(self.path), cv2.CAP_FFMPEG, fourcc, self._rate, size)
            if writer.isOpened():
                self._codec = codec
                return writer
            writer.release()
        raise ConfigError(
            f"{self.path}: this OpenCV writes none of {', '.join(self._choices)}; try .avi"
        )

    def _colour(self, route: str | None) -> Colour:
        if route is None:
            return _UNDECIDED
        if route not in self._colours:
            self._colours[route] = _PALETTE[len(self._colours) % len(_PALETTE)]
        return self._colours[route]

    def _draw_marks(self, page: Photo, marks: Sequence[Mark], size_px: int) -> None:
        for mark in marks:
            frame_box(page, mark.box_xyxy, self._colour(mark.route))
        taken: list[Box] = []
        boxes = [mark.box_xyxy for mark in marks]
        # The surest first: where it is crowded, the others give way.
        for mark in sorted(marks, key=lambda one: -(one.confidence or 0)):
            lines = _lines(mark)
            if not lines:
                continue
            wide = max(text_width(line, size_px) for line in lines) + size_px
            high = round(len(lines) * 1.25 * size_px + 0.5 * size_px)
            others = [box for box in boxes if box != mark.box_xyxy]
            spot = find_spot(mark.box_xyxy, (wide, high), page.shape[1::-1], taken, others)
            if spot is None:
                continue
            taken.append(spot)
            colour = self._colour(mark.route)
            plate(page, spot, INK, 0.82)
            plate(page, (spot[0], spot[1], spot[0] + max(3, size_px // 4), spot[3]), colour, 1.0, 2)
            for number, line in enumerate(lines):
                top = spot[1] + round((0.22 + 1.25 * number) * size_px)
                left = spot[0] + round(0.65 * size_px)
                write(page, line, left, top, size_px, WHITE if number == 0 else colour)

    def _draw_panel(self, page: Photo, panel: Panel, unit: float) -> None:
        """Figures on the left, routes on the right; what does not fit is left out whole."""
        small, large = round(13 * unit), round(22 * unit)
        height, width = page.shape[:2]
        page[: max(1, round(2 * unit))] = (52, 58, 68)
        gap, x = round(26 * unit), round(20 * unit)
        name_top, value_top = round(height * 0.12), round(height * 0.40)
        for name, value in panel.figures.items():
            wide = max(text_width(name, small), text_width(value, large))
            if x + wide > width * 0.52:
                break
            write(page, name, x, name_top, small, _FAINT)
            write(page, value, x, value_top, large, WHITE)
            x += wide + gap
        self._draw_routes(page, panel.routes, x, unit)

    def _draw_routes(self, page: Photo, routes: Mapping[str, int], left: int, unit: float) -> None:
        small, large = round(13 * unit), round(22 * unit)
        height, width = page.shape[:2]
        chip, gap = round(12 * unit), round(24 * unit)
        x = width - round(20 * unit)
        for route, count in reversed(list(routes.items())):
            wide = max(text_width(route, small) + chip + round(6 * unit),
                       text_width(str(count), large))  # fmt: skip
            if x - wide < left:
                break
            x -= wide
            top = round(height * 0.12)
            plate(page, (x, top + 1, x + chip, top + 1 + chip), self._colour(route), 1.0, 2)
            write(page, route, x + chip + round(6 * unit), top, small, _FAINT)
            write(page, str(count), x, round(height * 0.40), large, WHITE)
            x -= gap


def find_spot(
    box: Box,
    size: tuple[int, int],
    page: tuple[int, int],
    taken: Sequence[Box],
    boxes: Sequence[Box] = (),
) -> Box | None:
    """A place for a label: above its box, else below or beside, clear of other labels.

    Args:
        box: of the item.
        size: (width, height) of the label.
        page: (width, height) of the picture.
        taken: labels that are placed already; never covered.
        boxes: of other items; covered only where there is no other way.

    Returns:
        The label's box, or None where there is no room.

    Example:
        >>> find_spot((50, 50, 90, 80), (40, 20), (200, 100), [])
        (50, 28, 90, 48)
        >>> find_spot((50, 50, 90, 80), (40, 20), (200, 100), [(40, 20, 60, 49)])
        (92, 50, 132, 70)
    """
    wide, high = size
    x0, y0, x1, y1 = box
    starts = (
        (x0, y0 - high - 2), (x1 - wide, y0 - high - 2), (x0, y1 + 2), (x1 - wide, y1 + 2),
        (x1 + 2, y0), (x0 - wide - 2, y0), (x1 + 2, y1 - high), (x0 - wide - 2, y1 - high),
    )  # fmt: skip
    spots = [(x, y, x + wide, y + high) for x, y in starts]
    inside = [
        spot for spot in spots
        if spot[0] >= 0 and spot[1] >= 0 and spot[2] <= page[0] and spot[3] <= page[1]
        and not any(overlaps(spot, other) for other in taken)
    ]  # fmt: skip
    clear = [spot for spot in inside if not any(overlaps(spot, other) for other in boxes)]
    return next(iter(clear or inside), None)


def _lines(mark: Mark) -> list[str]:
    first = mark.label
    if mark.label and mark.confidence is not None:
        # Never 100 %: nobody is that sure.
        first = f"{mark.label}  {min(99, round(100 * mark.confidence))} %"
    second = "  ".join(part for part in (mark.route, mark.note) if part)
    return [line for line in (first, second) if line]
