"""Binary PGM and PPM of any depth, as industrial cameras write them, row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image


def deep_netpbm_rows(image: Image.Image) -> Callable[[int, int], Image.Image] | None:
    """What reads rows of a binary PGM or PPM whose white is not 255; None for any other image.

    Pillow reads these numbers one by one in Python: seconds for each million.

    Returns:
        A function: first row, row after the last -> those rows at 8 bits.
    """
    from PIL import Image, ImageFile

    # An image that Pillow has read already has no stream and no tiles.
    if not isinstance(image, ImageFile.ImageFile) or not image.fp or not image.tile:
        return None
    stream, tile = image.fp, image.tile[0]
    if tile.codec_name != "ppm" or not isinstance(tile.args, tuple):
        return None
    start, white = tile.offset, int(tile.args[1])
    stored = np.dtype(np.uint8 if white < 256 else ">u2")
    # Stretched to 8 or 16 bits, as Pillow does; of 16 bits the high byte is shown.
    top = 256**stored.itemsize - 1
    stretched = np.minimum(np.rint(np.arange(top + 1) / white * top), top).astype(np.uint16)
    shown = (stretched if top == 255 else stretched >> 8).astype(np.uint8)
    width, mode = image.width, image.mode if image.mode != "I" else "L"
    row_bytes = width * len(image.getbands()) * stored.itemsize

    def rows(first: int, end: int) -> Image.Image:
        stream.seek(start + first * row_bytes)
        content = stream.read((end - first) * row_bytes)
        if len(content) < (end - first) * row_bytes:
            raise OSError("not enough image data")
        pixels = shown[np.frombuffer(content, stored)]
        return Image.frombytes(mode, (width, end - first), pixels.tobytes())

    return rows
