"""What a frame tells of the camera, its window and the lamp: level, colour, clipping, focus, shade.

Each measure is made so that what lies on the belt changes it little; all take below a millisecond
of a 1280 x 720 frame together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Photo

GRID = (9, 16)
"""Rows and columns of cells that shade is told of."""

_BLACK, _WHITE = 3, 252
_BAND_PX = 160  # of full detail, along the middle of the picture
_FEW_EDGES = 2.0  # grey values per pixel at an eighth of the size: nothing to focus on


@dataclass(frozen=True, slots=True, eq=False)
class Optics:
    """Measures of one frame.

    Args:
        level: median of the belt's brightness, 0 to 1.
        colour: red and blue of the belt over its green; (1, 1) is grey.
        clipped: share of pixels that are black or white to the end.
        focus: how steep edges across the belt are at full detail over how steep they are at an
            eighth of it; about the same for any content and speed, less where the picture is
            blurred. None where there are no edges to tell by.
        shade: float32 ``GRID``: brightness of the belt per cell, 0 to 1; NaN where none is seen.
    """

    level: float
    colour: tuple[float, float]
    clipped: float
    focus: float | None
    shade: NDArray[np.float32]


def measure_optics(
    image: Photo,
    items_xyxy: Iterable[tuple[int, int, int, int]] = (),
    along: Literal["x", "y"] = "x",
) -> Optics:
    """Measure one frame.

    Args:
        image: uint8 (H, W, 3) RGB, at least 64 pixels wide and high.
        items_xyxy: boxes of items, which are no belt.
        along: the picture's axis along which the belt moves: edges across it are not blurred by
            motion.
    """
    small = cv2.resize(image, (GRID[1] * 10, GRID[0] * 10), interpolation=cv2.INTER_AREA)
    belt = _belt_mask(image.shape, small.shape, items_xyxy)
    seen = small[belt] if belt.any() else small.reshape(-1, 3)
    red, green, blue = (float(value) for value in np.median(seen, axis=0))
    grey: NDArray[np.uint8] = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
    thin = image[::4, ::4]
    clipped = float(((thin <= _BLACK).all(axis=2) | (thin >= _WHITE).all(axis=2)).mean())
    return Optics(
        level=float(np.median(grey[belt] if belt.any() else grey)) / 255.0,
        colour=(red / max(green, 1.0), blue / max(green, 1.0)),
        clipped=clipped,
        focus=_focus(image, along),
        shade=_shade(grey, belt),
    )


def _belt_mask(
    shape: tuple[int, ...], small: tuple[int, ...], boxes: Iterable[tuple[int, int, int, int]]
) -> NDArray[np.bool_]:
    belt = np.ones(small[:2], np.bool_)
    scale_y, scale_x = small[0] / shape[0], small[1] / shape[1]
    for x0, y0, x1, y1 in boxes:
        top, left = max(0, int(y0 * scale_y) - 1), max(0, int(x0 * scale_x) - 1)
        belt[top : int(np.ceil(y1 * scale_y)) + 1, left : int(np.ceil(x1 * scale_x)) + 1] = False
    return belt


def _shade(grey: NDArray[np.uint8], belt: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean brightness of the belt per cell of 10 x 10 pixels; of few belt pixels it is none."""
    rows, columns = GRID
    cells = np.where(belt, grey, 0).reshape(rows, 10, columns, 10).sum(axis=(1, 3))
    count = belt.reshape(rows, 10, columns, 10).sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= 30, cells / count / 255.0, np.nan).astype(np.float32)


def _focus(image: Photo, along: str) -> float | None:
    """Steepest edges at half over those at an eighth of the detail; halving keeps noise out."""
    height, width = image.shape[:2]
    if along == "x":
        middle = max(0, width // 2 - _BAND_PX)
        band = image[:, middle : middle + 2 * _BAND_PX, 1]
    else:
        middle = max(0, height // 2 - _BAND_PX)
        band = np.ascontiguousarray(image[middle : middle + 2 * _BAND_PX, :, 1].T)
    fine, coarse = _steepest(band, 2), _steepest(band, 8)
    return fine / coarse if coarse >= _FEW_EDGES else None


def _steepest(band: NDArray[np.uint8], factor: int) -> float:
    """The largest steps from row to row but for one in 200, of a band made smaller."""
    size = (max(2, band.shape[1] // factor), max(2, band.shape[0] // factor))
    small = cv2.resize(band, size, interpolation=cv2.INTER_AREA).astype(np.int16)
    steps = np.abs(np.diff(small, axis=0)).ravel()
    place = min(len(steps) - 1, int(0.995 * len(steps)))
    return float(np.partition(steps, place)[place])
