"""Each item is decided once, when it is answered or when its time is up."""

from __future__ import annotations

import numpy as np

from beltsight.line.figures import FigureBook, Figures
from beltsight.line.items import ItemBook, ItemPlace, ViewKey
from beltsight.records import Prediction


def place(item_id: int = 1, at_mm: float = 100.0, seen_mm: float = 90.0) -> ItemPlace:
    return ItemPlace(item_id, at_mm, 280.0, 90.0, 60.0, seen_mm)


def answer(name: str = "a") -> Prediction:
    return Prediction(name)


def _always(_: ItemPlace) -> bool:
    return True


def test_ready_when_closed_and_answered_in_any_order() -> None:
    book = ItemBook()
    book.see(place(), 1.0)
    first, second = book.ask(1, 1.1), book.ask(1, 1.2)
    assert (first, second) == (ViewKey(1, 0), ViewKey(1, 1))
    assert book.answer(second, answer("b")) is None
    assert book.answer(first, answer("a")) is None  # another view may be asked
    ready = book.close(1, 1.3)
    assert ready is not None
    assert [prediction.path for prediction in ready.predictions] == ["a", "b"]
    assert (ready.first_s, ready.last_s, ready.overdue) == (1.0, 1.2, False)
    assert ready.since_s == 1.3  # until then another view might have come
    assert len(book) == 0
    # Nothing makes it ready again.
    assert book.close(1, 1.3) is None and book.answer(first, answer()) is None
    assert book.overdue(_always, 1.3) == [] and book.answered_late == 1


def test_ready_with_the_last_answer_where_it_was_closed_before() -> None:
    book = ItemBook()
    book.see(place(), 1.0)
    crop = np.zeros((4, 5, 3), np.uint8)
    key = book.ask(1, 1.1, crop)
    assert book.close(1, 1.1) is None
    book.see(place(seen_mm=130.0), 1.3)
    ready = book.answer(key, answer())
    assert ready is not None and ready.place.seen_mm == 130.0
    assert ready.crop is crop


def test_time_is_up() -> None:
    book = ItemBook()
    for number, at_mm in enumerate((100.0, 200.0, 300.0)):
        book.see(place(number, at_mm), float(number))
    one, _ = book.ask(0, 5.0), book.ask(0, 6.0)
    book.answer(one, answer())
    overdue = book.overdue(lambda place: place.belt_position_mm < 250.0, 9.0)
    ready = {item.place.item_id: item for item in overdue}
    assert ready.keys() == {0, 1}
    assert ready[0].overdue and len(ready[0].predictions) == 1 and ready[0].last_s == 5.0
    assert ready[1].overdue and ready[1].predictions == () and ready[1].last_s == 1.0
    assert ready[0].since_s == 6.0  # the model has had that view since then
    assert ready[1].since_s == 9.0  # there was nothing to wait for
    assert len(book) == 1


def test_all_answers_are_there_though_no_one_closed_it() -> None:
    book = ItemBook()
    book.see(place(), 1.0)
    book.answer(book.ask(1, 1.1), answer())
    (ready,) = book.overdue(_always, 1.7)
    assert not ready.overdue and ready.since_s == 1.7


def test_an_item_without_a_view_is_ready_when_closed() -> None:
    book = ItemBook()
    book.see(place(), 1.0)
    ready = book.close(1, 1.2)
    assert ready is not None and ready.predictions == ()


def test_figures_count() -> None:
    book = FigureBook(span_s=2.0)
    assert book.figures(0.0) == Figures()
    for number in range(10):
        late = "late" if number == 9 else "planned"
        book.add_item(
            "pet", "plastic", late, 10.0 * number, 2.0 * number, float(number), number == 9
        )
    book.add_frame(4.0)
    book.add_command("sent")
    found = book.figures(9.5, answered_late=3, refused_views=2)
    assert (found.frames, found.items, found.late, found.overdue) == (1, 10, 1, 1)
    assert found.items_per_s == 1.0  # those at 8 and 9 s, of two seconds
    assert found.decision_ms == (45.0, 85.5, 89.1, 90.0)
    assert found.decision_age_ms == 17.98  # of 16 and 18 ms
    assert (found.routes, found.materials) == ({"pet": 10}, {"plastic": 10})
    assert (found.commands, found.answered_late, found.refused_views) == ({"sent": 1}, 3, 2)


def test_an_item_is_late_once_wherever_its_command_was_dropped() -> None:
    book = FigureBook()
    for number in range(4):
        outcome = "late" if number == 0 else "planned"
        book.add_item("pet", "plastic", outcome, 10.0, 10.0, 1.0, False, number)
    book.add_command("late", 0)  # of its fail-safe
    book.add_command("late", 1)
    book.add_command("sent", 2)
    book.add_command("peer: late", 2)
    book.add_command("peer: late", 2)
    book.add_command("sent", 3)
    book.add_command("peer: fired", 3)
    assert book.figures(1.0).late == 3
    assert book.late_items() == {0, 1, 2}
