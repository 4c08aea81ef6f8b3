"""Lay an item on a background, with its shadow and the exact mask of what is seen of it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_photo
from beltsight.scene.cutout import CutOut
from beltsight.scene.light import to_light, to_photo


@dataclass(frozen=True, slots=True)
class Shadow:
    """A soft shadow.

    Args:
        offset_xy_px: how far it falls, right and down.
        blur_px: standard deviation of its edge.
        opacity: share of the light that it takes at its darkest, 0 to 1; 0 is no shadow.
    """

    offset_xy_px: tuple[float, float] = (3.0, 4.0)
    blur_px: float = 4.0
    opacity: float = 0.4

    def __post_init__(self) -> None:
        values = (*self.offset_xy_px, self.blur_px, self.opacity)
        if not (np.isfinite(values).all() and self.blur_px >= 0 and 0 <= self.opacity <= 1):
            raise ImageError(
                f"a shadow needs a blur of 0 pixels or more and an opacity of 0 to 1, got {self}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Pasted:
    """A photo with one item more.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: bool (H, W): where the item covers at least half of a pixel, within the frame. Of
            several items that overlap, a later one hides an earlier one:
            ``earlier.mask & ~later.mask`` is what is left of it.
    """

    photo: Photo
    mask: NDArray[np.bool_]


def paste(
    background: Photo,
    item: CutOut,
    centre_xy: tuple[float, float],
    *,
    shadow: Shadow | None = Shadow(),
) -> Pasted:
    """Lay an item on a background.

    Args:
        background: uint8 (H, W, 3) RGB; not changed.
        item: no larger than the background.
        centre_xy: where the middle of the item's box goes, in pixels; rounded to whole pixels.
            It may hang over the frame, and even lie outside.
        shadow: None for none.

    Returns:
        The photo and the mask of the item; the shadow belongs to the ground. Edges and shadow
        are mixed in linear light, as in a lens.

    Raises:
        ImageError: an unsuitable background, a centre that is no number, or an item that is
            wider or higher than the background.

    Example:
        >>> ground = np.full((40, 60, 3), 200, np.uint8)
        >>> item = CutOut(np.zeros((10, 20, 3), np.uint8), np.ones((10, 20), np.float32))
        >>> int(paste(ground, item, (60, 20)).mask.sum())  # the right half is outside
        100
    """
    check_photo(background, "background")
    _check(background, item, centre_xy)
    height, width = background.shape[:2]
    left = int(np.floor(centre_xy[0] - item.size[0] / 2 + 0.5))
    top = int(np.floor(centre_xy[1] - item.size[1] / 2 + 0.5))
    casts = shadow is not None and shadow.opacity > 0
    margin = _margin(shadow) if shadow is not None and casts else (0, 0, 0, 0)
    x0, y0 = max(0, left - margin[0]), max(0, top - margin[1])
    x1 = min(width, left + item.size[0] + margin[2])
    y1 = min(height, top + item.size[1] + margin[3])
    photo, mask = background.copy(), np.zeros((height, width), bool)
    if x0 >= x1 or y0 >= y1:
        return Pasted(photo, mask)
    size, shift = (x1 - x0, y1 - y0), (left - x0, top - y0)
    light = to_light(background[y0:y1, x0:x1])
    if shadow is not None and casts:
        light *= 1 - shadow.opacity * _cast(item, shadow, size, shift)[:, :, None]
    rows, columns = (
        _overlap(shift[1], item.size[1], size[1]),
        _overlap(shift[0], item.size[0], size[0]),
    )
    if rows[0].stop > rows[0].start and columns[0].stop > columns[0].start:
        cover = item.alpha[rows[1], columns[1]]
        under = light[rows[0], columns[0]]
        under += cover[:, :, None] * (to_light(item.rgb[rows[1], columns[1]]) - under)
        mask[y0:y1, x0:x1][rows[0], columns[0]] = cover >= 0.5
    photo[y0:y1, x0:x1] = to_photo(light)
    return Pasted(photo, mask)


def _check(background: Photo, item: CutOut, centre_xy: tuple[float, float]) -> None:
    height, width = background.shape[:2]
    if item.size[0] > width or item.size[1] > height:
        raise ImageError(
            f"the cut-out of {item.size[0]} x {item.size[1]} pixels is larger than the background "
            f"of {width} x {height}; scale it down first"
        )
    if not np.isfinite(centre_xy).all():
        raise ImageError(f"the centre must be two numbers of pixels, got {centre_xy}")


def _margin(shadow: Shadow) -> tuple[int, int, int, int]:
    """How far the shadow reaches beyond the item: left, top, right, bottom, in pixels."""
    reach = 3 * shadow.blur_px + 1
    x, y = shadow.offset_xy_px
    return (
        max(0, int(np.ceil(reach - x))),
        max(0, int(np.ceil(reach - y))),
        max(0, int(np.ceil(reach + x))),
        max(0, int(np.ceil(reach + y))),
    )


def _cast(item: CutOut, shadow: Shadow, size: tuple[int, int], shift: tuple[int, int]) -> Floats:
    """The item's alpha, moved and blurred; float32 (height, width) of that size."""
    x, y = shift[0] + shadow.offset_xy_px[0], shift[1] + shadow.offset_xy_px[1]
    moved = np.array([[1, 0, x], [0, 1, y]], np.float64)
    cast = cv2.warpAffine(item.alpha, moved, size, flags=cv2.INTER_LINEAR)
    if shadow.blur_px > 0:
        cast = cv2.GaussianBlur(cast, (0, 0), shadow.blur_px, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cast, np.float32)


def _overlap(shift: int, length: int, frame: int) -> tuple[slice, slice]:
    """One axis: where the item lies in the frame, and which part of the item that is."""
    start, stop = max(0, shift), min(frame, shift + length)
    return slice(start, stop), slice(start - shift, stop - shift)
