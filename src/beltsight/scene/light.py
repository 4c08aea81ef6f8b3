"""Between the photo's numbers and the amount of light they stand for (sRGB, IEC 61966-2-1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo

_STEPS = 4095 * 4


def _decode_curve(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encode_curve(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_TO_LIGHT = _decode_curve(np.arange(256) / 255).astype(np.float32)
_TO_PHOTO = np.rint(_encode_curve(np.arange(_STEPS + 1) / _STEPS) * 255).astype(np.uint8)


def to_light(photo: Photo) -> Floats:
    """uint8 (..., 3) sRGB -> float32 of the same shape, in linear light: 0 is none, 1 is white."""
    return np.asarray(_TO_LIGHT[photo], np.float32)


def to_photo(light: Floats) -> Photo:
    """Linear light -> uint8 sRGB; what is over 1 is cut off, as a sensor does.

    Example:
        >>> levels = np.arange(256, dtype=np.uint8)
        >>> bool((to_photo(to_light(levels)) == levels).all())
        True
    """
    steps = np.clip(light * _STEPS + 0.5, 0, _STEPS).astype(np.int32)
    return np.asarray(_TO_PHOTO[steps], np.uint8)
