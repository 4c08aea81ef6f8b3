"""An item cut out of its frame, as the photo that the model's preparation takes."""

from __future__ import annotations

import math

import numpy as np

from beltsight.errors import ImageError
from beltsight.line.segment import Region
from beltsight.line.view import Box
from beltsight.records import Photo


def crop_item(
    image: Photo, item: Region | Box, margin: float = 0.1, aspect: float | None = None
) -> Photo:
    """Cut an item out of a frame, with some belt around it.

    The crop goes to :meth:`beltsight.Model.prepare` like any photo: the letterbox there scales it,
    and no part of the item is lost.

    Args:
        image: uint8 (H, W, 3) RGB.
        item: a region, or its box (x0, y0, x1, y1) in pixels, ends exclusive.
        margin: of the longer side, added on every side; cut at the frame.
        aspect: width by height; a narrower or flatter crop is widened with belt, as far as the
            frame goes. None keeps the item's.

    Returns:
        uint8 (h, w, 3) RGB, a copy of its own: the frame's buffer may be used again.

    Raises:
        ImageError: a box without area or outside the frame, a margin below 0, or no aspect over 0.

    Example:
        >>> frame = np.zeros((100, 200, 3), np.uint8)
        >>> crop_item(frame, (50, 40, 90, 60), margin=0.25).shape
        (40, 60, 3)
    """
    box = item.box_xyxy if isinstance(item, Region) else item
    x0, y0, x1, y1 = _checked(image, box, margin, aspect)
    reach = margin * max(x1 - x0, y1 - y0)
    width, height = x1 - x0 + 2 * reach, y1 - y0 + 2 * reach
    if aspect is not None:
        width, height = max(width, height * aspect), max(height, width / aspect)
    spare_x, spare_y = (width - (x1 - x0)) / 2, (height - (y1 - y0)) / 2
    left, top = math.floor(x0 - spare_x + 0.5), math.floor(y0 - spare_y + 0.5)
    right, bottom = math.floor(x1 + spare_x + 0.5), math.floor(y1 + spare_y + 0.5)
    return np.array(image[max(top, 0) : bottom, max(left, 0) : right])


def _checked(
    image: Photo, box: Box, margin: float, aspect: float | None
) -> tuple[int, int, int, int]:
    """The box within the frame."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    left, top, right, bottom = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if left >= right or top >= bottom:
        raise ImageError(
            f"nothing of the box (x0, y0, x1, y1) = {box} lies in the frame of {width} x {height} "
            "pixels"
        )
    if not (math.isfinite(margin) and margin >= 0):
        raise ImageError(f"a margin must be 0 or more, as a share of the longer side; got {margin}")
    if aspect is not None and not (math.isfinite(aspect) and aspect > 0):
        raise ImageError(f"an aspect is width by height, over 0; got {aspect}")
    return left, top, right, bottom
