"""Each change of a photo against torchvision's own, or worked out by hand."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

import beltsight
from beltsight.records import Photo
from beltsight.scene import CutOut, paste
from beltsight.scene.relight import relight
from beltsight.train.changes import (
    affine_matrix,
    blur,
    colour_matrix,
    dim,
    hidden_share,
    item_of,
    lay_over,
    mean_luma,
    move,
    patch_hides,
    recolour,
    shadow_field,
)

DEMO = Path(beltsight.__file__).parent / "assets" / "demo"
FILL = (128, 128, 128)


@pytest.fixture(scope="module")
def photo() -> Photo:
    """A real photo, 96 x 128, with its bars."""
    preparation = beltsight.Preparation(96, 128)
    return beltsight.prepare(DEMO / "metal" / "metal33.jpg", preparation)


@pytest.fixture(scope="module")
def soft(photo: Photo) -> Photo:
    """The same within 60 to 180, so that no change of colour is cut off."""
    return (60 + photo.astype(np.float32) * (120 / 255)).astype(np.uint8)


def tensor(photo: Photo) -> Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)


def differences(photo: Photo, reference: Tensor) -> NDArray[np.float64]:
    return np.asarray(
        np.abs(photo.astype(np.float64) - reference.permute(1, 2, 0).double().numpy())
    )


@pytest.mark.parametrize(
    ("degrees", "shift", "scale", "shear"),
    [(30, (0, 0), 1.0, 0), (0, (7, -4), 1.0, 0), (0, (0, 0), 0.75, 0), (0, (0, 0), 1.0, 10),
     (-130, (5, 3), 1.2, -8)],
)  # fmt: skip
def test_moves_are_torchvisions(
    photo: Photo, degrees: float, shift: tuple[int, int], scale: float, shear: float
) -> None:
    matrix = affine_matrix((96, 128), degrees=degrees, shift_px=shift, scale=scale, shear=shear)
    expected = functional.affine(
        tensor(photo), degrees, list(shift), scale, [shear, 0.0],
        interpolation=InterpolationMode.BILINEAR, fill=[128.0] * 3,
    )  # fmt: skip
    # Along the frame's own edge torchvision takes the photo's share twice, and comes out darker.
    whole = move(np.full_like(photo, 255), matrix, (0, 0, 0))[:, :, 0] == 255
    assert whole.mean() > 0.4
    error = differences(move(photo, matrix, FILL), expected)[whole]
    assert error.max() <= 2


def test_mirrors_are_exact_and_come_first(photo: Photo) -> None:
    across = move(photo, affine_matrix((96, 128), mirror_x=True), FILL)
    np.testing.assert_array_equal(across, photo[:, ::-1])
    down = move(photo, affine_matrix((96, 128), mirror_y=True), FILL)
    np.testing.assert_array_equal(down, photo[::-1])
    turned = affine_matrix((96, 128), degrees=25, shift_px=(4, 2))
    both = affine_matrix((96, 128), degrees=25, shift_px=(4, 2), mirror_x=True)
    mirrored = np.ascontiguousarray(photo[:, ::-1])
    error = np.abs(move(photo, both, FILL).astype(int) - move(mirrored, turned, FILL))
    assert error.mean() < 0.1


def test_a_warp_moves_where_its_knots_say(photo: Photo) -> None:
    still = affine_matrix((96, 128))
    knots = np.zeros((2, 5, 5), np.float32)
    np.testing.assert_array_equal(move(photo, still, FILL, knots), photo)
    knots[0], knots[1] = 6, -3
    shifted = move(photo, affine_matrix((96, 128), shift_px=(6, -3)), FILL)
    np.testing.assert_array_equal(move(photo, still, FILL, knots), shifted)


def test_the_largest_warp_does_not_fold() -> None:
    """A ramp stays a ramp: values never fall along the row."""
    ramp = np.tile(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (128, 1, 3))
    still, generator = affine_matrix((128, 128)), np.random.default_rng(0)
    for _ in range(20):
        knots = generator.choice([-1.0, 1.0], (2, 5, 5)).astype(np.float32) * np.float32(0.03 * 128)
        warped = move(ramp, still, (0, 0, 0), knots)[8:-8, 8:-8, 0].astype(int)
        assert (np.diff(warped, axis=1) >= 0).all()
        assert not np.array_equal(warped, ramp[8:-8, 8:-8, 0])


@pytest.mark.parametrize("factor", [0.65, 0.9, 1.35])
def test_brightness_contrast_and_saturation_are_torchvisions(soft: Photo, factor: float) -> None:
    for name, reference in (
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ):
        matrix = colour_matrix(mean_luma(soft), **{name: factor})
        error = differences(recolour(soft, matrix), reference(tensor(soft), factor))
        assert error.max() <= 2, name  # torchvision cuts to whole levels, here they are rounded


def test_all_colour_at_once_is_torchvisions_in_any_order(soft: Photo) -> None:
    matrix = colour_matrix(mean_luma(soft), brightness=1.2, contrast=0.7, saturation=1.3)
    ours = recolour(soft, matrix)
    steps = [
        lambda picture: functional.adjust_brightness(picture, 1.2),
        lambda picture: functional.adjust_contrast(picture, 0.7),
        lambda picture: functional.adjust_saturation(picture, 1.3),
    ]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        picture = tensor(soft)
        for step in order:
            picture = steps[step](picture)
        assert differences(ours, picture).max() <= 4


@pytest.mark.parametrize("hue", [-0.03, 0.03, 0.08])
def test_hue_turns_as_far_as_asked_and_keeps_luma(hue: float) -> None:
    """A wheel of pale colours, its turn read back by Python's own HSV."""
    wheel = [colorsys.hsv_to_rgb(step / 60, 0.4, 0.7) for step in range(60)]
    photo = np.rint(255 * np.array(wheel)).astype(np.uint8)[None]
    turned = recolour(photo, colour_matrix(mean_luma(photo), hue=hue))
    hues = [
        [colorsys.rgb_to_hsv(*pixel)[0] for pixel in row[0]] for row in (photo / 255, turned / 255)
    ]
    turns = (np.diff(hues, axis=0)[0] + 0.5) % 1 - 0.5
    # HSV's wheel is a hexagon, YIQ's an ellipse: a turn differs from place to place.
    assert turns.mean() == pytest.approx(hue, rel=0.1)
    assert (turns / hue).min() > 0.5 and (turns / hue).max() < 2
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs(turned @ luma - photo @ luma).max() < 1
    grey = np.full((4, 4, 3), 90, np.uint8)
    np.testing.assert_array_equal(recolour(grey, colour_matrix(90, hue=hue)), grey)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_blur_is_torchvisions(photo: Photo, sigma: float) -> None:
    expected = functional.gaussian_blur(tensor(photo), [5, 5], [sigma, sigma])
    assert differences(blur(photo, sigma), expected).max() <= 1


def test_a_stronger_blur_keeps_its_width(photo: Photo) -> None:
    expected = functional.gaussian_blur(tensor(photo), [21, 21], [2.5, 2.5])
    assert (
        differences(blur(photo, 2.5), expected).mean() < 0.15 * differences(photo, expected).mean()
    )


def test_a_half_planes_shadow_by_hand() -> None:
    """Dark to the right of the middle, its edge 0.1 of the width to either side."""
    field = shadow_field((64, 96), depth=0.4, angle=0.0, centre=(0.5, 0.5), softness=0.1)
    assert field.shape == (64, 96) and field.dtype == np.float32
    assert field[:, 0] == pytest.approx(1.0, abs=1e-3)
    assert field[:, -1] == pytest.approx(0.6, abs=1e-3)
    x = (np.arange(96) + 0.5) / 96 - 0.5
    expected = 1 - 0.4 / (1 + np.exp(-2 * x / 0.1))
    np.testing.assert_allclose(field, np.tile(expected, (64, 1)), atol=0.01)
    up = shadow_field((64, 96), depth=0.4, angle=-math.pi / 2, centre=(0.5, 0.5), softness=0.1)
    assert up[0].max() < 0.61 and up[-1].min() > 0.99


def test_an_ellipses_shadow_lies_where_it_should() -> None:
    field = shadow_field(
        (100, 100), depth=0.5, angle=math.pi / 2, centre=(0.3, 0.5), softness=0.02, radii=(0.4, 0.2)
    )
    dark = np.argwhere(field < 0.75)  # (row, column)
    assert dark.mean(axis=0) == pytest.approx([49.5, 29.5], abs=1)
    assert np.ptp(dark, axis=0) == pytest.approx([80, 40], abs=4)  # turned: longer downwards
    assert len(dark) == pytest.approx(math.pi * 40 * 20, rel=0.05)
    assert field.min() == pytest.approx(0.5, abs=0.01)


def test_dimming_multiplies(photo: Photo) -> None:
    field = np.full(photo.shape[:2], 0.5, np.float32)
    assert np.abs(dim(photo, field) - photo / 2).max() <= 0.5


def test_an_item_hides_no_more_of_the_middle_than_it_may() -> None:
    """What paste says is covered, counted; the item starts in the middle of the photo."""
    ground = np.full((90, 120, 3), 230, np.uint8)
    item = CutOut(np.zeros((50, 30, 3), np.uint8), np.ones((50, 30), np.float32))
    shares = []
    for angle in np.linspace(0, 2 * math.pi, 24):
        laid = lay_over(ground, item, angle=float(angle), reach=0.0, hidden=0.2)
        covered = (laid == 0).all(axis=2)
        assert covered.sum() > 100  # it is still seen
        shares.append(covered[22:68, 30:90].mean())
    assert max(shares) <= 0.2
    assert min(shares) > 0.1  # and came no farther out than it had to


def test_the_hidden_share_is_what_paste_covers() -> None:
    ground = np.full((90, 120, 3), 230, np.uint8)
    item = CutOut(np.zeros((40, 26, 3), np.uint8), np.ones((40, 26), np.float32))
    generator, seen = np.random.default_rng(2), 0
    for _ in range(50):
        centre = float(generator.uniform(-10, 130)), float(generator.uniform(-10, 100))
        covered = paste(ground, item, centre).mask[22:68, 30:90].mean()
        # The centre is rounded to whole pixels: a row or column more or less.
        assert hidden_share(item, centre, (90, 120)) == pytest.approx(covered, abs=0.025)
        seen += covered > 0
    assert seen > 20


def test_a_patchs_share_of_the_middle_by_hand() -> None:
    assert patch_hides((0, 0, 120, 90), (90, 120)) == 1
    assert patch_hides((0, 0, 30, 90), (90, 120)) == 0
    assert patch_hides((60, 0, 120, 90), (90, 120)) == 0.5


def test_the_item_of_a_photo_is_found_between_the_bars() -> None:
    photo = np.full((128, 128, 3), FILL, np.uint8)
    photo[16:112] = 210
    photo[50:80, 30:90] = 150, 30, 20
    item = item_of(photo, FILL)
    assert item is not None
    assert item.size == pytest.approx((60, 30), abs=6)
    assert item.alpha.sum() == pytest.approx(60 * 30, rel=0.1)


def test_where_there_is_no_item_none_is_made_up() -> None:
    assert item_of(np.full((128, 128, 3), FILL, np.uint8), FILL) is None
    even = np.full((128, 128, 3), 210, np.uint8)
    assert item_of(even, FILL) is None
    assert item_of(even[:20, :20], FILL) is None


@pytest.mark.parametrize("mired", [-60.0, 40.0, 130.0])
def test_a_warmer_lamp_is_near_that_of_linear_light(soft: Photo, mired: float) -> None:
    warmed = recolour(soft, colour_matrix(mean_luma(soft), warmth_mired=mired))
    exact = relight(soft, warmth_mired=mired)
    moved = exact.astype(float).mean((0, 1)) - soft.mean((0, 1))
    # Reds rise and blues fall, or the other way; by about as much as in linear light.
    assert moved[0] * mired > 0 > moved[2] * mired
    off = warmed.astype(float) - exact.astype(float)
    assert np.abs(off).mean() < 0.12 * np.abs(moved).max()
    assert np.abs(off).max() <= 0.2 * np.abs(moved).max() + 2
