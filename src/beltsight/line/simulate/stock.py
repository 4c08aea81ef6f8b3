"""Items to lay on the belt: cut out of photos, those with a doubtful outline left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.config import ASSETS
from beltsight.dataset.index import load_dataset
from beltsight.errors import DatasetError, ImageError
from beltsight.image import decode
from beltsight.line.simulate.trim import fill, outline_points, trim
from beltsight.records import Photo, Sample
from beltsight.scene import CutOut, cut_out, find_foreground

DEMO_PHOTOS = ASSETS / "demo"

_LONGEST_PX = 1024  # of a photo: more than the belt ever shows of it
_LEAST_SHARE = 0.02
_MOST_AT_FRAME = 0.35
_LEAST_SOLID = 0.5
_THINNEST = 1 / 15


@dataclass(frozen=True, slots=True, eq=False)
class StockItem:
    """An item cut out of a photo.

    Args:
        cut: its pixels, at most as large as the belt shows it.
        labels: class by task, as the data set has them.
        source: the photo.
        long_px: its long side, of the least rectangle around it, in pixels of ``cut``.
    """

    cut: CutOut
    labels: Mapping[str, str]
    source: str
    long_px: float


@dataclass(frozen=True, slots=True, eq=False)
class Stock:
    """What can be laid on the belt.

    Args:
        items: by photo.
        left_out: photo and reason of those that cannot be used.
    """

    items: tuple[StockItem, ...]
    left_out: tuple[tuple[str, str], ...]

    @property
    def summary(self) -> str:
        """How many serve, and why the others do not."""
        total = len(self.items) + len(self.left_out)
        reasons = Counter(reason for _, reason in self.left_out)
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
        return f"{len(self.items)} of {total} photos" + (f" (left out: {told})" if told else "")


def demo_samples() -> tuple[Sample, ...]:
    """The packaged photos."""
    return load_dataset(DEMO_PHOTOS).samples


def fill_stock(
    samples: Iterable[Sample],
    largest_px: float,
    progress: Callable[[int], None] | None = None,
) -> Stock:
    """Cut the items out of their photos.

    Args:
        samples: photos with labels, each of one item on a ground that differs from it.
        largest_px: long side that the belt shows at most.
        progress: called with the number of photos done.

    Raises:
        DatasetError: no photo gives an item.
    """
    items: list[StockItem] = []
    left_out: list[tuple[str, str]] = []
    for number, sample in enumerate(samples, 1):
        try:
            items.append(_item(sample, largest_px))
        except ImageError as error:
            left_out.append((str(sample.path), f"not readable: {type(error).__name__}"))
        except _DoubtfulError as doubt:
            left_out.append((str(sample.path), str(doubt)))
        if progress is not None:
            progress(number)
    stock = Stock(tuple(items), tuple(left_out))
    if not items:
        raise DatasetError(
            f"no item can be cut out of these photos: {stock.summary}; each must show one item on "
            "an even ground that differs from it, see docs/scene.md"
        )
    return stock


class _DoubtfulError(Exception):
    """Why an item is left out."""


def _item(sample: Sample, largest_px: float) -> StockItem:
    photo = _shrunk(decode(sample.path))
    found = find_foreground(photo)
    if not found.is_trusted:
        raise _DoubtfulError("the outline is doubtful")
    if found.share < _LEAST_SHARE:
        raise _DoubtfulError("the item is too small in its photo")
    solid = found.solid.astype(np.uint8)
    if _frame_share(solid) > _MOST_AT_FRAME:
        raise _DoubtfulError("the item is cut off by the photo's frame")
    if fill(solid) < _LEAST_SOLID:
        raise _DoubtfulError("the outline is ragged or in pieces")
    mask = trim(photo, found.mask)
    if mask is None:
        raise _DoubtfulError("the item cannot be told from its shadow")
    cut = cut_out(photo, mask)
    sides = rectangle((cut.alpha >= 0.5).astype(np.uint8))
    long_px = max(sides)
    if min(sides) < _THINNEST * long_px:
        raise _DoubtfulError("the item is too thin")
    scale = min(1.0, 1.15 * largest_px / long_px)
    cut = cut.scaled(scale)
    return StockItem(cut, sample.labels, str(sample.path), long_px * scale)


def _shrunk(photo: Photo) -> Photo:
    scale = _LONGEST_PX / max(photo.shape[:2])
    if scale >= 1:
        return photo
    size = (max(8, round(photo.shape[1] * scale)), max(8, round(photo.shape[0] * scale)))
    return np.asarray(cv2.resize(photo, size, interpolation=cv2.INTER_AREA), np.uint8)


def _frame_share(solid: NDArray[np.uint8]) -> float:
    """How much of the outline lies on the photo's frame: there the item is cut straight."""
    at_frame = sum(int(side.sum()) for side in (solid[0], solid[-1], solid[:, 0], solid[:, -1]))
    return at_frame / max(1.0, _outline_length(solid))


def _outline_length(solid: NDArray[np.uint8]) -> float:
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return sum(float(cv2.arcLength(outline, True)) for outline in outlines)


def rectangle(solid: NDArray[np.uint8]) -> tuple[float, float]:
    """Sides of the least rectangle around a mask, at any angle, in pixels."""
    _, (first, second), _ = cv2.minAreaRect(outline_points(solid))
    # Between centres of pixels; a pixel's own width is missing.
    return float(first) + 1.0, float(second) + 1.0
