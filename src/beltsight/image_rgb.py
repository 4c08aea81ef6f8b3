"""Decoded pixels of any kind -> uint8 RGB on a white page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DecodeError
from beltsight.records import Photo

if TYPE_CHECKING:
    from PIL import Image

# A viewer shows what is transparent on its page, and a page is white.
_PAGE = 255
_BITS_TAG, _PHOTOMETRIC_TAG = 258, 262
_WHITE_IS_ZERO = 0


def rgb(array: np.ndarray[Any, Any]) -> Photo:
    """Uint8 or uint16 grey, RGB or RGBA -> uint8 RGB on a white page."""
    photo = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    if photo.ndim == 2:
        photo = photo[:, :, None]
    if photo.shape[2] == 1:
        return np.repeat(photo, 3, axis=2)
    if photo.shape[2] == 4:
        alpha = photo[:, :, 3:].astype(np.uint16)
        mixed = photo[:, :, :3] * alpha + _PAGE * (255 - alpha)  # at most 255 * 255
        return ((mixed + 127) // 255).astype(np.uint8)
    return photo


def strip_as_rgb(strip: Image.Image, whole: Image.Image, name: str) -> Photo:
    """A strip of an image as a viewer shows it; ``whole`` is what was opened and has the tags."""
    if strip.mode.startswith("I") or strip.mode == "F":
        return rgb(_deep_grey(strip, whole, name))
    mode = "RGBA" if strip.has_transparency_data else "RGB"
    return rgb(np.asarray(strip if strip.mode == mode else strip.convert(mode)))


def _deep_grey(strip: Image.Image, whole: Image.Image, name: str) -> NDArray[np.uint16]:
    """Grey of more than 8 bits in any of Pillow's modes -> uint16 from black to white."""
    values = np.asarray(strip)
    if strip.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise DecodeError(
            f"{name}: pixel type {strip.mode!r} has no defined brightness; save it as 8 or 16 bits"
        )
    grey = values.astype(np.uint16)
    # Pillow does all of this for 8 bits, and none of it for more.
    if whole.format == "TIFF" and strip.mode.startswith("I;16"):
        tags = getattr(whole, "tag_v2", {})
        grey <<= 16 - tags.get(_BITS_TAG, (16,))[0]
        if tags.get(_PHOTOMETRIC_TAG, _WHITE_IS_ZERO) == _WHITE_IS_ZERO:
            grey = ~grey
    clear = strip.info.get("transparency")
    return np.where(values == clear, np.uint16(65535), grey) if isinstance(clear, int) else grey
