"""Finding items on a painted belt; tests/line/test_track.py follows them."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from benchmarks.belt_scene import Scene, Strip, Truth, paint
from numpy.typing import NDArray

from beltsight.errors import CameraError, LineError
from beltsight.line.background import Background, FindSettings, cells_of
from beltsight.line.segment import Finder, Region, measure_sharpness, split_blob
from beltsight.line.view import Direction, View

VIEW = View(width_px=1280, height_px=720, width_mm=1000, height_mm=562.5)
STEP_MM = 2500 / 30


@cache
def strip_of(scene: Scene) -> Strip:
    return paint(scene)


def in_view(strip: Strip, position_mm: float, margin_mm: float = 5) -> list[Truth]:
    """Items that are wholly in view."""
    return [
        item
        for item in strip.items
        if position_mm - 500 + margin_mm < item.s0
        and item.s1 < position_mm + 500 - margin_mm
        and margin_mm < item.lateral0
        and item.lateral1 < 562.5 - margin_mm
    ]


def on(regions: list[Region], item: Truth, position_mm: float) -> list[Region]:
    """Regions whose middle lies on an item."""
    found = []
    for region in regions:
        box = VIEW.box_to_belt(region.box_xyxy)
        s = position_mm - box.u
        if item.s0 <= s <= item.s1 and item.lateral0 <= box.lateral <= item.lateral1:
            found.append(region)
    return found


def seen(finder: Finder, strip: Strip, frames: int, start_mm: float | None = None) -> float:
    """Let a finder watch the belt go by; the last odometer position."""
    position = strip.first_mm if start_mm is None else start_mm
    for number in range(frames):
        finder.find(strip.frame(position, number), STEP_MM if number else 0.0)
        position += STEP_MM
    return position - STEP_MM


@pytest.mark.parametrize("belt", ["dark", "grey", "green"])
def test_items_are_found_with_their_boxes(belt: str) -> None:
    strip = strip_of(Scene(seed=5, belt=belt, length_mm=2700, rate_per_s=20))
    finder = Finder(VIEW)
    once, wrong, off_mm = 0, 0, []
    for number in range(10):
        position = strip.first_mm + number * 2 * STEP_MM
        regions = finder.find(strip.frame(position, number), 2 * STEP_MM if number else 0.0)
        for item in in_view(strip, position):
            found = on(regions, item, position)
            if len(found) != 1 or found[0].cut_by_edge:
                wrong += 1
                continue
            once += 1
            box = VIEW.box_to_belt(found[0].box_xyxy)
            off_mm.append(
                (position - box.u - item.s, box.lateral - item.lateral,
                 box.length - (item.s1 - item.s0), box.width - (item.lateral1 - item.lateral0))
            )  # fmt: skip
        everything = in_view(strip, position, -150)
        assert len(regions) <= len(everything) + 2
    assert once > 50
    assert wrong <= 0.05 * once  # one frame may fail: an item is followed over a dozen
    middle = np.median(off_mm, axis=0)
    assert middle == pytest.approx([0, 0, 1, 1], abs=5)  # shadows, and what is as grey as the belt
    assert (np.quantile(np.abs(off_mm), 0.9, axis=0) < [6, 6, 16, 16]).all()


def test_a_region_holds_together() -> None:
    strip = strip_of(Scene(seed=5, belt="dark", length_mm=2700, rate_per_s=20))
    regions = Finder(VIEW).find(strip.frame(1000.0), 0.0)
    assert len(regions) > 3
    for region in regions:
        x0, y0, x1, y1 = region.box_xyxy
        assert region.mask.shape == (y1 - y0, x1 - x0)
        assert region.mask.dtype == np.bool_
        assert region.area_px == region.mask.sum()
        rows, columns = np.nonzero(region.mask)
        assert (rows.min(), rows.max()) == (0, y1 - y0 - 1)
        assert (columns.min(), columns.max()) == (0, x1 - x0 - 1)
        assert region.centre_px == pytest.approx(
            (x0 + columns.mean() + 0.5, y0 + rows.mean() + 0.5), abs=0.01
        )
    places = [VIEW.to_belt(*region.centre_px)[0] for region in regions]
    assert places == sorted(places, reverse=True)


@pytest.mark.parametrize("direction", ["left", "up", "down"])
def test_the_direction_of_the_belt_changes_nothing(direction: Direction) -> None:
    strip = strip_of(Scene(seed=5, belt="dark", length_mm=2700, rate_per_s=20))
    frame = strip.frame(1000.0)
    expected = Finder(VIEW).find(frame, 0.0)
    lies = direction == "left"
    turned = View(
        width_px=1280 if lies else 720, height_px=720 if lies else 1280,
        width_mm=1000 if lies else 562.5, height_mm=562.5 if lies else 1000, direction=direction,
    )  # fmt: skip
    image = np.ascontiguousarray(turned.turned_back(frame))
    got = Finder(turned).find(np.asarray(image, np.uint8), 0.0)
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        mine, theirs = turned.box_to_belt(one.box_xyxy), VIEW.box_to_belt(other.box_xyxy)
        assert (mine.u, mine.lateral) == pytest.approx((theirs.u, theirs.lateral), abs=2)
        assert (mine.length, mine.width) == pytest.approx((theirs.length, theirs.width), abs=4)
        assert one.cut_by_edge == other.cut_by_edge
        assert (turned.turned(one.mask) == other.mask).mean() > 0.97


def test_an_empty_dirty_belt_shows_nothing() -> None:
    strip = strip_of(Scene(seed=2, belt="grey", rate_per_s=0, length_mm=4000, dirt=25))
    finder = Finder(VIEW)
    for number in range(36):
        position = strip.first_mm + number * STEP_MM
        assert finder.find(strip.frame(position, number), STEP_MM) == []


def test_a_belt_that_stands_teaches_nothing_and_makes_nothing_forgotten() -> None:
    strip = strip_of(Scene(seed=5, belt="dark", length_mm=2700, rate_per_s=20, shadow=False))
    finder = Finder(VIEW)
    position = seen(finder, strip, 8)
    before = finder.find(strip.frame(position, 0, 1.0), 0.0)
    for number in range(25):
        after = finder.find(strip.frame(position, number, 1.0), 0.0)
    assert len(after) == len(before) > 3
    for old, new in zip(before, after, strict=True):
        assert new.box_xyxy == pytest.approx(old.box_xyxy, abs=6)
    regions = finder.find(strip.frame(position + STEP_MM, 99), STEP_MM)
    for item in in_view(strip, position + STEP_MM):
        assert len(on(regions, item, position + STEP_MM)) == 1


def test_the_lamps_may_drift_and_step() -> None:
    strip = strip_of(Scene(seed=5, belt="grey", length_mm=2700, rate_per_s=20, shadow=False))
    finder = Finder(VIEW)
    seen(finder, strip, 4)
    for number, light in enumerate((0.55, 0.8, 1.2, 0.7)):
        position = strip.first_mm + (4 + number) * STEP_MM
        frame = strip.frame(position, number) * np.array([light, light, light * 0.92])
        regions = finder.find(np.clip(frame, 0, 255).astype(np.uint8), STEP_MM)
        items = in_view(strip, position)
        assert len(items) > 3
        assert all(on(regions, item, position) for item in items)


def test_a_soft_shadow_is_no_item() -> None:
    strip = strip_of(Scene(seed=2, belt="grey", rate_per_s=0, length_mm=6000, dirt=5, shadow=False))
    finder = Finder(VIEW)
    position = seen(finder, strip, 6)
    frame = strip.frame(position + STEP_MM, 7)
    shade = np.zeros((720, 1280), np.float32)
    cv2.ellipse(shade, (600, 300), (200, 120), 20, 0, 360, 0.4, -1)
    soft = 1 - cv2.GaussianBlur(shade, (0, 0), 40)
    assert finder.find((frame * soft[:, :, None]).astype(np.uint8), STEP_MM) == []


def test_the_light_is_measured() -> None:
    strip = strip_of(Scene(seed=2, belt="grey", rate_per_s=0, length_mm=6000, dirt=5, shadow=False))
    background = Background(VIEW)
    frame = strip.frame(1000.0)
    background.learn(frame)
    darker = background.difference((frame * 0.6).astype(np.uint8))
    assert darker.light == pytest.approx(0.6, abs=0.05)
    assert darker.share == 0


def test_items_in_the_first_frame_are_found_too() -> None:
    strip = strip_of(Scene(seed=5, belt="dark", length_mm=2700, rate_per_s=20))
    items = in_view(strip, 1000.0)
    regions = Finder(VIEW).find(strip.frame(1000.0), 0.0)
    assert len(items) > 3
    assert [len(on(regions, item, 1000.0)) for item in items] == [1] * len(items)


def test_cut_items_name_their_edges() -> None:
    strip = strip_of(Scene(seed=3, belt="grey", at_edges=True, rate_per_s=6, length_mm=4000))
    finder = Finder(VIEW)
    edges: set[str] = set()
    for number in range(24):
        position = strip.first_mm + number * STEP_MM
        for region in finder.find(strip.frame(position, number), STEP_MM):
            edges |= region.cut_by_edge
            x0, y0, x1, y1 = region.box_xyxy
            assert ("upstream" in region.cut_by_edge) == (x0 <= 2)
            assert ("downstream" in region.cut_by_edge) == (x1 >= 1278)
            assert ("left" in region.cut_by_edge) == (y0 <= 2)
            assert ("right" in region.cut_by_edge) == (y1 >= 718)
    assert edges == {"upstream", "downstream", "left", "right"}


def disc(bits: NDArray[np.uint8], x: int, y: int, radius: int) -> None:
    cv2.circle(bits, (x, y), radius, 1, -1)


def test_two_discs_that_touch_are_cut_apart() -> None:
    bits = np.zeros((60, 100), np.uint8)
    disc(bits, 30, 30, 18)
    disc(bits, 64, 30, 18)
    one, other = split_blob(bits, bits, (3.0, 3.0), FindSettings())
    assert (one & other).sum() == 0
    assert ((one | other) == bits).all()
    for part in (one, other):
        assert part.sum() == pytest.approx(np.pi * 18**2, rel=0.08)


def test_one_shape_without_a_neck_stays_whole() -> None:
    bits = np.zeros((60, 100), np.uint8)
    bits[10:50, 10:90] = 1
    assert len(split_blob(bits, bits, (3.0, 3.0), FindSettings())) == 1
    bottle = np.zeros((60, 100), np.uint8)
    bottle[15:45, 10:60] = 1
    bottle[22:38, 60:80] = 1  # its neck is over half as wide as its body
    assert len(split_blob(bottle, bottle, (3.0, 3.0), FindSettings())) == 1


def test_a_thread_is_no_item() -> None:
    bits = np.zeros((60, 100), np.uint8)
    bits[30:33, 5:95] = 1
    assert split_blob(bits, bits, (3.0, 3.0), FindSettings()) == []


def test_touching_items_are_cut_or_flagged() -> None:
    strip = strip_of(Scene(seed=1, rate_per_s=16, gap_mm=0, heaped=0.8, length_mm=2500))
    finder = Finder(VIEW)
    split = flagged = 0
    for number in range(12):
        position = strip.first_mm + number * STEP_MM
        regions = finder.find(strip.frame(position, number), STEP_MM)
        for region in regions:
            box = VIEW.box_to_belt(region.box_xyxy)
            long = max(box.length, box.width)
            assert region.touching or long <= FindSettings().largest_mm
            flagged += region.touching
        split += sum(len(on(regions, item, position)) == 1 for item in in_view(strip, position))
    assert flagged > 4
    assert split > 12


def test_blur_is_less_sharp_and_light_is_not() -> None:
    rng = np.random.default_rng(0)
    print_px = cv2.resize(rng.integers(0, 2, (12, 12)).astype(np.uint8) * 160 + 40, (96, 96),
                          interpolation=cv2.INTER_NEAREST)  # fmt: skip
    image = np.asarray(np.repeat(print_px[:, :, None], 3, axis=2), np.uint8)
    mask = np.ones((96, 96), bool)
    box = (0, 0, 96, 96)
    sharp = measure_sharpness(image, box, mask)
    blurred = [
        measure_sharpness(np.asarray(cv2.blur(image, (length, 1)), np.uint8), box, mask)
        for length in (3, 7, 15)
    ]
    assert sharp > blurred[0] > blurred[1] > blurred[2]
    dark = (image * 0.5).astype(np.uint8)
    assert measure_sharpness(dark, box, mask) == pytest.approx(sharp, rel=0.05)
    assert measure_sharpness(np.full_like(image, 90), box, mask) == 0


def test_cells_are_of_the_size_asked_for() -> None:
    assert cells_of(VIEW, FindSettings()) == (320, 180)
    standing = View(width_px=720, height_px=1280, width_mm=562.5, height_mm=1000, direction="up")
    assert cells_of(standing, FindSettings()) == (320, 180)
    coarse = View(width_px=320, height_px=180, width_mm=1000, height_mm=562.5)
    assert cells_of(coarse, FindSettings()) == (320, 180)  # never finer than the pixels


def test_what_was_not_learnt_and_another_frame_are_refused() -> None:
    background = Background(VIEW)
    with pytest.raises(LineError, match="learn"):
        background.difference(np.zeros((720, 1280, 3), np.uint8))
    with pytest.raises(CameraError, match="width_px"):
        Finder(VIEW).find(np.zeros((480, 640, 3), np.uint8), 0.0)


@pytest.mark.parametrize("level", [0, 255])
def test_a_blank_frame_is_survived(level: int) -> None:
    strip = strip_of(Scene(seed=5, belt="dark", length_mm=2700, rate_per_s=20))
    finder = Finder(VIEW)
    seen(finder, strip, 3)
    finder.find(np.full((720, 1280, 3), level, np.uint8), STEP_MM)
    position = seen(finder, strip, 3, strip.first_mm + 5 * STEP_MM)
    regions = finder.find(strip.frame(position + STEP_MM, 9), STEP_MM)
    for item in in_view(strip, position + STEP_MM):
        assert len(on(regions, item, position + STEP_MM)) == 1
