"""What really lies on the belt: the items of one turn, which come again with new ids."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from beltsight.line.simulate.layout import Contact


@dataclass(frozen=True, slots=True)
class TrueItem:
    """One item on the belt.

    Args:
        item_id: counts up along the belt, through all turns.
        s_mm: belt position of its middle: at odometer ``s_mm`` it lies on the reference line.
        lateral_mm: its middle across the belt, from the left edge.
        along_mm, across_mm: its extent along and across the belt.
        length_mm, width_mm: sides of the least rectangle around it, at its own angle.
        labels: class by task: ``material``, ``contamination``...
        contact: ``touching`` or ``overlapping``, or None.
        other: id of the item that it touches or overlaps, or None.
        dirt_share: part of it that is covered by simulated dirt, 0 to 1.
        source: the photo that it was cut from.
    """

    item_id: int
    s_mm: float
    lateral_mm: float
    along_mm: float
    across_mm: float
    length_mm: float
    width_mm: float
    labels: Mapping[str, str] = field(hash=False)
    contact: Contact | None = None
    other: int | None = None
    dirt_share: float = 0.0
    source: str = ""

    @property
    def touching(self) -> bool:
        """Whether it touches or overlaps another."""
        return self.contact is not None


class Truth:
    """All items of the belt, however long it runs.

    Args:
        items: of the first turn, in any order; ids are given anew, downstream first.
        turn_mm: length of a turn.
        start_mm: belt position at which the first turn begins.
    """

    def __init__(self, items: Sequence[TrueItem], turn_mm: float, start_mm: float = 0.0) -> None:
        order = sorted(items, key=lambda item: item.s_mm)
        rank = {item.item_id: position for position, item in enumerate(order)}
        self._items = [
            replace(
                item,
                item_id=rank[item.item_id],
                other=None if item.other is None else rank[item.other],
            )
            for item in order
        ]
        self._places = [item.s_mm for item in self._items]
        self.turn_mm = turn_mm
        self.start_mm = start_mm
        self.longest_mm = max((item.along_mm for item in self._items), default=0.0)

    def __len__(self) -> int:
        return len(self._items)

    def between(self, low_mm: float, high_mm: float) -> list[TrueItem]:
        """The items whose middle lies from ``low_mm`` on and below ``high_mm``."""
        low = max(low_mm, self.start_mm)
        return list(self._from(low, high_mm)) if low < high_mm else []

    def _from(self, low_mm: float, high_mm: float) -> Iterator[TrueItem]:
        turn = int((low_mm - self.start_mm) // self.turn_mm)
        while self._items:
            shift = turn * self.turn_mm
            index = bisect.bisect_left(self._places, low_mm - shift)
            for item in self._items[index:]:
                if item.s_mm + shift >= high_mm:
                    return
                yield self._in_turn(item, turn)
            turn += 1
            if self.start_mm + turn * self.turn_mm >= high_mm:
                return

    def _in_turn(self, item: TrueItem, turn: int) -> TrueItem:
        if turn == 0:
            return item
        ids = turn * len(self._items)
        return replace(
            item,
            item_id=item.item_id + ids,
            s_mm=item.s_mm + turn * self.turn_mm,
            other=None if item.other is None else item.other + ids,
        )
