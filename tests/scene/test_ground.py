"""The ground: its surface, its box between bars, and a photo without its item."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.scene.drawn import draw_scene

from beltsight.config import ASSETS
from beltsight.errors import ImageError
from beltsight.image import Preparation, decode, letterbox_box, prepare
from beltsight.records import Floats
from beltsight.scene import clear_background, find_foreground, inner_box
from beltsight.scene.ground import fit_surface


def quadratic(height: int, width: int) -> Floats:
    y, x = np.meshgrid(
        (2 * np.arange(height) + 1) / height - 1, (2 * np.arange(width) + 1) / width - 1,
        indexing="ij",
    )  # fmt: skip
    red, green = 200 + 10 * x - 5 * y**2, 180 - 8 * y + 3 * x * y
    return np.stack([red, green, red - 30], axis=2).astype(np.float32)


def test_a_quadratic_surface_is_found_again_though_a_third_of_it_is_covered() -> None:
    values = quadratic(48, 64)
    values[10:30, :50] = 20
    surface, spread = fit_surface(values, np.ones((48, 64), np.float32), steps=6)
    assert np.abs(surface(48, 64) - quadratic(48, 64)).max() < 1
    assert np.abs(surface(96, 128) - quadratic(96, 128)).max() < 1
    assert spread < 1


@pytest.mark.parametrize("size", [(384, 512), (512, 384), (300, 300)])
def test_the_box_between_the_bars_is_the_letterbox(size: tuple[int, int]) -> None:
    preparation = Preparation(224, 224, (128, 128, 128))
    photo = np.full((*size, 3), 240, np.uint8)
    assert inner_box(prepare(photo, preparation), (128, 128, 128)) == letterbox_box(
        *size, preparation
    )


def test_a_photo_that_is_all_fill_is_its_own_box() -> None:
    assert inner_box(np.full((20, 30, 3), 128, np.uint8), (128, 128, 128)) == (0, 0, 30, 20)


@pytest.mark.parametrize("seed", range(5))
def test_a_cleared_photo_is_the_ground_that_was_under_the_item(seed: int) -> None:
    scene = draw_scene(seed)
    cleared = clear_background(scene.photo, find_foreground(scene.photo).mask)
    off = cleared.astype(float) - scene.ground
    assert abs(off[scene.truth].mean()) < 2
    # The difference of two fields of equal grain has the root of two times its deviation, 3.
    assert off[scene.truth].std() < 3 * np.sqrt(2) * 1.25
    grain = np.diff(cleared.astype(float), axis=1)
    assert grain[scene.truth[:, 1:]].std() == pytest.approx(grain[:20].std(), rel=0.25)
    assert find_foreground(cleared).share < 0.01


def test_a_cleared_photo_keeps_what_is_far_from_the_item() -> None:
    scene = draw_scene(1)
    mask = np.zeros(scene.truth.shape, bool)
    mask[90:100, 120:136] = True
    cleared = clear_background(scene.photo, mask)
    assert np.array_equal(cleared[:, :40], scene.photo[:, :40])
    assert not np.array_equal(cleared, scene.photo)


def blur_of_all_pixels(values: Floats, inside: NDArray[np.bool_], sigma_px: float) -> Floats:
    """The mean of the pixels inside, at the photo's own resolution however wide it is."""
    weight = inside.astype(np.float32)
    total = cv2.GaussianBlur(values * weight[:, :, None], (0, 0), sigma_px)
    share = cv2.GaussianBlur(weight, (0, 0), sigma_px)
    return np.asarray(total / np.maximum(share, 1e-6)[:, :, None], np.float32)


@pytest.mark.parametrize(("scale", "least", "most"), [(1, 0, 0), (2.5, 1, 3)])
def test_a_large_photo_is_cleared_on_a_coarser_grid_to_the_same_end(
    monkeypatch: pytest.MonkeyPatch, scale: float, least: int, most: int
) -> None:
    small = decode(ASSETS / "demo/trash/trash101.jpg")
    photo = np.asarray(cv2.resize(small, None, fx=scale, fy=scale), np.uint8)
    mask = find_foreground(photo).mask
    cleared = clear_background(photo, mask).astype(int)
    monkeypatch.setattr("beltsight.scene.ground._blur_inside", blur_of_all_pixels)
    off = np.abs(cleared - clear_background(photo, mask))
    assert least <= off.max() <= most
    assert off.mean() < 0.05


def test_nothing_or_all_to_clear_gives_a_copy() -> None:
    photo = draw_scene(1).photo
    for mask in (np.zeros(photo.shape[:2], bool), np.ones(photo.shape[:2], bool)):
        cleared = clear_background(photo, mask)
        assert np.array_equal(cleared, photo)
        assert cleared is not photo


def test_an_item_over_nearly_all_of_the_photo_is_cleared_without_fail() -> None:
    photo = draw_scene(1).photo
    mask = np.ones(photo.shape[:2], bool)
    mask[:2, :2] = False
    assert clear_background(photo, mask).shape == photo.shape


def test_a_mask_that_does_not_fit_is_refused() -> None:
    photo = np.zeros((20, 30, 3), np.uint8)
    with pytest.raises(ImageError, match=r"\(20, 30\) like its photo, got bool \(30, 20\)"):
        clear_background(photo, np.zeros((30, 20), bool))
    with pytest.raises(ImageError, match="bool or float"):
        clear_background(photo, np.zeros((20, 30), np.uint8))
    with pytest.raises(ImageError, match=r"0 to 1, got 0.0 to 255.0"):
        clear_background(photo, np.array([[0.0] * 29 + [255.0]] * 20))
    with pytest.raises(ImageError, match="0 to 1"):
        clear_background(photo, np.full((20, 30), np.nan))
