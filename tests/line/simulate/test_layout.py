"""Where items lie: gaps, contacts, rates; checked on a finer grid than the one that laid them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.line.simulate.scenery import write_photos

from beltsight.errors import ConfigError
from beltsight.line.simulate import ItemLook
from beltsight.line.simulate.layout import Place, lay_out
from beltsight.line.simulate.stock import StockItem, fill_stock

LENGTH_MM, BREADTH_MM, SPEED = 30_000.0, 560.0, 2500.0


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[StockItem, ...]:
    folder: Path = tmp_path_factory.mktemp("photos")
    return fill_stock(write_photos(folder), 200).items


def laid(stock: tuple[StockItem, ...], seed: int = 0, **look: object) -> tuple[Place, ...]:
    given = ItemLook.model_validate({"rate_per_s": 20, **look})
    rng = np.random.default_rng(seed)
    return lay_out(stock, given, LENGTH_MM, BREADTH_MM, SPEED, rng)


def outline(stock: tuple[StockItem, ...], place: Place) -> np.ndarray:
    """Pixels of an item's outline on the belt, in mm (s, lateral)."""
    item = stock[place.stock]
    cut = item.cut.transformed(
        degrees=place.degrees, scale=place.long_mm / item.long_px, mirror=place.mirror
    )
    solid = (cut.alpha >= 0.5).astype(np.uint8)  # one pixel a mm
    points = np.concatenate(cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0])
    x, y = points[:, 0, 0] + 0.5, points[:, 0, 1] + 0.5
    width, height = cut.size
    return np.stack([place.s_mm - (x - width / 2), place.lateral_mm + y - height / 2], axis=1)


def distances(
    stock: tuple[StockItem, ...], places: tuple[Place, ...]
) -> dict[tuple[int, int], float]:
    """Least distance of the outlines of all pairs that are near along the belt."""
    outlines = [outline(stock, place) for place in places]
    found = {}
    for one in range(len(places)):
        for other in range(one + 1, len(places)):
            if places[other].s_mm - places[one].s_mm > 400:
                break
            apart = outlines[one][:, None] - outlines[other][None]
            found[one, other] = float(np.sqrt((apart**2).sum(-1)).min())
    return found


def test_free_items_keep_their_gap_and_margin(stock: tuple[StockItem, ...]) -> None:
    places = laid(stock, gap_mm=20, margin_mm=15)
    assert len(places) > 150
    apart = distances(stock, places)
    assert len(apart) > 200
    assert min(apart.values()) >= 20
    assert min(apart.values()) < 30  # no wider than needed
    for place in places:
        sides = outline(stock, place)[:, 1]
        assert sides.min() >= 14
        assert sides.max() <= BREADTH_MM - 14
    ends = [outline(stock, place)[:, 0] for place in (places[0], places[-1])]
    assert ends[0].min() >= 20  # the belt's ends meet
    assert ends[1].max() <= LENGTH_MM - 20


def test_the_rate_is_kept_and_arrivals_vary(stock: tuple[StockItem, ...]) -> None:
    counts = [len(laid(stock, seed, rate_per_s=8, gap_mm=5)) for seed in range(6)]
    expected = 8 * LENGTH_MM / SPEED
    assert np.mean(counts) == pytest.approx(expected, rel=0.1)
    steps = np.diff([place.s_mm for place in laid(stock, 1, rate_per_s=8, gap_mm=5)])
    # Of a Poisson process the standard deviation of the steps is their mean.
    assert 0.75 < steps.std() / steps.mean() < 1.25


def test_contacts_come_in_the_asked_share_and_do_touch(stock: tuple[StockItem, ...]) -> None:
    places = laid(stock, touching=0.3, overlapping=0.2, rate_per_s=12)
    share = np.mean([place.contact == "touching" for place in places])
    assert 0.2 < share < 0.4
    assert 0.1 < np.mean([place.contact == "overlapping" for place in places]) < 0.3
    apart = distances(stock, places)
    pairs = {tuple(sorted((n, p.other))) for n, p in enumerate(places) if p.other is not None}
    assert len(pairs) > 20
    for pair in pairs:
        one, other = (places[index] for index in pair)
        assert (one.other, other.other) == (pair[1], pair[0])
        assert one.contact == other.contact
        assert apart[pair[0], pair[1]] < 2.5
    for pair, gap in apart.items():
        assert pair in pairs or gap >= 20


def test_each_photo_comes_once_before_any_comes_twice(stock: tuple[StockItem, ...]) -> None:
    by_arrival = laid(stock, gap_mm=0, rate_per_s=2)
    firsts = {place.stock for place in by_arrival[:3]}
    assert firsts == {0, 1, 2}


def test_the_same_seed_lays_the_same(stock: tuple[StockItem, ...]) -> None:
    assert laid(stock, 5) == laid(stock, 5)
    assert laid(stock, 5) != laid(stock, 6)
    assert all(a.s_mm <= b.s_mm for a, b in pairwise(laid(stock, 5)))


def test_a_full_belt_ends_and_holds_fewer(stock: tuple[StockItem, ...]) -> None:
    given = ItemLook(rate_per_s=200)
    rng = np.random.default_rng(0)
    places = lay_out(stock, given, 3000.0, BREADTH_MM, SPEED, rng)
    assert 15 < len(places) < 200 * 3000 / SPEED


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_mm": (150, 60)}, {"size_mm": (1, 60)}, {"dirt_share": (0.5, 0.1)},
        {"touching": 0.6, "overlapping": 0.5}, {"rate_per_s": float("inf")}, {"colour": "red"},
    ],
)  # fmt: skip
def test_looks_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ConfigError, ValueError)):
        ItemLook.model_validate(wrong)
