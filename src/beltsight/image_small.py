"""Photos that are no larger than asked for."""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.image import Source, decode
from beltsight.records import Photo


def decode_at_most(source: Source, max_side: int) -> Photo:
    """A photo whose sides are at most ``max_side`` pixels: uint8 (H, W, 3) RGB.

    It is decoded no larger than it must be, so its pixels differ a little from those of
    ``shrink(decode(source), max_side)``.

    Raises:
        ImageError: as for :func:`beltsight.image.decode`.
    """
    return shrink(decode(source, enough=(max_side, max_side)), max_side)


def shrink(photo: Photo, max_side: int) -> Photo:
    """A photo scaled down so that neither side is over ``max_side`` pixels; never up.

    Args:
        photo: uint8 (H, W, 3) RGB.
        max_side: in pixels.

    Example:
        >>> shrink(np.zeros((30, 40, 3), np.uint8), 20).shape
        (15, 20, 3)
    """
    scale = max_side / max(photo.shape[:2])
    if scale >= 1:
        return photo
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)
