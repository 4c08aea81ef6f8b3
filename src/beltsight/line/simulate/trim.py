"""What a mask holds of the ground: on a dark belt a rim of white board would shine.

A photo's mask may hold a shadow beside the item, or a strip of board in it. Both have the ground's
hue, no more than its brightness, and no edge between them and the mask's outline, while an item
begins with one.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo
from beltsight.scene.ground import fit_surface

_FIT_PX = 96
_SEED_PX = 3
_EDGE = 5.5  # Lab units per pixel
_DARKEST = 60.0
_MOST = 0.33
_RAGGED = 0.08
_SHADOW = 9.0
_ROUND_PX = 2.5

_Bits = NDArray[np.uint8]


def trim(photo: Photo, mask: Floats) -> Floats | None:
    """The mask without what is ground along its outline.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: float32 (H, W), 0 to 1.

    Returns:
        float32 (H, W). The mask as it was where over a third of it would go, or what is left would
        be ragged, and that is as light as the ground: the item itself is like it (white paper on
        white board), and a rim of ground hardly shows. None where it is darker: item and shadow
        cannot be told apart.
    """
    solid = (mask >= 0.5).astype(np.uint8)
    like, calm, darker = _like_ground(photo, solid)
    inner = _bits(cv2.erode(solid, np.ones((2 * _SEED_PX + 1,) * 2, np.uint8), borderValue=1))
    seeds = like & (solid - inner)
    passable = cv2.morphologyEx((like & calm & solid) | seeds, cv2.MORPH_OPEN, _disk(5))
    _, labels = cv2.connectedComponents(np.asarray(passable, np.uint8), connectivity=4)
    reached = np.zeros(int(labels.max()) + 1, bool)
    reached[labels[seeds > 0]] = True
    reached[0] = False
    ground = _bits(cv2.dilate(reached[labels].astype(np.uint8), _disk(3)))
    kept = cv2.morphologyEx(solid & (1 - ground), cv2.MORPH_OPEN, _disk(7))
    kept = _largest(_bits(cv2.morphologyEx(kept, cv2.MORPH_CLOSE, _disk(11))) & solid)
    is_too_much = kept.sum() < (1 - _MOST) * solid.sum()
    if is_too_much or fill(kept) < fill(solid) - _RAGGED:
        gone = (solid & (1 - kept)) > 0
        return None if np.median(darker[gone]) > _SHADOW else mask
    # Rounded, since what was taken away ends in steps; then a soft edge of its own.
    rounded = (cv2.GaussianBlur(kept.astype(np.float32), (0, 0), _ROUND_PX) > 0.5).astype(
        np.float32
    )
    soft = np.asarray(cv2.GaussianBlur(rounded, (0, 0), 1.0), np.float32)
    return np.asarray(np.minimum(mask, np.clip(1.6 * soft - 0.6, 0, 1)), np.float32)


def _like_ground(photo: Photo, solid: _Bits) -> tuple[_Bits, _Bits, Floats]:
    """Pixels that ground in light or shadow may be; with no edge; how much darker than ground."""
    small = photo.astype(np.float32) * np.float32(1 / 255)
    lab = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    scale = min(1.0, _FIT_PX / max(solid.shape))
    size = (max(8, round(solid.shape[1] * scale)), max(8, round(solid.shape[0] * scale)))
    away = 1 - cv2.dilate(solid, np.ones((9, 9), np.uint8))
    weights = cv2.resize(away.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    few = np.asarray(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), np.float32)
    surface, _ = fit_surface(few, np.asarray(weights + 1e-4, np.float32))
    offset = lab - surface(*solid.shape)
    darker = np.maximum(-offset[:, :, 0], 0)
    hue = np.hypot(offset[:, :, 1], offset[:, :, 2])
    like = (hue < 5 + 0.08 * darker) & (offset[:, :, 0] < 6) & (darker < _DARKEST)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.0)
    across = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    edge = np.sqrt((across**2 + down**2).sum(axis=2))
    return like.astype(np.uint8), (edge < _EDGE).astype(np.uint8), np.asarray(darker, np.float32)


def fill(solid: _Bits) -> float:
    """The mask's area as a share of its convex hull's, all parts together."""
    hull = cv2.convexHull(outline_points(solid))
    return min(1.0, float((solid > 0).sum()) / max(float(cv2.contourArea(hull)), 1.0))


def outline_points(solid: _Bits) -> NDArray[np.int32]:
    """Corners of a mask's outlines, int32 (n, 1, 2), x first."""
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return np.asarray(np.concatenate(outlines).reshape(-1, 1, 2), np.int32)


def _bits(array: Any) -> _Bits:
    return np.asarray(array, np.uint8)


def _disk(size: int) -> _Bits:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), np.uint8)


def _largest(bits: _Bits) -> _Bits:
    """Without the crumbs."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bits)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(0.15 * areas.max(), 1)
    keep[0] = False
    return np.asarray(keep.astype(np.uint8)[labels], np.uint8)
