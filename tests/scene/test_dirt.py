"""Dirt: exact share, on the item alone, seen, seeded; and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.scene.drawn import draw_scene

from beltsight.errors import ConfigError, ImageError
from beltsight.records import Photo
from beltsight.scene import KINDS, soil
from beltsight.scene.dirt import cover_pixels

SHARES = (0.01, 0.03, 0.1, 0.25, 0.5, 0.8, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", SHARES)
def test_the_share_is_what_was_asked_to_the_pixel(kind: str, share: float) -> None:
    scene = draw_scene(3)
    soiled = soil(scene.photo, scene.truth, kind, share, 11)
    item, dirty = int(scene.truth.sum()), int((soiled.mask & scene.truth).sum())
    assert abs(dirty - share * item) <= 0.5
    assert soiled.share == pytest.approx(dirty / item)
    assert soiled.kind == kind


@pytest.mark.parametrize("kind", KINDS)
def test_outside_the_item_nothing_changes_and_the_source_is_left_alone(kind: str) -> None:
    scene = draw_scene(5)
    before = scene.photo.copy()
    alpha = np.clip(cv2.GaussianBlur(scene.truth.astype(np.float32), (0, 0), 2), 0, 1)
    soiled = soil(scene.photo, alpha, kind, 0.4, 2)
    outside = alpha == 0
    assert np.array_equal(soiled.photo[outside], scene.photo[outside])
    assert not soiled.alpha[outside].any()
    assert not soiled.mask[alpha < 0.5].any()
    assert np.array_equal(scene.photo, before)


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_alpha_agree_and_the_edge_is_soft(kind: str) -> None:
    scene = draw_scene(6)
    soiled = soil(scene.photo, scene.truth, kind, 0.3, 4)
    assert np.array_equal(soiled.alpha >= 0.5, soiled.mask)
    assert soiled.alpha.min() == 0
    assert soiled.alpha.max() <= 1
    assert ((soiled.alpha > 0.01) & (soiled.alpha < 0.99)).any()
    # A soft edge must not make the stain seem much larger than it counts.
    assert soiled.alpha.sum() <= 1.25 * soiled.mask.sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grey", [18, 110, 235])
def test_dirt_is_seen_on_dark_middle_and_bright_items(kind: str, grey: int) -> None:
    photo = np.full((120, 160, 3), 205, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[20:100, 30:130] = True
    photo[mask] = grey
    changes = []
    for seed in range(6):
        soiled = soil(photo, mask, kind, 0.3, seed)
        moved = np.abs(soiled.photo.astype(float) - photo)[soiled.mask]
        changes.append(moved.mean())
        assert moved.std() > 1  # a flat item is flat no longer: there is a texture
    assert min(changes) > 8, changes


def test_each_kind_has_a_texture_of_its_own() -> None:
    """How rough the change of light is tells most kinds apart; none is another by a new name."""
    photo = np.full((160, 160, 3), 170, np.uint8)
    mask = np.ones((160, 160), bool)
    pictures = {kind: soil(photo, mask, kind, 0.5, 3).photo for kind in KINDS}
    masks = {kind: soil(photo, mask, kind, 0.5, 3).mask for kind in KINDS}
    for one in KINDS:
        for other in KINDS:
            if one < other:
                overlap = (masks[one] & masks[other]).sum() / (masks[one] | masks[other]).sum()
                assert overlap < 0.9
                assert not np.array_equal(pictures[one], pictures[other])
    edges = {kind: int(cv2.Canny(mask.astype(np.uint8) * 255, 50, 100).sum())
             for kind, mask in masks.items()}  # fmt: skip
    assert len(set(edges.values())) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_dirt_and_another_seed_another(kind: str) -> None:
    scene = draw_scene(7)
    first = soil(scene.photo, scene.truth, kind, 0.2, 5)
    again = soil(scene.photo, scene.truth, kind, 0.2, np.random.default_rng(5))
    other = soil(scene.photo, scene.truth, kind, 0.2, 6)
    assert np.array_equal(first.photo, again.photo)
    assert np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.mask, other.mask)


@pytest.mark.parametrize("kind", KINDS)
def test_more_is_asked_and_more_is_covered(kind: str) -> None:
    scene = draw_scene(8)
    areas = [
        int(soil(scene.photo, scene.truth, kind, share, 9).mask.sum())
        for share in np.linspace(0, 1, 9)
    ]
    assert areas[0] == 0
    assert areas == sorted(set(areas))
    assert areas[-1] == scene.truth.sum()


def test_a_share_of_zero_leaves_the_photo_bit_for_bit() -> None:
    scene = draw_scene(9)
    soiled = soil(scene.photo, scene.truth, "mud", 0, 1)
    assert np.array_equal(soiled.photo, scene.photo)
    assert soiled.share == 0


@pytest.mark.parametrize("kind", KINDS)
def test_print_shows_through_what_is_translucent_and_less_through_what_is_not(kind: str) -> None:
    """Black and white stripes under a full cover: how much of their contrast is left."""
    photo = np.full((128, 128, 3), 230, np.uint8)
    photo[:, (np.arange(128) // 8) % 2 == 0] = 60
    left = []
    for seed in range(8):
        soiled = soil(photo, np.ones((128, 128), bool), kind, 1.0, seed).photo.mean(axis=2)
        stripes = soiled.mean(axis=0)
        contrast = stripes[np.arange(128) // 8 % 2 == 1].mean() - stripes[
            np.arange(128) // 8 % 2 == 0
        ].mean()  # fmt: skip
        left.append(contrast / 170)
    shows = float(np.median(left))
    if kind in ("grease", "wet", "dust", "liquid"):
        assert shows > 0.3, shows
    else:
        assert shows < 0.5, shows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(8, 8), (9, 60), (24, 16), (256, 256)])
def test_tiny_long_and_whole_photo_items_work(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (*size, 3), np.uint8)
    whole = np.ones(size, bool)
    for share in (0.02, 0.5, 1.0):
        soiled = soil(photo, whole, kind, share, 3)
        assert soiled.mask.sum() == round(share * whole.size)
        assert soiled.photo.shape == photo.shape


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31), st.sampled_from(KINDS), st.floats(0, 1), st.sampled_from([0, 128, 255])
)
@example(0, "liquid", 1.0, 255)
def test_any_seed_on_a_flat_item_is_exact(seed: int, kind: str, share: float, grey: int) -> None:
    photo: Photo = np.full((20, 30, 3), grey, np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[3:17, 4:27] = True
    soiled = soil(photo, mask, kind, share, seed)
    assert abs(soiled.mask.sum() - share * mask.sum()) <= 0.5 + 1e-9
    assert np.array_equal(soiled.photo[~mask], photo[~mask])


@pytest.mark.parametrize("kind", KINDS)
def test_large_items_stay_numbers_whatever_the_seed(kind: str) -> None:
    """Fields are drawn on coarser grids and enlarged, which small photos never see."""
    photo = np.asarray(cv2.resize(draw_scene(2).photo, (512, 384)), np.uint8)
    mask = np.ones(photo.shape[:2], bool)
    for seed in range(25):
        share = (seed + 1) / 26
        soiled = soil(photo, mask, kind, share, seed)  # a warning is an error
        assert np.isfinite(soiled.alpha).all()
        assert soiled.mask.sum() == round(share * mask.size)


def test_blobs_keep_their_part_of_the_item_at_another_resolution() -> None:
    """The same item at twice the pixels: about the same number of spots, not four times as many."""

    def spots(scale: int) -> float:
        photo = np.full((96 * scale, 128 * scale, 3), 200, np.uint8)
        mask = np.ones(photo.shape[:2], bool)
        counts = []
        for seed in range(5):
            found: NDArray[np.uint8] = soil(photo, mask, "grease", 0.2, seed).mask.astype(np.uint8)
            counts.append(cv2.connectedComponents(found)[0] - 1)
        return float(np.mean(counts))

    assert 0.4 < spots(3) / spots(1) < 2.5


def test_equal_heights_are_still_covered_to_the_pixel() -> None:
    height = np.zeros((10, 10), np.float32)
    free = np.ones((10, 10), bool)
    cover = cover_pixels(height, free, 37, 1.0)
    assert ((cover.alpha >= 0.5) & free).sum() == 37


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), float("inf")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    scene = draw_scene(1)
    with pytest.raises(ConfigError, match="must lie in 0 to 1"):
        soil(scene.photo, scene.truth, "mud", share, 1)


def test_an_unknown_kind_names_the_nearest() -> None:
    scene = draw_scene(1)
    with pytest.raises(ConfigError, match="did you mean 'grease'"):
        soil(scene.photo, scene.truth, "greese", 0.1, 1)


def test_masks_that_cannot_be_used_are_refused() -> None:
    photo = draw_scene(1).photo
    size = photo.shape[:2]
    with pytest.raises(ImageError, match="no item to soil"):
        soil(photo, np.zeros(size, bool), "mud", 0.1, 1)
    with pytest.raises(ImageError, match="no item to soil"):
        soil(photo, np.full(size, 0.4), "mud", 0.1, 1)
    with pytest.raises(ImageError, match="0 to 1"):
        soil(photo, np.full(size, np.nan), "mud", 0.1, 1)
    with pytest.raises(ImageError, match="like its photo"):
        soil(photo, np.ones((10, 10), bool), "mud", 0.1, 1)
    with pytest.raises(ImageError, match="uint8"):
        soil(photo.astype(np.float32), np.ones(size, bool), "mud", 0.1, 1)
