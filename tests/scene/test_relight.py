"""Light: nothing asked is nothing done, and each amount does what its unit says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beltsight.errors import ImageError
from beltsight.scene import relight
from beltsight.scene.light import to_light, to_photo
from beltsight.scene.relight import lamp_gains

LEVELS = np.arange(256, dtype=np.uint8)
PHOTO = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)


def test_nothing_asked_is_nothing_done() -> None:
    assert np.array_equal(relight(PHOTO), PHOTO)
    assert np.array_equal(relight(PHOTO, direction_deg=77), PHOTO)
    assert relight(PHOTO) is not PHOTO


def test_light_and_back_is_exact_for_every_level() -> None:
    assert np.array_equal(to_photo(to_light(LEVELS)), LEVELS)
    assert to_light(LEVELS)[[0, 255]].tolist() == [0, 1]
    assert to_light(LEVELS)[188] == pytest.approx(0.5, abs=0.005)  # the known half of white


def test_a_stop_doubles_the_light() -> None:
    photo = np.full((8, 8, 3), 90, np.uint8)
    twice = to_light(relight(photo, exposure_ev=1))
    assert twice == pytest.approx(2 * to_light(photo), rel=0.02)


def test_what_is_brighter_than_white_is_white() -> None:
    assert (relight(np.full((8, 8, 3), 200, np.uint8), exposure_ev=5) == 255).all()


@pytest.mark.parametrize(
    ("direction_deg", "bright", "dark"),
    [(0, (4, 8), (4, 0)), (90, (0, 4), (8, 4)), (180, (4, 0), (4, 8)), (270, (8, 4), (0, 4))],
)
def test_the_bright_side_lies_where_the_direction_says(
    direction_deg: float, bright: tuple[int, int], dark: tuple[int, int]
) -> None:
    photo = np.full((9, 9, 3), 120, np.uint8)
    lit = to_light(relight(photo, gradient_ev=1, direction_deg=direction_deg))
    assert lit[bright][0] / lit[dark][0] == pytest.approx(2, rel=0.03)
    assert lit[4, 4] == pytest.approx(to_light(photo)[4, 4], rel=0.01)


@given(st.floats(-150, 350))
def test_a_warmer_lamp_is_redder_and_keeps_the_brightness_of_grey(warmth: float) -> None:
    red, green, blue = lamp_gains(warmth)
    assert 0.2126 * red + 0.7152 * green + 0.0722 * blue == pytest.approx(1)
    if abs(warmth) > 1:
        assert (red > blue) == (warmth > 0)


def test_the_lamp_has_the_colour_of_a_black_body() -> None:
    """Against CIE 1931 x, y of black bodies at 3,300 and 6,500 K (tables)."""
    matrix = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    white, lamp = (
        np.array(matrix) @ (x / y, 1, (1 - x - y) / y)
        for x, y in ((0.3135, 0.3237), (0.4147, 0.3952))
    )
    expected = lamp / white
    gains = lamp_gains(1e6 / 3300 - 1e6 / 6504)
    assert gains / gains[1] == pytest.approx(expected / expected[1], abs=0.05)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ImageError, match="must be numbers"):
        relight(PHOTO, exposure_ev=np.nan)
    with pytest.raises(ImageError, match="uint8"):
        relight(PHOTO.astype(float))
