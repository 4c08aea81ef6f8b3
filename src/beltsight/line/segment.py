"""From a frame's difference to the items in it: boxes, masks, sharpness, and who touches whom."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.line.background import THICKNESS, Background, Difference, FindSettings
from beltsight.line.view import Box, Edge, View
from beltsight.records import Floats, Photo

_Bits = NDArray[np.uint8]

_EDGE_SHARE = 0.4  # an outline runs where the contrast is this share of the highest beside it
_THIN = 0.3  # of ``smallest_mm``: an item is thicker on average
_LEARN_SHARE = 0.2  # of the view that must be new belt before it is learnt from
_STAIN_SHARE = 0.35  # of a region's usual contrast
_BRIGHT = 1.8  # times ``contrast``
_SOFT_CELLS = 1.5  # by which a mask of cells is larger than its item on each side
_WIDE_NECK = 0.75  # in what is larger than any item
_LEAST_HEART = 2.5  # cells
_LEVELS = 12  # at which an outline is looked at for necks


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Something on the belt in one frame.

    Args:
        box_xyxy: in pixels, ends exclusive.
        area_px: pixels of the mask.
        centre_px: (x, y), the mask's centre of gravity.
        mask: bool (height, width) of the box.
        touching: it may be several items, or was cut off another.
        cut_by_edge: edges of the view that it reaches.
        sharpness: mean squared gradient per variance of brightness: for comparing views of one
            item; more is sharper.
        contrast: how far it differs from the belt, in deviations; the mean over its cells.
    """

    box_xyxy: Box
    area_px: int
    centre_px: tuple[float, float]
    mask: NDArray[np.bool_]
    touching: bool
    cut_by_edge: frozenset[Edge]
    sharpness: float
    contrast: float


class Finder:
    """Items frame by frame, while the belt's look is learnt on the way.

    Args:
        view: of the camera.
        settings: sizes and thresholds.
    """

    def __init__(self, view: View, settings: FindSettings | None = None) -> None:
        self.view = view
        self.settings = settings or FindSettings()
        self.background = Background(view, self.settings)
        self._since_mm = 0.0

    def find(self, image: Photo, moved_mm: float) -> list[Region]:
        """The items of one frame; the first frame begins the belt's look.

        Args:
            image: uint8 (H, W, 3) RGB.
            moved_mm: of belt since the frame before, either way.

        Raises:
            CameraError: a frame that is not the view's.
        """
        if not self.background.is_learnt:
            self.background.learn(image)
        difference = self.background.difference(image)
        self._since_mm += abs(moved_mm)
        # What is still in view from the last time teaches nothing new.
        if self._since_mm > _LEARN_SHARE * self.view.length_mm:
            self.background.update(difference, self._since_mm)
            self._since_mm = 0.0
        return find_regions(image, difference, self.view, self.settings)


def find_regions(
    image: Photo, difference: Difference, view: View, settings: FindSettings
) -> list[Region]:
    """The items of a frame.

    Args:
        image: uint8 (H, W, 3) RGB, the frame.
        difference: of it.
        view: of the camera.
        settings: sizes.

    Returns:
        Regions from downstream to upstream.
    """
    bits = difference.mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bits)
    if count < 2:
        return []
    height, width = bits.shape
    cell_mm = (view.length_mm / width, view.breadth_mm / height)
    edge_map = _edge_map(difference, settings)
    regions = []
    for label in range(1, count):
        x, y, w, h = (int(value) for value in stats[label, :4])
        long_mm = max(w * cell_mm[0], h * cell_mm[1])
        if long_mm < 0.5 * settings.smallest_mm:
            continue
        own = slice(y, y + h), slice(x, x + w)
        blob = _framed(labels[own] == label)
        core = _filled(_framed(edge_map[own] > 1) & blob) if long_mm > settings.largest_mm else None
        parts = split_blob(blob, core, cell_mm, settings)
        for part in parts:
            region = _region(
                image, difference, edge_map, part, (x - 1, y - 1), len(parts) > 1, view, settings
            )
            if region is not None:
                regions.append(region)
    return sorted(regions, key=lambda found: -view.to_belt(*found.centre_px)[0])


def split_blob(
    blob: _Bits, core: _Bits | None, cell_mm: tuple[float, float], settings: FindSettings
) -> list[_Bits]:
    """A blob of cells, cut at its necks.

    Args:
        blob: 0 or 1, (h, w), with a border of 0.
        core: of what is too large to be one item, the same less what is faint beside the rest.
            There necks are narrower, and one item might fall apart.
        cell_mm: a cell along and across the belt.
        settings: ``neck`` and ``smallest_mm``.

    Returns:
        Parts of the blob's shape, or the blob alone where it has no neck; none where it is too
        thin to be an item.
    """
    side_mm = float(np.sqrt(cell_mm[0] * cell_mm[1]))
    depth = np.asarray(cv2.distanceTransform(blob, cv2.DIST_L2, 5), np.float32)
    if 2 * float(depth.max()) * side_mm < THICKNESS * settings.smallest_mm:
        return []
    best = _markers(np.maximum(depth - _SOFT_CELLS, 0), settings.neck)
    if core is not None:
        depth = np.asarray(cv2.distanceTransform(core, cv2.DIST_L2, 5), np.float32)
        wider = _markers(depth, max(settings.neck, _WIDE_NECK))
        if wider is not None and (best is None or wider.max() >= best.max()):
            best = wider
    if best is None:
        return [blob]
    # Each cell goes with the nearest of the parts' hearts.
    _, nearest = cv2.distanceTransformWithLabels(
        (best == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    parts = [
        ((nearest == nearest[best == number][0]) & (blob > 0)).astype(np.uint8)
        for number in range(1, int(best.max()) + 1)
    ]
    least = (0.5 * settings.smallest_mm) ** 2 / (cell_mm[0] * cell_mm[1])
    return parts if all(part.sum() >= least for part in parts) else [blob]


def _markers(depth: Floats, neck: float) -> NDArray[np.int32] | None:
    """The hearts of a blob's parts, numbered from 1; None where it is one.

    Args:
        depth: of each cell in the blob.
        neck: how narrow the way between two hearts is, at most, as a share of both.
    """
    best, most = None, 1
    for level in np.linspace(0.0, neck, _LEVELS) * float(depth.max()):
        count, labels = cv2.connectedComponents((depth > level).astype(np.uint8))
        if count <= most + 1:
            continue
        peaks = _peaks(labels, depth, count)
        deep = [n for n in range(1, count) if level <= neck * peaks[n] and peaks[n] >= _LEAST_HEART]
        if len(deep) > most:
            table = np.zeros(count, np.int32)
            table[deep] = np.arange(1, len(deep) + 1)
            best, most = table[labels], len(deep)
    return best


def _peaks(labels: NDArray[np.int32], depth: Floats, count: int) -> NDArray[np.float64]:
    """The largest depth of each label, (count,); 0 for the ground, which is label 0."""
    inside = np.flatnonzero(labels)
    order = inside[np.argsort(labels.ravel()[inside], kind="stable")]
    first = np.searchsorted(labels.ravel()[order], np.arange(1, count))
    return np.concatenate([[0.0], np.maximum.reduceat(depth.ravel()[order], first)])


def _edge_map(difference: Difference, settings: FindSettings) -> Floats:
    """float32 (h, w), 1 at an item's outline: contrast by that of its surroundings."""
    around = np.ones((5, 5), np.uint8)
    colour, texture = difference.colour, difference.texture
    by_colour = colour / np.maximum(_EDGE_SHARE * cv2.dilate(colour, around), settings.faint)
    # Texture is felt beyond the outline; it counts where colour says little.
    by_texture = texture / np.maximum(0.6 * cv2.dilate(texture, around), settings.contrast)
    return np.asarray(np.maximum(by_colour, by_texture), np.float32)


def _region(
    image: Photo, difference: Difference, edge_map: Floats, part: _Bits, corner: tuple[int, int],
    is_split: bool, view: View, settings: FindSettings,
) -> Region | None:  # fmt: skip
    """A part of cells as a region of the frame at full size; None where it is too small."""
    height, width = difference.mask.shape
    x0, y0 = max(corner[0], 0), max(corner[1], 0)
    x1, y1 = min(corner[0] + part.shape[1], width), min(corner[1] + part.shape[0], height)
    part = part[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
    colour, texture = difference.colour[y0:y1, x0:x1], difference.texture[y0:y1, x0:x1]
    part = _without_stains(part, colour, texture, settings)
    inner = cv2.erode(part, np.ones((5, 5), np.uint8), borderValue=1) > 0
    if not _has_edges(part > 0, inner, colour, texture, settings):
        return None
    patch = np.where(part > 0, edge_map[y0:y1, x0:x1], 0).astype(np.float32)
    # A print is brighter than what surrounds it: only near the outline does the edge decide.
    patch[inner] = 2
    scale = view.length_px / width, view.breadth_px / height
    px0, py0, px1, py1 = (
        round(x0 * scale[0]), round(y0 * scale[1]), round(x1 * scale[0]), round(y1 * scale[1])
    )  # fmt: skip
    fine = cv2.resize(patch, (px1 - px0, py1 - py0), interpolation=cv2.INTER_LINEAR)
    solid = _filled((fine > 1).astype(np.uint8))
    bx, by, bw, bh = cv2.boundingRect(solid)
    along_mm, across_mm = view.length_mm / view.length_px, view.breadth_mm / view.breadth_px
    long_mm = max(bw * along_mm, bh * across_mm)
    thick_mm = cv2.countNonZero(solid) * along_mm * across_mm / max(long_mm, 1e-6)
    if long_mm < settings.smallest_mm or thick_mm < _THIN * settings.smallest_mm:
        return None
    mask = np.ascontiguousarray(view.turned_back(solid[by : by + bh, bx : bx + bw]))
    box = view.box_turned_back((px0 + bx, py0 + by, px0 + bx + bw, py0 + by + bh))
    moments = cv2.moments(mask, binaryImage=True)
    area = int(moments["m00"])
    centre = box[0] + moments["m10"] / area + 0.5, box[1] + moments["m01"] / area + 0.5
    strays = np.maximum(colour, texture)[part > 0]
    return Region(
        box, area, centre, mask > 0, is_split or long_mm > settings.largest_mm,
        view.edges_cut(box, 2), measure_sharpness(image, box, mask), float(strays.mean()),
    )  # fmt: skip


def _without_stains(
    part: _Bits, colour: Floats, texture: Floats, settings: FindSettings
) -> _Bits:  # fmt: skip
    """A part less what hangs on to it, faint and smooth beside the rest: dirt of the belt."""
    usual = float(np.median(colour[part > 0]))
    weak = (colour < _STAIN_SHARE * usual) & (texture < settings.faint)
    if not (weak & (part > 0)).any():
        return part
    rest = cv2.morphologyEx(
        (part & ~weak).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)
    )
    rest = _filled(np.asarray(rest, np.uint8))
    return rest if 2 * cv2.countNonZero(rest) > cv2.countNonZero(part) else part


def _has_edges(
    part: NDArray[np.bool_], inner: NDArray[np.bool_], colour: Floats, texture: Floats,
    settings: FindSettings,
) -> bool:  # fmt: skip
    """Whether an outline is one: a stain is soft, and so is a shadow; no stain is very bright."""
    if float(colour[part].mean()) > _BRIGHT * settings.contrast:
        return True
    rim = part & ~inner
    return bool(rim.any()) and float(texture[rim].mean()) >= settings.edge


def _framed(inside: NDArray[np.bool_]) -> _Bits:
    """0 or 1, with a border of 0."""
    bits = inside.view(np.uint8)
    return np.asarray(cv2.copyMakeBorder(bits, 1, 1, 1, 1, cv2.BORDER_CONSTANT), np.uint8)


def _filled(bits: _Bits) -> _Bits:
    """The largest outline and those that are a fair part of it, with their holes filled."""
    outlines, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(outline) for outline in outlines]
    filled = np.zeros_like(bits)
    if outlines:
        kept = [o for o, area in zip(outlines, areas, strict=True) if area >= 0.1 * max(areas)]
        cv2.drawContours(filled, kept, -1, 1, cv2.FILLED)
    return filled


def measure_sharpness(image: Photo, box: Box, mask: NDArray[np.generic]) -> float:
    """How sharp an item is seen: Tenengrad, by the item's own contrast.

    Args:
        image: uint8 (H, W, 3) RGB.
        box: (x0, y0, x1, y1) in pixels.
        mask: (y1 - y0, x1 - x0), not 0 where the item is.

    Returns:
        Mean squared gradient over the variance of brightness, per pixel of way squared; 0 where
        nothing changes. Source: Tenenbaum 1970; by the variance, so that light does not count.
    """
    x0, y0, x1, y1 = box
    grey = cv2.cvtColor(np.ascontiguousarray(image[y0:y1, x0:x1]), cv2.COLOR_RGB2GRAY)
    inside = np.ascontiguousarray(mask, dtype=np.uint8)
    across, down = (
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    squared = cv2.mean(cv2.multiply(across, across), inside)[0]
    squared += cv2.mean(cv2.multiply(down, down), inside)[0]
    _, deviation = cv2.meanStdDev(grey, mask=inside)
    variance = float(deviation[0, 0]) ** 2
    return squared / (variance + 4.0)  # four: the sensor's own noise
