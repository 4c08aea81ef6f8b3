"""Pasting: the mask is exact, the rest is untouched."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.scene.drawn import draw_scene

from beltsight.errors import ImageError
from beltsight.scene import CutOut, Shadow, paste

GROUND = draw_scene(0, height=60, width=80).ground


def disc(size: int = 21) -> CutOut:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    alpha = np.clip(size / 2 - np.hypot(x, y), 0, 1).astype(np.float32)
    return CutOut(np.full((size, size, 3), (180, 30, 20), np.uint8), alpha)


@given(st.floats(-40, 120), st.floats(-40, 100))
def test_the_mask_is_the_item_where_it_lies_in_the_frame(x: float, y: float) -> None:
    item = disc()
    pasted = paste(GROUND, item, (x, y))
    # By hand: a frame wide enough for every place, of which the middle is seen.
    wide = np.zeros((60 + 400, 80 + 400), bool)
    left, top = 200 + int(np.floor(x - 10.5 + 0.5)), 200 + int(np.floor(y - 10.5 + 0.5))
    wide[top : top + 21, left : left + 21] = item.alpha >= 0.5
    assert np.array_equal(pasted.mask, wide[200:260, 200:280])


def test_without_shadow_only_the_item_changes_the_ground() -> None:
    item = disc()
    pasted = paste(GROUND, item, (30, 25), shadow=None)
    touched = (pasted.photo != GROUND).any(axis=2)
    cover = np.zeros(GROUND.shape[:2], np.float32)
    cover[15:36, 20:41] = item.alpha
    assert not touched[cover == 0].any()
    assert (pasted.photo[cover == 1] == (180, 30, 20)).all()
    soft = pasted.photo[(cover > 0.2) & (cover < 0.8)].astype(int)
    assert ((soft[:, 1] > 30) & (soft[:, 1] < 215)).all()


def test_edges_are_mixed_in_linear_light() -> None:
    ground = np.full((20, 20, 3), 255, np.uint8)
    item = CutOut(np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 0.5, np.float32))
    pasted = paste(ground, item, (10, 10), shadow=None)
    assert (pasted.photo[9, 9] == 188).all()  # half the light of white, by the sRGB curve


def test_the_shadow_darkens_the_ground_by_its_opacity_where_it_falls() -> None:
    ground = np.full((90, 90, 3), 200, np.uint8)
    item = CutOut(np.full((21, 21, 3), 90, np.uint8), np.ones((21, 21), np.float32))
    shadow = Shadow(offset_xy_px=(30, 0), blur_px=2, opacity=0.4)
    pasted = paste(ground, item, (30.5, 45.5), shadow=shadow)
    light = ((200 / 255 + 0.055) / 1.055) ** 2.4 * 0.6
    expected = (1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert pasted.photo[45, 60] == pytest.approx([expected] * 3, abs=1)
    assert (pasted.photo[45, 5] == 200).all()
    assert (pasted.photo[45, 80] == 200).all()
    assert not pasted.mask[45, 60]


def test_a_shadow_may_fall_into_the_frame_from_an_item_outside() -> None:
    pasted = paste(GROUND, disc(), (-11, 30), shadow=Shadow((6, 0), 3, 0.5))
    assert not pasted.mask.any()
    assert pasted.photo[30, 0].sum() < GROUND[30, 0].sum()


def test_far_outside_nothing_happens() -> None:
    pasted = paste(GROUND, disc(), (500, 30))
    assert np.array_equal(pasted.photo, GROUND)
    assert not pasted.mask.any()


def test_the_ground_is_not_changed() -> None:
    before = GROUND.copy()
    paste(GROUND, disc(), (30, 25))
    assert np.array_equal(GROUND, before)


def test_of_two_items_the_later_hides_the_earlier() -> None:
    first = paste(GROUND, disc(), (30, 30), shadow=None)
    second = paste(first.photo, disc(), (38, 30), shadow=None)
    assert (first.mask & second.mask).any()
    assert (first.mask & ~second.mask).sum() < first.mask.sum()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ImageError, match="81 x 81 pixels is larger than the background of 80 x 60"):
        paste(GROUND, disc(81), (40, 30))
    with pytest.raises(ImageError, match="two numbers"):
        paste(GROUND, disc(), (np.nan, 30))
    with pytest.raises(ImageError, match="the background must be uint8"):
        paste(GROUND.astype(np.float32), disc(), (40, 30))


@pytest.mark.parametrize("values", [(-1.0, 0.5), (1.0, 1.5), (1.0, -0.1), (np.nan, 0.5)])
def test_a_senseless_shadow_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ImageError, match="opacity of 0 to 1"):
        Shadow(blur_px=values[0], opacity=values[1])
