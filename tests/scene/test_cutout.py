"""Cutting out, and what a cut-out can be turned into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scene.drawn import draw_scene

from beltsight.errors import ImageError
from beltsight.scene import CutOut, cut_out, paste


def two_colours() -> CutOut:
    """Red left, blue right, opaque; 20 x 10."""
    rgb = np.zeros((10, 20, 3), np.uint8)
    rgb[:, :10, 0] = rgb[:, 10:, 2] = 200
    return CutOut(rgb, np.ones((10, 20), np.float32))


@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 2**32))
def test_the_box_is_the_smallest_that_holds_the_mask(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    photo = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = rng.random((height, width)) < 0.05
    mask[height // 2, width // 2] = True
    item = cut_out(photo, mask)
    rows, columns = np.nonzero(mask)
    assert item.size == (int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    assert item.alpha.sum() == mask.sum()
    inside = item.alpha == 1
    assert np.array_equal(item.rgb[inside], photo[mask])


def test_the_edge_takes_the_colour_of_the_item_not_of_the_ground() -> None:
    photo = np.full((40, 40, 3), 250, np.uint8)
    photo[10:30, 10:30] = 20, 40, 60
    alpha = np.zeros((40, 40), np.float32)
    alpha[10:30, 10:30] = 1
    alpha[9] = alpha[30] = 0
    alpha[9, 10:30] = alpha[30, 10:30] = alpha[10:30, 9] = alpha[10:30, 30] = 0.5
    photo[alpha == 0.5] = 135, 145, 155  # half item, half ground
    item = cut_out(photo, alpha)
    assert item.size == (22, 22)
    assert np.abs(item.rgb.astype(int) - (20, 40, 60)).max() <= 1


def test_turned_four_times_it_is_itself_again() -> None:
    item = two_colours()
    turned = item
    for _ in range(4):
        turned = turned.transformed(degrees=90)
    assert turned.size == item.size
    assert np.abs(turned.rgb.astype(int) - item.rgb).max() <= 1
    assert np.allclose(turned.alpha, 1, atol=0.01)


def test_a_quarter_turn_is_counterclockwise() -> None:
    turned = two_colours().transformed(degrees=90)
    assert turned.size == (10, 20)
    assert turned.rgb[15, 5, 0] == 200  # the red left is below
    assert turned.rgb[4, 5, 2] == 200


def test_mirrored_twice_it_is_itself_and_once_it_is_not() -> None:
    item = two_colours()
    once = item.mirrored()
    assert once.rgb[0, 0, 2] == 200
    assert np.array_equal(once.mirrored().rgb, item.rgb)
    assert np.array_equal(item.transformed(mirror=True).rgb, once.rgb)


@given(st.floats(0.3, 2.5), st.floats(-400, 400))
def test_area_grows_with_the_square_of_the_scale_and_not_with_the_turn(
    scale: float, degrees: float
) -> None:
    alpha = np.zeros((60, 60), np.float32)
    y, x = np.mgrid[:60, :60]
    alpha[((x - 29.5) / 28) ** 2 + ((y - 29.5) / 18) ** 2 < 1] = 1
    item = CutOut(np.full((60, 60, 3), 90, np.uint8), alpha)
    changed = item.transformed(scale=scale, degrees=degrees)
    assert changed.alpha.sum() == pytest.approx(alpha.sum() * scale**2, rel=0.05)
    assert np.abs(changed.rgb.astype(int) - 90).max() <= 1
    assert changed.alpha.min() >= 0
    assert changed.alpha.max() <= 1


def test_nothing_is_changed_in_place_and_nothing_asked_is_nothing_done() -> None:
    item = two_colours()
    before = item.rgb.copy(), item.alpha.copy()
    item.transformed(degrees=20, scale=0.5, mirror=True)
    assert np.array_equal(item.rgb, before[0])
    assert np.array_equal(item.alpha, before[1])
    assert item.transformed(degrees=360) is item


def test_a_cut_out_laid_back_in_its_place_is_the_photo_again() -> None:
    scene = draw_scene(6)
    item = cut_out(scene.photo, scene.truth)
    rows, columns = np.nonzero(scene.truth)
    centre = (
        (columns.min() + columns.max() + 1) / 2,
        (rows.min() + rows.max() + 1) / 2,
    )
    back = paste(scene.photo, item, centre, shadow=None)
    assert np.array_equal(back.photo, scene.photo)
    assert np.array_equal(back.mask, scene.truth)


def test_an_empty_mask_holds_nothing_to_cut_out() -> None:
    photo = np.zeros((20, 20, 3), np.uint8)
    for mask in (np.zeros((20, 20), bool), np.full((20, 20), 0.3)):
        with pytest.raises(ImageError, match="holds no item to cut out"):
            cut_out(photo, mask)


@pytest.mark.parametrize(("scale", "degrees"), [(0.0, 0.0), (-1, 0), (np.nan, 0), (1, np.inf)])
def test_a_senseless_change_is_refused(scale: float, degrees: float) -> None:
    with pytest.raises(ImageError, match="factor over 0"):
        two_colours().transformed(scale=scale, degrees=degrees)
    with pytest.raises(ImageError, match="no pixel left"):
        two_colours().scaled(0.001)
