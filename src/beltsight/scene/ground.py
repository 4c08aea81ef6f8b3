"""What an item lies on: a smooth surface of light and colour, fitted where no item is."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo
from beltsight.scene.checks import Box, check_mask, check_photo

# A slight preference for a flat surface, where few pixels say how it bends: 1, x, y, x^2, xy, y^2.
_BEND = np.array([0, 1, 1, 4, 4, 4], np.float32) * np.float32(1e-3)
_FIT_SIDE_PX = 96
_WIDEST_PX = 11.0  # that of a photo of 512 pixels; a wider blur is made on a coarser grid
_COARSE_PX = 4.0  # of the blur on that grid
_GRAIN_PX = 1.5  # finer than this is the camera's noise, coarser is light


def inner_box(photo: Photo, fill: tuple[int, int, int]) -> Box:
    """Where a letterboxed photo lies between its bars.

    Args:
        photo: uint8 (H, W, 3) RGB, from :func:`beltsight.prepare`.
        fill: RGB of the bars, 0 to 255.

    Returns:
        (x0, y0, x1, y1) in pixels: all but the outer rows and columns that hold only the fill;
        the whole photo where it is all fill.

    Example:
        >>> photo = np.full((20, 10, 3), 128, np.uint8)
        >>> photo[4:16] = 250
        >>> inner_box(photo, (128, 128, 128))
        (0, 4, 10, 16)
    """
    bars = cv2.inRange(photo, np.array(fill, np.uint8), np.array(fill, np.uint8))
    x, y, width, height = cv2.boundingRect(cv2.bitwise_not(bars))
    if not width:
        return 0, 0, photo.shape[1], photo.shape[0]
    return x, y, x + width, y + height


def fit_surface(
    values: Floats, weights: Floats, steps: int = 6
) -> tuple[Callable[[int, int], Floats], float]:
    """A quadratic surface through the pixels that agree, by reweighted least squares.

    Args:
        values: float32 (h, w, c), of any unit.
        weights: float32 (h, w), at least 0; 0 leaves a pixel out. Fewer than a half of the
            weighted pixels may disagree (an item that crosses the border).
        steps: rounds of reweighting with the weight of Geman and McClure, 1 / (1 + (e / s)^2)^2.

    Returns:
        A function (height, width) -> float32 (height, width, c), the surface over the same
        field at any resolution; and the spread of the pixels that agree, in the values' unit.
    """
    height, width, channels = values.shape
    chosen = np.flatnonzero(weights)
    terms = _terms(height, width).reshape(-1, 6)[chosen]
    seen = values.reshape(-1, channels)[chosen]
    base = weights.ravel()[chosen]
    # From the median colour on: a first fit to all pixels would bend towards the item.
    middle = np.median(seen, axis=0).astype(np.float32) if len(seen) else np.float32(0)
    robust, spread = _agreement(seen - middle)
    for _ in range(steps):
        weighted = terms * (base * robust)[:, None]
        total = max(float(weighted[:, 0].sum()), 1e-6)
        normal = weighted.T @ terms + np.diag(_BEND * total)
        factors = np.asarray(np.linalg.lstsq(normal, weighted.T @ seen)[0], np.float32)
        robust, spread = _agreement(seen - np.asarray(terms @ factors, np.float32))

    def surface(rows: int, columns: int) -> Floats:
        return np.asarray(_terms(rows, columns) @ factors, np.float32)

    return surface, spread


def clear_background(photo: Photo, mask: NDArray[np.generic]) -> Photo:
    """The photo without its item: the ground's light in its place, with the photo's own grain.

    Args:
        photo: uint8 (H, W, 3) RGB, an item on smooth ground.
        mask: bool or float alpha (H, W), where the item is.

    Returns:
        uint8 (H, W, 3) RGB. Shadows near the item go, too: they fade into the surface over
        about an eighth of the photo's longer side. Pixels farther away are untouched.

    Raises:
        ImageError: an unsuitable photo or mask.
    """
    check_photo(photo)
    alpha = check_mask(mask, photo)
    item = (alpha > 0).astype(np.uint8)
    if not item.any() or item.all():
        return photo.copy()
    reach = max(photo.shape[:2]) / 8
    away = cv2.distanceTransform(1 - item, cv2.DIST_L2, 3)
    values = photo.astype(np.float32)
    light = _light_without(values, away > max(2.0, reach / 4))
    made = light + _spread_grain(values, away > reach / 2)
    near = np.clip(2 - away / reach, 0, 1)[:, :, None]  # 1 up to the reach, 0 from twice it
    kept = values + near * (light - _blur_inside(values, away > 2, reach / 6))
    # Contact shadows and what the mask missed lie within a third of the reach.
    share = np.clip(away / (reach / 3) - 1, 0, 1)[:, :, None]
    cleared = np.clip(np.rint(made + share * (kept - made)), 0, 255)
    return np.asarray(cleared, np.uint8)


def _agreement(errors: Floats) -> tuple[Floats, float]:
    """Weights of pixels by their errors (n, c), and the spread that sets the scale."""
    lengths = np.sqrt(np.einsum("nc,nc->n", errors, errors))
    spread = 1.4826 * float(np.median(lengths)) + 0.5
    return np.asarray(1 / (1 + (lengths / spread) ** 2) ** 2, np.float32), spread


def _terms(height: int, width: int) -> Floats:
    """float32 (height, width, 6): 1, x, y, x^2, xy, y^2 at pixel centres, -1 to 1."""
    y, x = np.meshgrid(
        (2 * np.arange(height, dtype=np.float32) + 1) / height - 1,
        (2 * np.arange(width, dtype=np.float32) + 1) / width - 1,
        indexing="ij",
    )
    return np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)


def _light_without(values: Floats, ground: NDArray[np.bool_]) -> Floats:
    """The surface through the ground's pixels, over the whole photo."""
    height, width = ground.shape
    scale = min(1.0, _FIT_SIDE_PX / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    few = np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)
    share = cv2.resize(ground.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    weights = (share > 0.99).astype(np.float32)
    if weights.sum() < 12:  # an item over nearly all of the photo: what little is left, as it is
        weights = share + 1e-3
    surface, _ = fit_surface(few, weights)
    return surface(height, width)


def _blur_inside(values: Floats, inside: NDArray[np.bool_], sigma_px: float) -> Floats:
    """Gaussian mean of the pixels inside alone; where none is near, 0."""
    share = inside.astype(np.float32)
    total: Floats = values * share[:, :, None]
    height, width = inside.shape
    # At full resolution time would grow with the cube of the side.
    coarser = sigma_px / _COARSE_PX if sigma_px > _WIDEST_PX else 1.0
    if coarser > 1:
        size = max(1, round(width / coarser)), max(1, round(height / coarser))
        total, share = _resized(total, size), _resized(share, size)
    total = np.asarray(cv2.GaussianBlur(total, (0, 0), sigma_px / coarser), np.float32)
    share = np.asarray(cv2.GaussianBlur(share, (0, 0), sigma_px / coarser), np.float32)
    mean = np.asarray(total / np.maximum(share, 1e-6)[:, :, None], np.float32)
    return mean if coarser == 1 else np.asarray(cv2.resize(mean, (width, height)), np.float32)


def _resized(values: Floats, size: tuple[int, int]) -> Floats:
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _spread_grain(values: Floats, ground: NDArray[np.bool_]) -> Floats:
    """The camera's grain for every pixel: where there is no ground, that of ground elsewhere."""
    grain = values - _blur_inside(values, ground, _GRAIN_PX)
    if not ground.any():
        return np.zeros_like(values)
    # Dirt and seams of the ground are no grain, and would show where they are repeated.
    usual = np.median(np.abs(grain[ground]))
    even = ground & (np.abs(grain).max(axis=2) <= 4 * usual + 1)
    spread = np.where(even[:, :, None], grain, 0)
    missing = ~even
    height, width = ground.shape
    # Shifts by unequal fractions of the photo, so that no pattern repeats where two meet.
    for step in range(1, 12):
        shift = (round(height * 0.382 * step) % height, round(width * 0.618 * step) % width)
        source = np.roll(even, shift, (0, 1))
        taken = missing & source
        spread[taken] = np.roll(grain, shift, (0, 1))[taken]
        missing &= ~source
    return np.asarray(spread, np.float32)
