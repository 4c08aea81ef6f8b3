"""Text and marks on a picture, for people: drawn once, then laid on as often as needed."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Photo

Colour = tuple[int, int, int]
Box = tuple[int, int, int, int]

WHITE: Colour = (245, 247, 250)
INK: Colour = (17, 20, 26)


@lru_cache(maxsize=4096)
def text_mask(text: str, size_px: int) -> NDArray[np.uint8]:
    """A line of text as coverage, uint8 (height, width), 0 to 255; the same height for a size."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size_px)
    width = max(1, int(np.ceil(font.getlength(text))))
    picture = Image.new("L", (width, round(size_px * 1.3)), 0)
    ImageDraw.Draw(picture).text((0, 0), text, fill=255, font=font)
    return np.asarray(picture, np.uint8)


def text_width(text: str, size_px: int) -> int:
    """Of a line, in pixels."""
    return int(text_mask(text, size_px).shape[1])


def write(page: Photo, text: str, left: int, top: int, size_px: int, colour: Colour) -> int:
    """Write a line on a picture, in place; what does not fit is cut off.

    Returns:
        The column where it ends.
    """
    mask = text_mask(text, size_px)
    height, width = page.shape[:2]
    x0, y0, x1, y1 = (
        max(0, left),
        max(0, top),
        min(width, left + mask.shape[1]),
        min(height, top + mask.shape[0]),
    )
    if x0 < x1 and y0 < y1:
        cover = mask[y0 - top : y1 - top, x0 - left : x1 - left, None].astype(np.float32) / 255
        under = page[y0:y1, x0:x1].astype(np.float32)
        page[y0:y1, x0:x1] = np.rint(under + cover * (np.array(colour, np.float32) - under))
    return left + int(mask.shape[1])


def plate(page: Photo, box: Box, colour: Colour, opacity: float = 0.9, radius: int = 4) -> None:
    """A rounded plate, in place, within the picture."""
    x0, y0 = max(0, box[0]), max(0, box[1])
    x1, y1 = min(page.shape[1], box[2]), min(page.shape[0], box[3])
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    shape = np.zeros((y1 - y0, x1 - x0), np.uint8)
    radius = min(radius, (x1 - x0) // 2, (y1 - y0) // 2)
    cv2.rectangle(shape, (radius, 0), (x1 - x0 - 1 - radius, y1 - y0 - 1), 255, -1)
    cv2.rectangle(shape, (0, radius), (x1 - x0 - 1, y1 - y0 - 1 - radius), 255, -1)
    for x in (radius, x1 - x0 - 1 - radius):
        for y in (radius, y1 - y0 - 1 - radius):
            cv2.circle(shape, (x, y), radius, 255, -1, cv2.LINE_AA)
    cover = shape[:, :, None].astype(np.float32) * np.float32(opacity / 255)
    under = page[y0:y1, x0:x1].astype(np.float32)
    page[y0:y1, x0:x1] = np.rint(under + cover * (np.array(colour, np.float32) - under))


def frame_box(page: Photo, box: Box, colour: Colour, thick: int = 2) -> None:
    """A thin outline with strong corners, in place."""
    x0, y0, x1, y1 = box[0], box[1], box[2] - 1, box[3] - 1
    cv2.rectangle(page, (x0, y0), (x1, y1), colour, 1, cv2.LINE_AA)
    arm = max(4, min(x1 - x0, y1 - y0) // 4)
    for x, y, dx, dy in ((x0, y0, 1, 1), (x1, y0, -1, 1), (x0, y1, 1, -1), (x1, y1, -1, -1)):
        cv2.line(page, (x, y), (x + dx * arm, y), colour, thick + 1)
        cv2.line(page, (x, y), (x, y + dy * arm), colour, thick + 1)


def overlaps(one: Box, other: Box) -> bool:
    """Whether two boxes share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
