"""The same scene under other light: brighter, from one side, warmer; in linear light."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_photo
from beltsight.scene.light import to_light, to_photo

DAYLIGHT_MIRED = 1e6 / 6504
_COLDEST_MIRED, _WARMEST_MIRED = 1e6 / 25_000, 1e6 / 1_900
_XYZ_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def relight(
    photo: Photo,
    *,
    exposure_ev: float = 0.0,
    gradient_ev: float = 0.0,
    direction_deg: float = 0.0,
    warmth_mired: float = 0.0,
) -> Photo:
    """Change the light of a photo.

    Args:
        photo: uint8 (H, W, 3) RGB.
        exposure_ev: brightness in stops: each doubles the light.
        gradient_ev: from the dark side to the bright side, in stops, half of it up and half
            down about the middle.
        direction_deg: where the bright side is: 0 right, 90 up, counterclockwise.
        warmth_mired: shift of the lamp's colour temperature T, in mired (1e6 / T in kelvin), from
            daylight of 6504 K: over 0 is warmer (+150 is about 3300 K), under 0 bluer. Brightness
            of grey stays.

    Returns:
        uint8 (H, W, 3) RGB; the photo bit for bit where all amounts are 0. What becomes brighter
        than white is cut off.

    Raises:
        ImageError: an unsuitable photo, or an amount that is no number.

    Source: colour of a black body by Kim et al. 2002 (US patent 7024034), in sRGB primaries.

    Example:
        >>> photo = np.full((8, 8, 3), 100, np.uint8)
        >>> int(relight(photo, exposure_ev=1)[0, 0, 0])  # twice the light
        138
    """
    check_photo(photo)
    amounts = (exposure_ev, gradient_ev, direction_deg, warmth_mired)
    if not np.isfinite(amounts).all():
        raise ImageError(f"amounts of light must be numbers, got {amounts}")
    gains = 2**exposure_ev * lamp_gains(warmth_mired)
    field = _slope(photo.shape[0], photo.shape[1], direction_deg) * np.float32(gradient_ev / 2)
    light = to_light(photo) * gains.astype(np.float32)
    if gradient_ev:
        light *= np.exp2(field)[:, :, None]
    return to_photo(light)


@lru_cache(maxsize=64)
def _lamp(mired: float) -> tuple[float, float, float]:
    """Linear sRGB of a black body, of luminance 1."""
    t = 1e3 / (1e6 / mired)  # thousands of kelvin, inverted
    if t <= 0.25:
        x = -3.0258469 * t**3 + 2.1070379 * t**2 + 0.2226347 * t + 0.240390
    else:
        x = -0.2661239 * t**3 - 0.2343589 * t**2 + 0.8776956 * t + 0.179910
    if t <= 0.25:
        y = 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483
    elif t <= 1 / 2.222:
        y = -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    else:
        y = -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    rgb = np.maximum(_XYZ_TO_RGB @ np.array([x / y, 1.0, (1 - x - y) / y]), 1e-3)
    red, green, blue = rgb / (_LUMINANCE @ rgb)
    return float(red), float(green), float(blue)


def lamp_gains(warmth_mired: float) -> NDArray[np.float64]:
    """Factors of linear R, G and B for a lamp that is warmer than daylight by so many mired.

    Returns:
        float64 (3,), with the luminance of grey kept; 1, 1, 1 at 0. The lamp stays within 1,900
        to 25,000 K.
    """
    mired = float(np.clip(DAYLIGHT_MIRED + warmth_mired, _COLDEST_MIRED, _WARMEST_MIRED))
    gains = np.array(_lamp(mired)) / np.array(_lamp(DAYLIGHT_MIRED))
    return np.asarray(gains / (_LUMINANCE @ gains), np.float64)


def _slope(height: int, width: int, direction_deg: float) -> Floats:
    """float32 (height, width) from -1 at the dark corner or side to 1 at the bright one."""
    angle = np.deg2rad(direction_deg)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(np.cos(angle))
    y = np.linspace(1, -1, height, dtype=np.float32) * np.float32(np.sin(angle))
    reach = abs(np.cos(angle)) + abs(np.sin(angle))
    return np.asarray((x[None, :] + y[:, None]) / np.float32(reach), np.float32)
