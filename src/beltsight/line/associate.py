"""Which boxes of this frame are which known items: pure geometry in belt millimetres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beltsight.line.view import BeltBox

_LEAST_COVER = 0.3  # of the smaller box
_EXPLAINED = 0.6  # intersection over union from which a box is taken for the whole of an item
_ALIKE_MM, _ALIKE_SHARE = 15.0, 0.25
_AGREE_MM = 12.0
_MOST_PAIRS = 4096


@dataclass(frozen=True, slots=True)
class Association:
    """Boxes and items, by index.

    Args:
        pairs: (item, box), each item and each box at most once.
        parts: (item, box): boxes that are further parts of an item which its own box explains in
            part only.
        merged: (item, box): items without a box of their own that lie in another item's box.
    """

    pairs: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int], ...]
    merged: tuple[tuple[int, int], ...]


def associate(items: Sequence[BeltBox], boxes: Sequence[BeltBox]) -> Association:
    """Match predicted items with the boxes of a frame.

    Args:
        items: where items must be by the belt's motion, cut to the view.
        boxes: what was found.

    Returns:
        The best overlaps first, each item and box once; then what is left over.

    Example:
        >>> item, box = BeltBox(0, 100, 0, 50), BeltBox(2, 98, 1, 50)
        >>> associate([item], [box, BeltBox(300, 400, 0, 50)]).pairs
        ((0, 0),)
    """
    scores: dict[tuple[int, int], float] = {}
    for i, item in enumerate(items):
        for j, box in enumerate(boxes):
            if box.u0 >= item.u1 or box.u1 <= item.u0:  # most are far away
                continue
            share = cover(item, box)
            if share > _LEAST_COVER:
                scores[i, j] = share + 2 * iou(item, box)
    pairs: dict[int, int] = {}
    taken: dict[int, int] = {}
    for i, j in sorted(scores, key=lambda pair: -scores[pair]):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken[j] = i
    parts = []
    for j in sorted({j for _, j in scores} - taken.keys()):
        i = max((i for i, other in scores if other == j), key=lambda i: scores[i, j])
        # An item that has a box of its own size is whole: what lies beside it is another.
        if i in pairs and iou(items[i], boxes[pairs[i]]) < _EXPLAINED and _fits(items[i], boxes[j]):
            parts.append((i, j))
    merged = [
        (i, max((j for other, j in scores if other == i), key=lambda j: scores[i, j]))
        for i in sorted({i for i, _ in scores} - pairs.keys())
    ]
    return Association(tuple(pairs.items()), tuple(parts), tuple(merged))


def find_shift(items: Sequence[BeltBox], boxes: Sequence[BeltBox], most_mm: float) -> float:
    """How much farther items have gone than predicted, where the encoder was wrong.

    Args:
        items: predicted, those that must be wholly in view.
        boxes: found, those wholly in view.
        most_mm: the largest error that is looked for.

    Returns:
        The shift under which most items lie on a box of their size, at least half of them;
        0 where none does better than none.
    """
    shifts = np.array(
        [
            box.u - item.u
            for item in items
            for box in boxes
            if _alike(item, box) and abs(box.u - item.u) <= most_mm
        ][:_MOST_PAIRS]
    )
    if not shifts.size:
        return 0.0
    support = (np.abs(shifts[:, None] - shifts[None, :]) <= _AGREE_MM).sum(axis=1)
    best = int(support.argmax())
    unmoved = int((np.abs(shifts) <= _AGREE_MM).sum())
    if support[best] <= unmoved or 2 * support[best] < len(items):
        return 0.0
    return float(np.median(shifts[np.abs(shifts - shifts[best]) <= _AGREE_MM]))


def cover(one: BeltBox, other: BeltBox) -> float:
    """What both cover, as a share of the smaller; 0 to 1."""
    smaller = min(one.area, other.area)
    return one.intersection(other).area / smaller if smaller > 0 else 0.0


def iou(one: BeltBox, other: BeltBox) -> float:
    """Intersection over union, 0 to 1.

    Example:
        >>> iou(BeltBox(0, 2, 0, 1), BeltBox(1, 3, 0, 1)) == 1 / 3
        True
    """
    common = one.intersection(other).area
    union = one.area + other.area - common
    return common / union if union > 0 else 0.0


def _fits(item: BeltBox, part: BeltBox) -> bool:
    """Whether a part lies within an item, but for a little."""
    return part.area > 0 and item.intersection(part).area / part.area > 0.6


def _alike(item: BeltBox, box: BeltBox) -> bool:
    return (
        abs(item.lateral - box.lateral) <= _ALIKE_MM
        and abs(item.length - box.length) <= _ALIKE_SHARE * max(item.length, box.length)
        and abs(item.width - box.width) <= _ALIKE_SHARE * max(item.width, box.width)
    )
