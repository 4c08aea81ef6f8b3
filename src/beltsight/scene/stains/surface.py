"""What a stain lies on, what it proposes, and what the share solver answers.

All that the kinds of dirt have in common. Textures and shapes are each kind's own, so that a study
can leave one kind out and try a model on what it has never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo
from beltsight.scene.light import to_light

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_DARKEST_WHITE = (
    0.35  # linear light; a photo that is darker throughout is a dark item, not a dark room
)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The item in its box, in linear light.

    Args:
        light: float32 (h, w, 3), 0 to 1.
        solid: bool (h, w): at least half item.
        shade: float32 (h, w), about 1: how light and folds fall on the item, without fine print.
        white: float32 (3,): light that a white sheet would send back here.
        tone: float32 (3,): the item's mean colour as a share of ``white``.
        unit_px: the item's size, the square root of its area; all lengths are parts of it.
    """

    light: Floats
    solid: NDArray[np.bool_]
    shade: Floats
    white: Floats
    tone: Floats
    unit_px: float

    @property
    def is_dark(self) -> bool:
        """Too dark for what only takes light away."""
        return float(self.tone @ LUMINANCE) < 0.12

    def points(self, count: int, rng: np.random.Generator) -> Floats:
        """float32 (count, 2): x, y of pixels of the item, drawn at random."""
        rows, columns = np.nonzero(self.solid)
        chosen = rng.integers(len(rows), size=count)
        return np.stack([columns[chosen], rows[chosen]], axis=1).astype(np.float32)

    def grid(self, limit_px: int) -> tuple[int, int, float]:
        """(rows, columns, scale) of a coarser field over the box, its sides within a limit."""
        height, width = self.solid.shape
        scale = min(1.0, limit_px / max(height, width))
        return max(2, round(height * scale)), max(2, round(width * scale)), scale

    def full(self, field: Floats) -> Floats:
        """A coarser field at the box's resolution, its values in the same range."""
        height, width = self.solid.shape
        if field.shape[:2] == (height, width):
            return field
        fine = cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)
        # Cubic interpolation swings over at steps: a colour would become less than black.
        return np.asarray(np.clip(fine, field.min(), field.max()), np.float32)


class Look(NamedTuple):
    """What is drawn for one stain: see ``assets/dirt.toml``."""

    size: float  # of blobs, as a part of the item's size
    edge: float  # width of the soft edge, as a part of the item's size
    strength: float  # 0 faint to 1 strong


@dataclass(frozen=True, slots=True, eq=False)
class Cover:
    """Where a stain lies, as the share solver found it.

    Args:
        alpha: float32 (h, w), 0 to 1, soft at the edge; 0.5 and more is dirty.
        depth_px: float32 (h, w): distance to the stain's edge, over 0 inside.
        excess: float32 (h, w): the stain's height over the solver's threshold.
    """

    alpha: Floats
    depth_px: Floats
    excess: Floats


class Draft(NamedTuple):
    """A stain before its size is known.

    ``height`` is float32 (h, w): the highest pixels are covered first, so equal values over an
    area are to be avoided. ``coat`` gives the light, float32 (h, w, 3), as if all were covered.
    """

    height: Floats
    coat: Callable[[Cover], Floats]


Stain = Callable[[Surface, Look, float, np.random.Generator], Draft]


def make_surface(light: Floats, solid: NDArray[np.bool_], white: Floats) -> Surface:
    """Measure an item's size, tone and shade.

    Args:
        light: float32 (h, w, 3), linear.
        solid: bool (h, w), at least one pixel.
        white: float32 (3,), see :func:`measure_white`.
    """
    unit_px = float(np.sqrt(solid.sum()))
    tone = light[solid].mean(axis=0) / white
    return Surface(
        light, solid, _shade(light, solid, unit_px), white, tone.astype(np.float32), unit_px
    )


def measure_white(photo: Photo) -> Floats:
    """float32 (3,): what a white sheet would send back, judged by the brightest part of a photo."""
    step = max(1, min(photo.shape[:2]) // 48)
    few = to_light(photo[::step, ::step]).reshape(-1, 3)
    bright = np.quantile(few, 0.95, axis=0)
    # A lamp's colour is mild; a strong one belongs to an item that fills the photo.
    grey = float(bright @ LUMINANCE)
    mild = np.clip(bright, 0.85 * grey, 1.15 * grey)
    return np.asarray(np.clip(mild, _DARKEST_WHITE, 1), np.float32)


def _shade(light: Floats, solid: NDArray[np.bool_], unit_px: float) -> Floats:
    """Brightness relative to the item's mean, over about a thirtieth of its size."""
    height, width = solid.shape
    step = max(1.0, unit_px / 60)
    size = (max(2, round(width / step)), max(2, round(height / step)))
    grey = cv2.resize(light @ LUMINANCE, size, interpolation=cv2.INTER_AREA)
    part = cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_AREA) + 1e-3
    local = cv2.GaussianBlur(grey * part, (0, 0), 1.5) / cv2.GaussianBlur(part, (0, 0), 1.5)
    mean = max(float((grey * part).sum() / part.sum()), 1e-3)
    # The root keeps folds and takes the edge off print and highlights.
    relative = np.sqrt(np.clip(local / mean, 0.2, 2.5))
    return np.asarray(
        cv2.resize(relative, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
