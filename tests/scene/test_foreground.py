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
from beltsight.image import decode
from beltsight.records import Photo
from beltsight.scene import Foreground, find_foreground
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
def test_an_empty_belt_holds_nothing(method: Method) -> None:
    found = find_foreground(draw_scene(1).ground, method)
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


def test_an_item_that_crosses_the_border_is_found() -> None:
    scene = draw_scene(2)
    left = int(np.flatnonzero(scene.truth.any(axis=0)).mean())
    photo, truth = scene.photo[:, left:], scene.truth[:, left:]
    assert truth[:, 0].any()
    assert overlap(find_foreground(photo).solid, truth) > 0.9


@pytest.mark.parametrize(("radius_px", "kept"), [(9, False), (24, True)])
def test_small_parts_are_dropped(radius_px: int, kept: bool) -> None:
    photo = draw_scene(5).photo.copy()
    cv2.circle(photo, (225, 30), radius_px, (30, 30, 160), -1)
    assert find_foreground(photo).solid[30, 225] == kept


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
@example(seed=2376, height=14, width=42, shapes=4, noise=0, method="difference")  # a sliver
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
    found = find_foreground(photo, method)
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


def test_a_method_or_side_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match=r"one of \('grabcut', 'difference'\), got 'magic'"):
        find_foreground(GOOD, "magic")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="at least 32 pixels, got 31"):
        find_foreground(GOOD, side_px=31)


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
