"""Food: crumbs, pulp and thick sauce in several colours, opaque, with relief.

The pieces are cells about scattered points (Worley noise); each has its colour and its turn.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats
from beltsight.scene.light import to_light
from beltsight.scene.stains.surface import Cover, Draft, Look, Surface

_GRID_PX = 320
_MOST_PIECES = 1500
# sRGB of what plates are scraped of; a meal is a few of one row.
_MEALS = (
    ((176, 42, 24), (206, 86, 40), (236, 200, 140), (92, 110, 40)),  # tomato, pasta, herbs
    ((232, 222, 196), (214, 190, 130), (196, 160, 90), (120, 76, 40)),  # rice, bread, crust
    ((96, 60, 36), (130, 84, 50), (64, 42, 28), (180, 140, 96)),  # meat, gravy, chocolate
    ((74, 92, 44), (112, 130, 70), (160, 162, 104), (204, 116, 50)),  # greens, carrot
    ((222, 186, 84), (232, 216, 168), (244, 238, 224), (190, 140, 60)),  # egg, mustard, cream
    ((60, 44, 34), (44, 34, 28), (86, 66, 50), (110, 90, 66)),  # coffee grounds, tea leaves
    ((112, 36, 46), (78, 30, 44), (170, 84, 84), (226, 200, 180)),  # berries, beetroot
    ((198, 172, 128), (150, 120, 80), (110, 92, 64), (176, 158, 110)),  # peel, potato, mush
)


_BROWN = np.array([1.2, 1, 0.7], np.float32)


class _Cells(NamedTuple):
    number: NDArray[np.int32]  # (h, w) which piece a pixel belongs to
    near: Floats  # (h, w) distance to the piece's middle as a part of the usual distance
    pieces: int


def lay_food(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of food."""
    cells = _cells(surface, look.size, rng)
    heaps = _heaps(surface, cells, share, rng)
    # Pieces are covered one after the other, each from its middle outwards.
    first = (heaps[cells.number] + rng.uniform(0, 0.6, cells.pieces)[cells.number]) - cells.near * (
        rng.uniform(0.2, 1.2)
    )
    sauce = rng.random() < 0.6
    if sauce:  # runs together between the pieces
        first = cv2.GaussianBlur(first.astype(np.float32), (0, 0), rng.uniform(1, 3))
    height = surface.full(first.astype(np.float32))
    colours = surface.full(_colours(surface, cells, sauce, rng))
    relief = surface.full(_relief(cells, rng) * np.float32(rng.uniform(0.25, 0.9)))
    grain = rng.standard_normal(surface.solid.shape, np.float32) * np.float32(
        rng.uniform(0.02, 0.14)
    )
    shine = np.float32(rng.uniform(0.1, 0.7) * (rng.random() < (0.6 if sauce else 0.2)))
    hides = surface.full(_opacity(cells, sauce, look.strength, rng))

    def coat(cover: Cover) -> Floats:
        edge_px = max(1.0, 0.015 * surface.unit_px)
        round_off = 0.72 + 0.28 * np.clip(cover.depth_px / edge_px, 0, 1)
        lit = surface.shade * round_off * np.exp(relief + grain)
        seen = colours * surface.white * lit[:, :, None]
        seen += (shine * np.clip(relief - 0.35, 0, 1))[:, :, None] * surface.white
        under = surface.light * np.sqrt(colours)
        return np.asarray(under + hides[:, :, None] * (seen - under), np.float32)

    return Draft(height, coat)


def _cells(surface: Surface, size: float, rng: np.random.Generator) -> _Cells:
    """Cells about scattered points, their outlines bent."""
    rows, columns, scale = surface.grid(_GRID_PX)
    apart = max(2.5, size * surface.unit_px * scale)
    count = int(np.clip(rows * columns / apart**2, 4, _MOST_PIECES))
    free = np.ones((rows, columns), np.uint8)
    free[rng.integers(rows, size=count), rng.integers(columns, size=count)] = 0
    far, number = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    apart = float(np.sqrt(rows * columns / count))
    bend = cv2.GaussianBlur(
        rng.standard_normal((rows, columns, 2), np.float32), (0, 0), max(1.0, 0.22 * apart)
    )
    bend = (bend - bend.mean(axis=(0, 1))) / (float(bend.std()) + 1e-3)
    bend = bend * np.float32(rng.uniform(0.1, 0.3) * apart)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    x, y = x + bend[:, :, 0], y + bend[:, :, 1]
    kind, border = cv2.INTER_NEAREST, cv2.BORDER_REFLECT
    bent = cv2.remap(number.astype(np.float32), x, y, kind, borderMode=border)
    near = cv2.remap(far, x, y, cv2.INTER_LINEAR, borderMode=border) / np.float32(apart)
    return _Cells(np.asarray(bent, np.int32), np.asarray(near, np.float32), int(number.max()) + 1)


def _heaps(surface: Surface, cells: _Cells, share: float, rng: np.random.Generator) -> Floats:
    """Per piece, how near it lies to the middle of a heap: 0 far, 1 near."""
    rows, columns = cells.number.shape
    scale = columns / surface.solid.shape[1]
    unit = surface.unit_px * scale
    middles = surface.points(int(rng.integers(1, 7)), rng) * scale
    spread = unit * rng.uniform(0.15, 0.5) * max(0.5, np.sqrt(share) + 0.3)
    y, x = np.mgrid[:rows:4, :columns:4].astype(np.float32)
    close = np.zeros(y.shape, np.float32)
    for middle in middles:
        far = np.hypot(x - middle[0], y - middle[1]) / np.float32(spread * rng.uniform(0.5, 1.5))
        close = np.maximum(close, 1 / (1 + far * far))
    few = cells.number[::4, ::4].ravel()
    total = np.bincount(few, weights=close.ravel(), minlength=cells.pieces)
    hits = np.bincount(few, minlength=cells.pieces)
    loose = rng.uniform(0.4, 2.5)  # how strictly pieces keep to the heaps
    return np.asarray(loose * total / np.maximum(hits, 1), np.float32)


def _colours(surface: Surface, cells: _Cells, sauce: bool, rng: np.random.Generator) -> Floats:
    """float32 (h, w, 3): each piece's own colour, in linear light."""
    meal = _meal(surface, rng)
    weights = rng.dirichlet(np.full(len(meal), 0.6))
    chosen = meal[rng.choice(len(meal), size=cells.pieces, p=weights)]
    own = rng.lognormal(0, rng.uniform(0.05, 0.25), (cells.pieces, 1))
    tint = rng.lognormal(0, 0.06, (cells.pieces, 3))
    colours = (chosen * own * tint).astype(np.float32)[cells.number]
    softness = rng.uniform(1, 4) if sauce else 0.6
    return np.asarray(np.clip(cv2.GaussianBlur(colours, (0, 0), softness), 0, 1), np.float32)


def _opacity(cells: _Cells, sauce: bool, strength: float, rng: np.random.Generator) -> Floats:
    """How far food hides the item: pieces do, sauce that was wiped thin does not."""
    own = 1 - rng.uniform(0, 0.3) * (1 - strength) * rng.random(cells.pieces)
    if sauce and rng.random() < 0.6:
        own = np.clip(rng.normal(0.3 + 0.5 * strength, 0.35, cells.pieces), 0.25, 1)
    field = own.astype(np.float32)[cells.number]
    return np.asarray(cv2.GaussianBlur(field, (0, 0), 4 if sauce else 0.7), np.float32)


def _meal(surface: Surface, rng: np.random.Generator) -> Floats:
    """Colours of a meal that can be told from the item."""
    for _ in range(12):
        meal = to_light(np.array(_MEALS[rng.integers(len(_MEALS))], np.uint8))
        meal = meal[: rng.integers(1, len(meal) + 1)] * np.float32(rng.lognormal(-0.1, 0.2))
        grey = meal.mean(axis=1, keepdims=True)
        meal = meal + np.float32(rng.uniform(0, 0.45)) * (grey * _BROWN - meal)
        apart = np.abs(np.sqrt(meal) - np.sqrt(surface.tone)).max(axis=1)
        if apart.mean() > 0.2:
            break
    return np.asarray(meal, np.float32)


def _relief(cells: _Cells, rng: np.random.Generator) -> Floats:
    """Light from one side on the pieces' slopes, about -1 to 1."""
    bulge = np.sqrt(np.clip(1 - cells.near, 0, 1))
    bulge = cv2.GaussianBlur(bulge, (0, 0), rng.uniform(0.8, 1.6))
    slope_x = cv2.Sobel(bulge, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(bulge, cv2.CV_32F, 0, 1, ksize=3)
    lamp = rng.uniform(0, 2 * np.pi)
    slope = slope_x * np.float32(np.cos(lamp)) + slope_y * np.float32(np.sin(lamp))
    return np.asarray(np.clip(slope / (2.5 * float(slope.std()) + 1e-6), -1, 1), np.float32)
