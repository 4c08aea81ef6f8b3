"""Masks against drawn truth, and on real photos."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.scene.drawn import draw_scene, overlap

from beltsight.errors import ImageError
from beltsight.image import Preparation, decode, prepare
from beltsight.records import Photo
from beltsight.scene import Foreground, find_foreground, inner_box
from beltsight.scene.foreground import Method

METHODS: tuple[Method, ...] = ("grabcut", "difference")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(12))
def test_a_drawn_item_is_found_in_uneven_light_with_shadow_and_noise(
    seed: int, method: Method
) -> None:
    scene = draw_scene(seed)
    found = find_foreground(scene.photo, method)
    assert overlap(found.solid, scene.truth) > 0.9
    assert found.confidence > 0.5
    assert found.share == pytest.approx(scene.truth.mean(), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(6))
def test_several_items_on_a_dark_belt_whose_empty_view_is_known(seed: int, method: Method) -> None:
    scene = draw_scene(
        seed, height=240, width=480, ground_rgb=(70, 74, 72), items=3, shadow=0.4, noise=4
    )
    scene.photo[scene.truth] = np.clip(scene.photo[scene.truth].astype(int) + 90, 0, 255)
    found = find_foreground(scene.photo, method, background=scene.ground)
    assert overlap(found.solid, scene.truth) > 0.9
    _, _, stats, _ = cv2.connectedComponentsWithStats(found.solid.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    assert (areas > 50).sum() == 3


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_belt_holds_nothing(method: Method) -> None:
    first, second = draw_scene(1), draw_scene(1, noise=2.5)
    found = find_foreground(first.ground, method, background=second.ground)
    assert found.confidence == 0
    assert found.share == 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_uniform_photo_holds_nothing(level: int, method: Method) -> None:
    found = find_foreground(np.full((60, 80, 3), level, np.uint8), method)
    assert found.confidence == 0
    assert not found.mask.any()


def test_a_frame_full_of_noise_is_not_trusted() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    assert find_foreground(photo).confidence < 0.5


@pytest.mark.parametrize("fill", [(128, 128, 128), (0, 0, 0), (255, 255, 255)])
def test_letterbox_bars_change_nothing_inside(fill: tuple[int, int, int]) -> None:
    scene = draw_scene(3)
    boxed = prepare(scene.photo, Preparation(256, 256, fill))
    box = inner_box(boxed, fill)
    assert box == (0, 32, 256, 224)
    found = find_foreground(boxed, valid=box)
    alone = find_foreground(scene.photo)
    assert np.array_equal(found.mask[32:224], alone.mask)
    assert found.confidence == alone.confidence
    assert not found.mask[:32].any()
    assert not found.mask[224:].any()


def test_an_item_that_crosses_the_border_is_found() -> None:
    scene = draw_scene(2)
    left = int(np.flatnonzero(scene.truth.any(axis=0)).mean())
    photo, truth = scene.photo[:, left:], scene.truth[:, left:]
    assert truth[:, 0].any()
    assert overlap(find_foreground(photo).solid, truth) > 0.9


def test_small_parts_are_dropped_on_request() -> None:
    scene = draw_scene(5)
    photo = scene.photo.copy()
    cv2.circle(photo, (235, 20), 9, (30, 30, 160), -1)
    alone = find_foreground(photo, min_part=0.2)
    both = find_foreground(photo, min_part=0.01)
    assert not alone.solid[20, 235]
    assert both.solid[20, 235]


def test_the_same_photo_has_the_same_mask() -> None:
    photo = draw_scene(7).photo
    first = find_foreground(photo)
    cv2.setRNGSeed(12345)
    assert np.array_equal(find_foreground(photo).mask, first.mask)


def test_the_mask_is_soft_at_the_edge_only() -> None:
    found = find_foreground(draw_scene(4).photo)
    soft = (found.mask > 0.02) & (found.mask < 0.98)
    assert found.mask.dtype == np.float32
    assert found.mask.min() == 0
    assert found.mask.max() == 1
    edge = cv2.morphologyEx(
        found.solid.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((15, 15), np.uint8)
    )
    assert soft.any()
    assert not soft[edge == 0].any()


@given(
    seed=st.integers(0, 2**32),
    height=st.integers(8, 90),
    width=st.integers(8, 90),
    shapes=st.integers(0, 6),
    noise=st.sampled_from([0, 2, 40]),
    method=st.sampled_from(METHODS),
)
@example(seed=6199, height=10, width=54, shapes=1, noise=0, method="difference")  # a sliver
@settings(max_examples=150, deadline=None)
def test_any_photo_has_a_mask_within_bounds(
    seed: int, height: int, width: int, shapes: int, noise: int, method: Method
) -> None:
    rng = np.random.default_rng(seed)
    photo = np.full((height, width, 3), rng.integers(0, 256), np.uint8)
    for _ in range(shapes):
        start, end = rng.integers(-20, 110, (2, 2)).tolist()
        cv2.rectangle(photo, start, end, rng.integers(0, 256, 3).tolist(), -1)
    photo = np.clip(photo + rng.normal(0, noise, photo.shape), 0, 255).astype(np.uint8)
    background = np.roll(photo, 3, axis=1) if seed % 2 else None
    found = find_foreground(photo, method, background=background)
    assert found.mask.shape == (height, width)
    assert found.mask.min() >= 0
    assert found.mask.max() <= 1
    assert 0 <= found.confidence <= 1
    assert found.mask.any() or found.confidence == 0


GOOD = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("photo", "message"),
    [
        (np.zeros((64, 64), np.uint8), r"uint8 \(H, W, 3\).*got uint8 \(64, 64\)"),
        (np.zeros((64, 64, 4), np.uint8), r"\(64, 64, 4\)"),
        (np.zeros((64, 64, 3), np.float32), "float32"),
        (np.zeros((4, 64, 3), np.uint8), "at least 8 x 8"),
        ("photo.jpg", "got str"),
    ],
)
def test_what_is_no_photo_is_refused(photo: Photo, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        find_foreground(photo)


def test_a_method_box_or_background_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match=r"one of \('grabcut', 'difference'\), got 'magic'"):
        find_foreground(GOOD, "magic")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="inside the photo of 64 x 64"):
        find_foreground(GOOD, valid=(0, 0, 65, 64))
    with pytest.raises(ImageError, match="at least 8 pixels a side"):
        find_foreground(GOOD, valid=(10, 10, 12, 60))
    with pytest.raises(ImageError, match="same view"):
        find_foreground(GOOD, background=np.zeros((64, 65, 3), np.uint8))


def plausible(found: Foreground) -> bool:
    """Of an item's size, and leaving ground at one border at least."""
    solid = found.solid
    sides = (solid[0].any(), solid[-1].any(), solid[:, 0].any(), solid[:, -1].any())
    return 0.03 <= found.share <= 0.95 and not all(sides)


def test_most_real_photos_give_a_plausible_mask(trashnet: Path) -> None:
    """docs/scene.md has the shares of 204 photos; cardboard mostly fills its frame."""
    with (trashnet / "splits.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    for material, least in (("metal", 0.8), ("trash", 0.7), ("glass", 0.75)):
        files = sorted(row["file"] for row in rows if row["material"] == material)[::7][:20]
        photos = [decode(trashnet / "images" / name) for name in files]
        found = [find_foreground(photo) for photo in photos]
        good = [one for one in found if plausible(one) and one.confidence > 0.5]
        assert len(good) >= least * len(found), material
