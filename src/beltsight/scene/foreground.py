"""Which pixels of a photo are the item: by its difference from the ground, and by GrabCut.

Colour alone takes shadows for items and glass for ground. What tells them apart is the edge:
light and shadow change slowly, an item begins at once. So the ground is what can be reached from
the border without crossing an edge or meeting a colour far from the ground's; the rest is item.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_photo
from beltsight.scene.ground import fit_surface

Method = Literal["grabcut", "difference"]
_Bits = NDArray[np.uint8]

_RING = 0.06  # of the longer side: the border that is taken for ground
_SHADOW_WEIGHT = 0.35  # of a difference towards the dark, which may be shadow
_LARGEST_SHARE = 0.95
_LEAST_PART = 0.1  # of the largest part of a mask: smaller ones are dropped
_GRABCUT_SAMPLES = 10  # pixels of each side, from which it learns five colours


TRUSTED = 0.5
"""Of 153 masks over it, 91 in 100 were good by eye: docs/scene.md."""


@dataclass(frozen=True, slots=True, eq=False)
class Foreground:
    """Where the item of a photo is, and how far to trust it.

    Args:
        mask: float32 (H, W), alpha from 0 (ground) to 1 (item), soft at the edge.
        confidence: 0 to 1; 0 where nothing was found. It rates the outline: how sharply the item
            sets itself off, how even the ground is, and whether area and shape are an item's.
            From :data:`TRUSTED` on most masks are good.
    """

    mask: Floats
    confidence: float

    @property
    def is_trusted(self) -> bool:
        """Whether the outline is good enough to cut the item out or to lay something on it."""
        return self.confidence >= TRUSTED

    @property
    def solid(self) -> NDArray[np.bool_]:
        """The mask as bool (H, W): at least half item."""
        return self.mask >= 0.5

    @property
    def share(self) -> float:
        """The item's part of the photo's area, 0 to 1."""
        return float(self.solid.mean())


class _Contrast(NamedTuple):
    """How a small photo differs from its ground, in units of CIE Lab (1 is just visible)."""

    offset: Floats  # (h, w, 3) L, a, b; the dark side weakened
    colour: Floats  # (h, w) length of the offset
    edge: Floats  # (h, w) strength of edges near a pixel
    likely_ground: NDArray[np.bool_]  # where ground is looked for
    spread: float  # of the ground's own colour


def find_foreground(
    photo: Photo,
    method: Method = "grabcut",
    *,
    side_px: int = 128,
) -> Foreground:
    """Find the item on its ground.

    Args:
        photo: uint8 (H, W, 3) RGB.
        method: ``difference`` compares with the ground, a smooth surface through the photo's
            border, where few pixels may be item; ``grabcut`` refines that by the colours
            of both, drops most shadows and takes about five times as long.
        side_px: the longer side at which the mask is found, at least 32; time grows with its
            square. Items under a tenth of the photo's side need more than the default.

    Returns:
        The mask and its confidence: an empty mask and 0 where nothing sets itself off.

    Raises:
        ImageError: an unsuitable photo or method.

    Source: GrabCut is Rother, Kolmogorov and Blake 2004; the soft edge is the fast guided filter
    of He and Sun 2015.

    Example:
        >>> photo = np.full((96, 128, 3), 220, np.uint8)
        >>> photo[30:60, 40:90] = 90, 60, 40
        >>> found = find_foreground(photo)
        >>> round(found.share, 2), found.confidence > 0.5
        (0.12, True)
    """
    _check(photo, method, side_px)
    small = _shrink(photo, _small_size(photo, side_px))
    contrast = _contrast(small)
    rough, sure = _enclosed(contrast)
    refined = method == "grabcut"
    bits = _refine(contrast, rough, sure) if refined else _without_rim(contrast, rough)
    if not bits.any():
        return Foreground(np.zeros(photo.shape[:2], np.float32), 0.0)
    mask = _soften(photo, small, bits)
    # Softening the edge may leave nothing of a sliver.
    return Foreground(mask, _confidence(contrast, bits, rough) if mask.any() else 0.0)


def _check(photo: Photo, method: str, side_px: int) -> None:
    check_photo(photo)
    if method not in get_args(Method):
        raise ImageError(f"the method must be one of {get_args(Method)}, got {method!r}")
    if side_px < 32:
        raise ImageError(f"side_px must be at least 32 pixels, got {side_px}")


def _small_size(photo: Photo, side_px: int) -> tuple[int, int]:
    scale = min(1.0, side_px / max(photo.shape[:2]))
    return max(8, round(photo.shape[1] * scale)), max(8, round(photo.shape[0] * scale))


def _shrink(photo: Photo, size: tuple[int, int]) -> Floats:
    """uint8 RGB -> float32 RGB 0 to 1 of that (width, height)."""
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) * np.float32(1 / 255)


def _contrast(small: Floats) -> _Contrast:
    lab = _lab(small)
    likely = _ring(*lab.shape[:2])
    surface, spread = _border_surface(lab, likely)
    offset = lab - surface(*lab.shape[:2])
    edge = cv2.blur(_gradient(offset), (3, 3)) * np.float32(2.5)
    offset[:, :, 0] *= np.where(offset[:, :, 0] < 0, np.float32(_SHADOW_WEIGHT), 1)
    colour = np.sqrt(np.einsum("hwc,hwc->hw", offset, offset))
    return _Contrast(offset, colour, edge, likely, spread)


def _border_surface(
    lab: Floats, ring: NDArray[np.bool_]
) -> tuple[Callable[[int, int], Floats], float]:
    """Half the resolution says as much of a smooth surface, in a quarter of the time."""
    smooth = np.exp(-0.25 * _gradient(lab) ** 2) + np.float32(1e-4)
    size = lab.shape[1] // 2, lab.shape[0] // 2
    few = cv2.resize(lab, size, interpolation=cv2.INTER_AREA)
    weights = cv2.resize(ring * smooth, size, interpolation=cv2.INTER_AREA)
    return fit_surface(np.asarray(few, np.float32), np.asarray(weights, np.float32))


def _lab(rgb: Floats) -> Floats:
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB), np.float32)


def _ring(height: int, width: int) -> NDArray[np.bool_]:
    thick = max(2, round(_RING * max(height, width)))
    ring = np.ones((height, width), bool)
    ring[thick:-thick, thick:-thick] = False
    return ring


def _gradient(lab: Floats) -> Floats:
    """Length of the gradient over all channels, per pixel of way; float32 (h, w)."""
    across = cv2.Sobel(lab, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(lab, cv2.CV_32F, 0, 1, scale=1 / 8)
    squared = np.einsum("hwc,hwc->hw", across, across) + np.einsum("hwc,hwc->hw", down, down)
    return np.asarray(np.sqrt(squared), np.float32)


def _enclosed(contrast: _Contrast) -> tuple[_Bits, _Bits]:
    """What the ground cannot reach: with faint colours as barriers, and with strong ones only.

    The first holds shadows, the second may lose a smooth item with a blurred edge.
    """
    edge = contrast.edge > _edge_threshold(contrast)
    far = _colour_threshold(contrast)
    # An item that crosses the border is none: from there the ground could not be reached.
    start = contrast.likely_ground & (contrast.colour < min(far, max(5, 3 * contrast.spread)))
    rough = _reached(edge | (contrast.colour > far), start)
    sure = _reached(edge | (contrast.colour > max(30, 1.3 * far)), start) & rough
    return _main_parts(rough), _main_parts(sure)


def _edge_threshold(contrast: _Contrast) -> float:
    """Three times the ground's own unrest, within what a board and a belt show."""
    usual = float(np.median(contrast.edge[contrast.likely_ground]))
    return min(max(3 * usual, 4), 9)


def _colour_threshold(contrast: _Contrast) -> float:
    """Otsu's threshold of the distances, within what light on one ground can do."""
    quarter = np.clip(contrast.colour * 4, 0, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(quarter, 0, 255, cv2.THRESH_OTSU)
    return min(max(otsu / 4, 9), 20)


def _reached(barrier: NDArray[np.bool_], start: NDArray[np.bool_]) -> _Bits:
    """1 where no way leads from the start but across the barrier, less the barrier's width."""
    closed = _morph(cv2.MORPH_CLOSE, barrier.astype(np.uint8), 5)
    _, labels = cv2.connectedComponents(1 - closed, connectivity=4)
    is_ground = np.zeros(int(labels.max()) + 1, np.uint8)
    is_ground[labels[start]] = 1
    is_ground[0] = 0
    opened = _morph(cv2.MORPH_OPEN, 1 - is_ground[labels], 5)
    return _morph(cv2.MORPH_ERODE, opened, 5)


def _morph(operation: int, bits: _Bits, size: int) -> _Bits:
    """A morphological step that takes the frame for a cut, not for an edge."""
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    wide = cv2.copyMakeBorder(bits, size, size, size, size, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(cv2.morphologyEx(wide, operation, element)[size:-size, size:-size])


def _main_parts(bits: _Bits) -> _Bits:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(bits)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(_LEAST_PART * areas.max(), bits.size / 1000)
    keep[0] = False
    return np.asarray(keep.astype(np.uint8)[labels], np.uint8)


def _fill_holes(bits: _Bits) -> _Bits:
    """Holes that do not touch the frame become item."""
    wide = cv2.copyMakeBorder(bits, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(wide, None, (0, 0), 2)
    return np.asarray(wide[1:-1, 1:-1] != 2, np.uint8)


def _refine(contrast: _Contrast, rough: _Bits, sure: _Bits) -> _Bits:
    """GrabCut in the space of differences, where shadows lie near the ground."""
    labels = np.full(rough.shape, cv2.GC_BGD, np.uint8)
    labels[_morph(cv2.MORPH_DILATE, rough, 7) > 0] = cv2.GC_PR_BGD
    # Near the outline a faint colour is rather a shadow at the item's foot.
    labels[(sure > 0) & (contrast.colour > _colour_threshold(contrast))] = cv2.GC_PR_FGD
    labels[_morph(cv2.MORPH_ERODE, sure, 5) > 0] = cv2.GC_FGD
    labels[_cast_shadow(contrast, rough) & (labels != cv2.GC_BGD)] = cv2.GC_PR_BGD
    is_item = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if min(is_item.sum(), (~is_item).sum()) < _GRABCUT_SAMPLES or (labels != cv2.GC_BGD).all():
        return rough
    levels = np.clip(contrast.offset * 2 + 128, 0, 255).astype(np.uint8)
    # Its clusters start from OpenCV's generator: seeded, so that a photo has one mask.
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(levels, labels, (0, 0, 0, 0), *models, 3, cv2.GC_INIT_WITH_MASK)
    item = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    return _fill_holes(_morph(cv2.MORPH_OPEN, _main_parts(item), 3))


def _cast_shadow(contrast: _Contrast, rough: _Bits) -> NDArray[np.bool_]:
    """Smooth, darker, of the ground's hue, and joined to the ground beyond the mask."""
    darker = contrast.offset[:, :, 0] / np.float32(-_SHADOW_WEIGHT)
    hue = np.hypot(contrast.offset[:, :, 1], contrast.offset[:, :, 2])
    like = (darker > 8) & (darker < 45) & (hue < 4 + 0.2 * darker) & (contrast.edge < 8)
    passable = (like | (rough == 0)).astype(np.uint8)
    _, labels = cv2.connectedComponents(passable, connectivity=4)
    joined = np.zeros(int(labels.max()) + 1, bool)
    joined[labels[rough == 0]] = True
    joined[0] = False
    return np.asarray(joined[labels] & (rough > 0), np.bool_)


def _without_rim(contrast: _Contrast, rough: _Bits) -> _Bits:
    # Edges are found on both sides of an outline: the fainter side is ground.
    rim = _morph(cv2.MORPH_ERODE, rough, 7) == 0
    beside = cv2.dilate(contrast.colour, np.ones((5, 5), np.uint8))
    limit = np.minimum(0.4 * beside, 1.5 * _colour_threshold(contrast))
    faint = rim & (contrast.colour < limit)
    kept = (rough > 0) & ~faint
    opened = _morph(cv2.MORPH_OPEN, kept.astype(np.uint8), 3)
    return _fill_holes(_main_parts(opened))


def _soften(photo: Photo, small: Floats, bits: _Bits) -> Floats:
    """The mask at the photo's own size, its edge drawn to the photo's."""
    guide = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    mask = bits.astype(np.float32)
    window = (5, 5)
    mean_guide, mean_mask = cv2.blur(guide, window), cv2.blur(mask, window)
    variance = cv2.blur(guide * guide, window) - mean_guide**2
    slope = (cv2.blur(guide * mask, window) - mean_guide * mean_mask) / (variance + 1e-3)
    level = mean_mask - slope * mean_guide
    size = photo.shape[1::-1]
    fine = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) * np.float32(1 / 255)
    slope = cv2.resize(cv2.blur(slope, window), size, interpolation=cv2.INTER_LINEAR)
    level = cv2.resize(cv2.blur(level, window), size, interpolation=cv2.INTER_LINEAR)
    # The filter leaves a wide ramp: the middle half of it becomes the edge.
    return np.asarray(np.clip((slope * fine + level - 0.5) * 2 + 0.5, 0, 1), np.float32)


def _confidence(contrast: _Contrast, bits: _Bits, rough: _Bits) -> float:
    """A product of signs that each go from 0 to 1; bounds from 200 masks judged by eye."""
    threshold = _edge_threshold(contrast)
    ground = contrast.likely_ground & (bits == 0)
    if not ground.any() or bits.mean() > _LARGEST_SHARE:
        return 0.0
    edges = np.clip(contrast.edge - threshold, 0, 20)
    beyond = edges[_morph(cv2.MORPH_DILATE, bits, 7) == 0].sum() / max(float(edges.sum()), 1e-6)
    calm = (contrast.colour < _colour_threshold(contrast)) & (contrast.edge < threshold)
    signs = (
        _ramp(beyond, 0.15, 0.02),  # edges that the mask does not explain
        _ramp(_solidity(bits), 0.35, 0.75),
        _ramp((bits & rough).sum() / (bits | rough).sum(), 0.2, 0.6),  # two methods agree
        _ramp(calm[ground].mean(), 0.65, 0.85),
        _ramp(float(np.median(contrast.edge[ground])), 4.5, 2.2),
        _ramp(bits.mean(), 0.001, 0.006),
        0.0 if all(side.any() for side in (bits[0], bits[-1], bits[:, 0], bits[:, -1])) else 1.0,
    )
    return float(np.prod(signs))


def _ramp(value: float, worst: float, best: float) -> float:
    return float(np.clip((value - worst) / (best - worst), 0, 1))


def _solidity(bits: _Bits) -> float:
    """The parts' area as a share of their convex hulls'."""
    outlines, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hulls = np.zeros_like(bits)
    for outline in outlines:
        cv2.fillConvexPoly(hulls, cv2.convexHull(outline), 1)
    return float(bits.sum() / max(int(hulls.sum()), 1))
