"""Items on their way to a decision: which views were asked, which answered, and who is overdue."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from beltsight.line.aim import Wanted
from beltsight.records import Photo, Prediction


@dataclass(frozen=True, slots=True)
class ItemPlace:
    """Where an item lies, by the last frame that told it.

    Args:
        item_id: unique within the run.
        belt_position_mm: of its middle.
        lateral_mm: of its middle, from the belt's left edge.
        length_mm: along the belt.
        width_mm: across the belt.
        seen_mm: the odometer at that frame, which need not show the item: others show the way.
        touching: it may be several items.
    """

    item_id: int
    belt_position_mm: float
    lateral_mm: float
    length_mm: float
    width_mm: float
    seen_mm: float
    touching: bool = False

    def wanted(self, route: str, slip_ratio: float) -> Wanted:
        """What a scheduler asks for to bring it there."""
        return Wanted(
            self.item_id, self.belt_position_mm, self.lateral_mm, self.length_mm, self.width_mm,
            route, slip_ratio=slip_ratio, seen_mm=self.seen_mm,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ViewKey:
    """One view of an item that an answer was asked for."""

    item_id: int
    number: int


@dataclass(frozen=True, slots=True, eq=False)
class ReadyItem:
    """An item to be decided now.

    Args:
        place: of the item.
        predictions: one per view that was answered; none where no answer came in time.
        first_s: exposure of its first frame, monotonic.
        last_s: exposure of the last view that was answered, else of its first frame.
        since_s: from when on it waited for answers, and no more for a better view.
        overdue: views were still to be answered when its time was up.
        crop: the last view that was asked, uint8 (H, W, 3) RGB, or None.
    """

    place: ItemPlace
    predictions: tuple[Prediction, ...]
    first_s: float
    last_s: float
    since_s: float
    overdue: bool
    crop: Photo | None


@dataclass(slots=True)
class _Pending:
    place: ItemPlace
    first_s: float
    asked: dict[int, float] = field(default_factory=dict)  # number -> exposure
    answers: dict[int, Prediction] = field(default_factory=dict)
    closed_s: float | None = None
    crop: Photo | None = None

    @property
    def is_complete(self) -> bool:
        return self.closed_s is not None and len(self.answers) == len(self.asked)

    def ready(self, overdue_s: float | None) -> ReadyItem:
        """Where its time is up, since when; None where it is complete."""
        numbers = sorted(self.answers)
        last_s = self.asked[numbers[-1]] if numbers else self.first_s
        open_s = [when_s for number, when_s in self.asked.items() if number not in self.answers]
        ends_s = [when_s for when_s in (self.closed_s, overdue_s) if when_s is not None]
        # That another view may come is no wait for the model; a view without its answer is.
        since_s = max(last_s, min([*open_s, *ends_s], default=last_s))
        return ReadyItem(
            self.place,
            tuple(self.answers[number] for number in numbers),
            self.first_s,
            last_s,
            since_s,
            overdue_s is not None and (bool(open_s) or not self.asked),
            self.crop,
        )


class ItemBook:
    """Items that are seen and not yet decided. Any thread may call; nothing waits.

    Each item becomes ready once: when it is closed and all its views are answered, or when its time
    is up.

    Attributes:
        answered_late: answers that came after their item had been decided.

    Example:
        >>> book = ItemBook()
        >>> book.see(ItemPlace(1, 120.0, 280.0, 90.0, 60.0, 100.0), 0.0)
        >>> key = book.ask(1, 0.03)
        >>> book.close(1, 0.06)
        >>> book.answer(key, Prediction(None, error="blurred")).place.item_id
        1
    """

    def __init__(self) -> None:
        self.answered_late = 0
        self._lock = threading.Lock()
        self._pending: dict[int, _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def see(self, place: ItemPlace, exposed_s: float) -> None:
        """An item is where it is; the first time opens it. One that is decided is opened again by
        its tracker's mistake only, so callers do not see items after they have closed them.
        """
        with self._lock:
            known = self._pending.get(place.item_id)
            if known is None:
                self._pending[place.item_id] = _Pending(place, exposed_s)
            else:
                known.place = place

    def ask(self, item_id: int, exposed_s: float, crop: Photo | None = None) -> ViewKey:
        """A view goes to the model; its answer comes back with the key.

        Args:
            item_id: of an item that was seen.
            exposed_s: when the view was taken.
            crop: the view, kept for the log.
        """
        with self._lock:
            item = self._pending[item_id]
            number = len(item.asked)
            item.asked[number] = exposed_s
            item.crop = item.crop if crop is None else crop
            return ViewKey(item_id, number)

    def answer(self, key: ViewKey, prediction: Prediction) -> ReadyItem | None:
        """An answer came; the item, where that was the last thing it waited for."""
        with self._lock:
            item = self._pending.get(key.item_id)
            if item is None:
                self.answered_late += 1
                return None
            item.answers[key.number] = prediction
            return self._take(key.item_id) if item.is_complete else None

    def close(self, item_id: int, now_s: float) -> ReadyItem | None:
        """No more views will be asked from now on; the item, where all are answered."""
        with self._lock:
            item = self._pending.get(item_id)
            if item is None:
                return None
            item.closed_s = now_s
            return self._take(item_id) if item.is_complete else None

    def overdue(self, is_due: Callable[[ItemPlace], bool], now_s: float) -> list[ReadyItem]:
        """Items that cannot wait any longer, with what answers they have.

        Args:
            is_due: whether an item at a place cannot; it does not call this book.
            now_s: on the clock of the frames.
        """
        with self._lock:
            late = [item_id for item_id, item in self._pending.items() if is_due(item.place)]
            return [self._take(item_id, now_s) for item_id in late]

    def _take(self, item_id: int, overdue_s: float | None = None) -> ReadyItem:
        return self._pending.pop(item_id).ready(overdue_s)
