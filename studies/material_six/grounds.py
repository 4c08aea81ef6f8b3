"""Items without their grounds, and grounds without their items, of a pool's photos.

Only photos whose item is found with a trusted outline can be taken apart. What a ground or a frame
can give away is made alike: all results are squares of one size, saved at one quality.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from studies.classical.features import photo_without_bars
from studies.material_six.build import Row, read_rows, write_rows

from beltsight.bench import encode_jpeg
from beltsight.scene import clear_background, cut_out, find_foreground

Photo = NDArray[np.uint8]
SIDE_PX = 256
ITEM_PX = 208
GREY = 128  # the letterbox's
QUALITY = 92
_READ_PX = 384
_ITEM_SHARES = (0.02, 0.8)


def find_item(photo: Photo) -> NDArray[np.float32] | None:
    """The item's mask, float32 (H, W), or None where its outline is not to be trusted."""
    found = find_foreground(photo)
    usual = _ITEM_SHARES[0] <= found.share <= _ITEM_SHARES[1]
    return found.mask if found.is_trusted and usual else None


def item_on_grey(photo: Photo, mask: NDArray[np.float32]) -> Photo:
    """The item alone, in the middle of a grey square, its longer side always as long.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: float32 (H, W), where the item is.

    Returns:
        uint8 (256, 256, 3) RGB.
    """
    item = cut_out(photo, mask)
    item = item.scaled(ITEM_PX / max(item.size))
    width, height = (min(side, SIDE_PX) for side in item.size)
    left, top = (SIDE_PX - width) // 2, (SIDE_PX - height) // 2
    alpha = item.alpha[:height, :width, None]
    made = np.full((SIDE_PX, SIDE_PX, 3), GREY, np.uint8)
    inside = made[top : top + height, left : left + width]
    inside[:] = np.rint(alpha * item.rgb[:height, :width] + (1 - alpha) * GREY).astype(np.uint8)
    return made


def ground_alone(photo: Photo, mask: NDArray[np.float32]) -> Photo:
    """The ground with the item painted over, its middle square: no proportions of a frame.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: float32 (H, W), where the item is.

    Returns:
        uint8 (256, 256, 3) RGB.
    """
    ground = clear_background(photo, mask)
    side = min(ground.shape[:2])
    top, left = ((length - side) // 2 for length in ground.shape[:2])
    square = ground[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > SIDE_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=method), np.uint8)


def take_apart(pool: Path, whole: Path, items: Path, grounds: Path) -> list[Row]:
    """Three data sets of the photos that can be taken apart: as they are, items, grounds.

    Args:
        pool: the data set of all photos.
        whole: gets these photos as they are.
        items: gets their items.
        grounds: gets their grounds.

    Returns:
        The rows of ``items``, which are those of ``grounds``, too.
    """
    kept, made = [], []
    for row, photo, mask in _trusted(pool):
        kept.append(row)
        made.append(replace(row, path=f"{row.path}.jpg"))
        _write(whole / row.path, (pool / row.path).read_bytes())
        _write(items / made[-1].path, encode_jpeg(item_on_grey(photo, mask), QUALITY))
        _write(grounds / made[-1].path, encode_jpeg(ground_alone(photo, mask), QUALITY))
    write_rows(whole, kept)
    write_rows(items, made)
    write_rows(grounds, made)
    return made


def _trusted(pool: Path) -> Iterator[tuple[Row, Photo, NDArray[np.float32]]]:
    for row in read_rows(pool):
        photo = photo_without_bars(pool / row.path, _READ_PX)
        if min(photo.shape[:2]) < 64:  # a sliver has no ground to speak of
            continue
        mask = find_item(photo)
        if mask is not None:
            yield row, photo, mask


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
