"""Frames as a camera gives them, with as much detail as photos have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from beltsight.config import ASSETS
from beltsight.errors import ConfigError
from beltsight.image import decode
from beltsight.records import Photo

# Name -> (height, width) in pixels.
RESOLUTIONS = {"1080p": (1080, 1920), "720p": (720, 1280), "480p": (480, 640)}
_DEMO_PHOTOS = ASSETS / "demo"


def camera_frames(resolution: str, count: int = 4) -> list[Photo]:
    """Frames for measuring: packaged photos side by side at their own size.

    Photos that were enlarged would lack detail, and so be faster to decode than a camera's.

    Args:
        resolution: among ``RESOLUTIONS``.
        count: how many different ones.

    Returns:
        uint8 (H, W, 3) RGB each.

    Raises:
        ConfigError: no such resolution.
    """
    if resolution not in RESOLUTIONS:
        raise ConfigError(
            f"no resolution is called {resolution!r}; there are: {', '.join(RESOLUTIONS)}"
        )
    height, width = RESOLUTIONS[resolution]
    photos = [decode(path) for path in sorted(_DEMO_PHOTOS.glob("*/*.jpg"))]
    return [tile(photos[number:] + photos[:number], height, width) for number in range(count)]


def tile(photos: Sequence[Photo], height: int, width: int) -> Photo:
    """Photos side by side, from left to right and top to bottom, cut at the edges.

    Args:
        photos: uint8 (H, W, 3) of one size; used again where they do not fill the frame.
        height, width: of the frame, in pixels.

    Example:
        >>> black, grey = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 9, np.uint8)
        >>> tile([black, grey], 1, 6)[0, :, 0].tolist()
        [0, 0, 9, 9, 0, 0]
    """
    high, wide = photos[0].shape[:2]
    supply = itertools.cycle(photos)
    rows = [
        np.concatenate([next(supply)[:high, :wide] for _ in range(-(-width // wide))], axis=1)
        for _ in range(-(-height // high))
    ]
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width])
