"""What the empty belt looks like, and how a frame differs from it.

The belt's texture moves, so the belt is no picture but statistics: for each row of cells along the
belt the usual colour and texture and how far they stray, with a smooth change along the view, which
is the lamps' and the lens'. They are learnt over belt that has passed, never over time: a belt that
stands teaches nothing, so what rests on it does not become belt.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from beltsight.errors import LineError
from beltsight.line.view import View
from beltsight.records import Floats, Photo
from beltsight.scene.ground import fit_surface
from beltsight.strict import Strict

_DARK_LEVELS = 12.0  # added before the logarithm: below it lies the sensor's noise
_LOG = np.log(np.arange(256) + _DARK_LEVELS).astype(np.float32)
# Rows: brightness, red against green, blue against yellow. The last two are the same in any light.
_TO_OPPONENT = np.array(
    [[1 / 3, 1 / 3, 1 / 3], [0.7071, -0.7071, 0.0], [0.4082, 0.4082, -0.8165]], np.float32
)
_CHANNELS = 4  # brightness, two of colour, texture
_COLOURS = 3
_TEXTURE_LEVELS = 4.0
# The least deviations, in logarithms: no belt stays evener than this for long.
_FLOOR = np.array([0.04, 0.02, 0.02, 0.15], np.float32).reshape(_CHANNELS, 1, 1)
_CHANGE_LOG = np.log(np.arange(256) + 2 * _TEXTURE_LEVELS).astype(np.float32)
_ALONG = 16  # stretches of the view, over which light may change
_COARSE = 4  # cells to a side of the field in which the light is measured
_TAIL_SHARE, _TAIL = 0.05, 2.0  # a deviation is such that so many cells stray by twice of it
_MOST_STEP = 0.25
THICKNESS = 0.5
"""Of ``smallest_mm``: what is thinner is no item."""


class FindSettings(Strict):
    """How items are told from the belt.

    Args:
        cell_mm: side of the cells in which frames are compared; rounded to whole pixels.
        contrast: deviations of the belt from which a cell is surely item.
        faint: deviations from which a cell beside such ones is item, too.
        edge: mean deviations of the texture along an item's outline: stains and shadows are soft.
        shadow_weight: of what is only darker, 0 to 1: below it may be shadow.
        smallest_mm: an item's longer side is at least this.
        largest_mm: what is longer is taken for several items that touch.
        join_mm: parts nearer than this are one item.
        neck: an outline is cut in two where it narrows to less than this share of both parts.
        learn_over_mm: belt over which the belt's look is averaged.
        light_mm: light may change over this distance.
    """

    cell_mm: float = Field(3.125, gt=0, le=50, allow_inf_nan=False)
    contrast: float = Field(4.5, gt=0, allow_inf_nan=False)
    faint: float = Field(2.5, gt=0, allow_inf_nan=False)
    edge: float = Field(2.0, ge=0, allow_inf_nan=False)
    shadow_weight: float = Field(0.4, ge=0, le=1)
    smallest_mm: float = Field(30.0, gt=0, allow_inf_nan=False)
    largest_mm: float = Field(180.0, gt=0, allow_inf_nan=False)
    join_mm: float = Field(10.0, ge=0, allow_inf_nan=False)
    neck: float = Field(0.4, ge=0, lt=1)
    learn_over_mm: float = Field(20_000.0, gt=0, allow_inf_nan=False)
    light_mm: float = Field(250.0, gt=0, allow_inf_nan=False)


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """A frame against the belt, in cells: turned so that the belt runs to the right.

    Args:
        mask: bool (h, w), where items are.
        colour: float32 (h, w), how far the colour strays, in deviations of the belt.
        texture: float32 (h, w), the same of the texture.
        residual: float32 (4, h, w), brightness, two colours and texture less the belt's, in
            logarithms.
        light: how much brighter the frame is than the belt was when learnt, as a factor.
        share: of the cells that are item.
    """

    mask: NDArray[np.bool_]
    colour: Floats
    texture: Floats
    residual: Floats
    light: float
    share: float


class Background:
    """The belt's look.

    Args:
        view: which way the belt runs, and how large a pixel is.
        settings: sizes and thresholds.
    """

    def __init__(self, view: View, settings: FindSettings | None = None) -> None:
        self.view = view
        self.settings = settings or FindSettings()
        self.cells = cells_of(view, self.settings)
        self._mean: Floats | None = None  # (4, h, along)
        self._deviation = np.broadcast_to(_FLOOR, (_CHANNELS, self.cells[1], 1)).copy()
        self._gain = np.zeros((_CHANNELS, 1, 1), np.float32)
        self._learnt_mm = 0.0

    @property
    def is_learnt(self) -> bool:
        """Whether an image was seen."""
        return self._mean is not None

    @property
    def cell_mm(self) -> tuple[float, float]:
        """A cell's size along and across the belt."""
        width, height = self.cells
        return self.view.length_mm / width, self.view.breadth_mm / height

    def learn(self, image: Photo) -> None:
        """Begin from one frame. Items may lie in it, as long as no row is mostly covered.

        Args:
            image: uint8 (H, W, 3) RGB.

        Raises:
            CameraError: a frame that is not the view's.
        """
        seen = self._features(image)
        height, width = seen.shape[1:]
        rows = np.median(seen, axis=2, keepdims=True)
        off = np.moveaxis(seen - rows, 0, 2)
        surface, _ = fit_surface(np.ascontiguousarray(off), np.ones((height, width), np.float32))
        off = np.moveaxis(off - surface(height, width), 2, 0)
        middle = np.median(off, axis=2, keepdims=True)
        light = np.moveaxis(surface(height, _ALONG), 2, 0)
        self._mean = np.asarray(rows + middle + light, np.float32)
        strays = np.abs(off - middle)
        # Items in the picture widen the tail, but not the middle.
        tail = np.quantile(strays, 1 - _TAIL_SHARE, axis=2, keepdims=True) / _TAIL
        usual = np.median(strays, axis=2, keepdims=True) * 1.4826
        self._deviation = np.maximum(_smooth_rows(np.minimum(tail, 1.4 * usual)), _FLOOR)
        self._gain[:] = 0
        self._learnt_mm = self.view.length_mm

    def difference(self, image: Photo) -> Difference:
        """How a frame differs from the belt.

        Args:
            image: uint8 (H, W, 3) RGB.

        Raises:
            CameraError: a frame that is not the view's.
            LineError: nothing was learnt yet.
        """
        if self._mean is None:
            raise LineError("the empty belt is not known yet: call learn with a frame first")
        residual = self._features(image)
        residual -= _enlarged(self._mean, self.cells)
        residual -= _enlarged(self._light(residual), self.cells)
        strays = residual / self._deviation
        dark = np.minimum(strays[0], 0)
        strays[0] -= np.float32(1 - self.settings.shadow_weight) * dark
        colour = cv2.sqrt(strays[0] ** 2 + strays[1] ** 2 + strays[2] ** 2)
        texture = np.abs(strays[3])
        mask = items_mask(colour, texture, self.settings, self.cell_mm)
        light = float(np.exp(self._gain[0, 0, 0]))
        return Difference(mask, colour, texture, residual, light, float(mask.mean()))

    def update(self, difference: Difference, moved_mm: float) -> None:
        """Learn from the belt that has come into view.

        Args:
            difference: of the last frame.
            moved_mm: how far the belt went since the one before it, either way; where that is 0
                nothing is learnt.
        """
        if self._mean is None or not moved_mm:
            return
        way_mm = min(abs(moved_mm), self.view.length_mm)
        self._learnt_mm = min(self._learnt_mm + way_mm, self.settings.learn_over_mm)
        rate = np.float32(min(way_mm / self._learnt_mm, _MOST_STEP))
        near = cv2.dilate(difference.mask.astype(np.uint8), np.ones((5, 5), np.uint8))
        empty = (near == 0).astype(np.float32)
        bound = 3 * self._deviation
        off = np.clip(difference.residual, -bound, bound)
        # Cells that are item all the time are no item: they, too, pull, but weakly.
        self._mean += rate * _means_along(off, np.maximum(empty, np.float32(0.02)))
        strays = (np.abs(difference.residual) > _TAIL * self._deviation) & (near == 0)
        seen = empty.sum(axis=1)[:, None]
        tail = np.count_nonzero(strays, axis=2)[:, :, None] / np.maximum(seen, 1)
        enough = np.minimum(seen / empty.shape[1] * 2, 1)
        step = 4 * rate * enough * np.clip(tail - _TAIL_SHARE, -0.05, 0.2)
        self._deviation = np.maximum(self._deviation * np.exp(step), _FLOOR).astype(np.float32)

    def _features(self, image: Photo) -> Floats:
        """float32 (4, h, w): brightness, colours and texture, softened over three cells."""
        self.view.check_frame(image)
        across = self.view.direction in ("up", "down")
        size = self.cells[::-1] if across else self.cells
        double = (min(2 * size[0], image.shape[1]), min(2 * size[1], image.shape[0]))
        middle = np.asarray(cv2.resize(image, double, interpolation=cv2.INTER_AREA), np.uint8)
        small = cv2.resize(middle, size, interpolation=cv2.INTER_AREA)
        opponent = cv2.split(cv2.transform(cv2.LUT(small, _LOG), _TO_OPPONENT))
        planes = (cv2.blur(plane, (3, 3)) for plane in (*opponent, _texture(middle, size)))
        return np.stack([self.view.turned(plane) for plane in planes])

    def _light(self, residual: Floats) -> Floats:
        """float32 (4, h / 4, w / 4): how the light differs from that when the belt was learnt.

        Of the whole frame, as lamps change, and for brightness and colour from place to place, by
        the belt around: soft shadows and spots.
        """
        width, height = self.cells[0] // _COARSE, self.cells[1] // _COARSE
        few = np.stack([cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)
                        for p in residual])  # fmt: skip
        rows = self._deviation[:, : height * _COARSE].reshape(_CHANNELS, height, _COARSE)
        deviation = rows.mean(axis=2, keepdims=True)
        self._gain = self._lamps(few, deviation)
        few -= self._gain
        bound = 2 * deviation[:_COLOURS]
        empty = (np.abs(few[:_COLOURS]) < bound).all(axis=0)
        weight = (empty & (np.abs(few[3]) < 2 * deviation[3])).astype(np.float32)
        along, across = (round(self.settings.light_mm / (_COARSE * mm)) for mm in self.cell_mm)
        reach = (max(1, along), max(1, across))
        share = cv2.blur(weight, reach, borderType=cv2.BORDER_REPLICATE) + np.float32(0.1)
        light = np.repeat(self._gain, height, axis=1).repeat(width, axis=2)
        for channel in range(_COLOURS):
            near = cv2.blur(few[channel] * weight, reach, borderType=cv2.BORDER_REPLICATE)
            light[channel] += near / share
        return np.asarray(light, np.float32)

    def _lamps(self, few: Floats, deviation: Floats) -> Floats:
        """The change of the whole frame that explains most of it: the last one, or a new one."""
        cells = few[:, ::2, ::2].reshape(_CHANNELS, -1)
        wide = np.broadcast_to(deviation, few.shape)[:_COLOURS, ::2, ::2].reshape(_COLOURS, -1)
        candidates = self._gain[:, 0], np.median(cells, axis=1, keepdims=True)
        explained = [
            (np.abs(cells[:_COLOURS] - gain[:_COLOURS]) < 2 * wide).all(axis=0)
            for gain in candidates
        ]
        near = max(explained, key=np.count_nonzero)
        if np.count_nonzero(near) < cells.shape[1] // 20:
            return self._gain
        return np.median(cells[:, near], axis=1).astype(np.float32).reshape(_CHANNELS, 1, 1)


def cells_of(view: View, settings: FindSettings) -> tuple[int, int]:
    """How many cells a view has: along and across the belt."""
    along = max(1, round(settings.cell_mm * view.length_px / view.length_mm))
    across = max(1, round(settings.cell_mm * view.breadth_px / view.breadth_mm))
    return max(16, view.length_px // along), max(16, view.breadth_px // across)


def items_mask(
    colour: Floats, texture: Floats, settings: FindSettings, cell_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Cells that are item: faint ones joined to some that are surely item, holes filled.

    Args:
        colour, texture: float32 (h, w), strays in deviations.
        settings: thresholds and sizes.
        cell_mm: size of a cell along and across.
    """
    strays = cv2.max(colour, texture)
    faint = (strays > settings.faint).astype(np.uint8)
    closed = _filled(_morph(cv2.MORPH_CLOSE, faint, settings.join_mm, cell_mm))
    # What is thinner than any item is the belt's joint, a scratch, or a shadow between two items.
    thick = _morph(cv2.MORPH_OPEN, closed, THICKNESS * settings.smallest_mm, cell_mm)
    count, labels = cv2.connectedComponents(thick)
    sure = np.bincount(labels[strays > settings.contrast], minlength=count)
    least = max(3, round(0.05 * settings.smallest_mm**2 / (cell_mm[0] * cell_mm[1])))
    keep = sure >= least
    keep[0] = False
    return np.asarray(keep[labels], np.bool_)


def _morph(
    operation: int, bits: NDArray[np.uint8], size_mm: float, cell_mm: tuple[float, float]
) -> NDArray[np.uint8]:
    """A morphological step that takes the frame for a cut, not for an edge."""
    width, height = (max(1, round(size_mm / mm)) for mm in cell_mm)
    element = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, height))
    wide = cv2.copyMakeBorder(bits, height, height, width, width, cv2.BORDER_REPLICATE)
    made = cv2.morphologyEx(wide, operation, element)
    return np.ascontiguousarray(made[height:-height, width:-width])


def _filled(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Holes become item."""
    outlines, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(bits, outlines, -1, 1, cv2.FILLED), np.uint8)


def _texture(middle: Photo, size: tuple[int, int]) -> Floats:
    """How much brightness changes from pixel to pixel, by the brightness; a logarithm."""
    grey = cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY)
    down = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 0, 1), alpha=2)
    across = cv2.convertScaleAbs(cv2.Sobel(grey, cv2.CV_16S, 1, 0), alpha=2)
    change = cv2.resize(cv2.addWeighted(down, 0.5, across, 0.5, 0), size,
                        interpolation=cv2.INTER_AREA)  # fmt: skip
    light = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.LUT(change, _CHANGE_LOG) - cv2.LUT(light, _LOG), np.float32)


def _smooth_rows(rows: NDArray[np.floating]) -> Floats:
    """(4, h, 1): a deviation is shared with the rows beside."""
    wide = np.pad(rows, ((0, 0), (2, 2), (0, 0)), mode="edge")
    height = rows.shape[1]
    return np.asarray(np.mean([wide[:, i : i + height] for i in range(5)], axis=0), np.float32)


def _enlarged(planes: Floats, size: tuple[int, int]) -> Floats:
    """(4, a, b) -> (4, h, w), between the given values by straight lines."""
    return np.stack([cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in planes])


def _means_along(planes: Floats, weight: Floats) -> Floats:
    """(4, h, 16): weighted means over stretches of the view, each with part of its neighbours."""
    height, width = weight.shape
    reach, size = (2 * (width // _ALONG) + 1, 1), (_ALONG, height)

    def mean(plane: Floats) -> Floats:
        made = cv2.resize(cv2.blur(plane, reach), size, interpolation=cv2.INTER_AREA)
        return np.asarray(made, np.float32)

    share = np.maximum(mean(weight), np.float32(0.02))
    return np.stack([mean(plane * weight) / share for plane in planes])
