"""Drinks, juice, thin sauce: tinted, with a rim where it dried; pools, runs, rings and spatter.

The shapes are drawn as outlines; the field is the signed distance to them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats
from beltsight.scene.stains.surface import Cover, Draft, Look, Surface

_GRID_PX = 256
_MOST_SHAPES = 40
_DULL = np.array([0.4, 0.65, 0.9], np.float32)  # absorption of what is old and dry
_Bits = NDArray[np.uint8]


class _Drink(NamedTuple):
    absorbs: tuple[float, float, float]  # red, green, blue
    body: tuple[float, float, float]  # colour of what it scatters, in linear light
    cloud: float  # how much it scatters, 0 clear to 1 opaque


_DRINKS = (
    _Drink((0.6, 1.05, 1.7), (0.12, 0.06, 0.02), 0.1),  # coffee
    _Drink((0.35, 0.6, 1.1), (0.5, 0.33, 0.18), 0.45),  # coffee with milk
    _Drink((0.9, 1.25, 1.5), (0.06, 0.03, 0.02), 0.05),  # cola, soy sauce
    _Drink((0.2, 1.5, 1.2), (0.2, 0.02, 0.04), 0.1),  # berry juice, wine
    _Drink((0.05, 0.45, 1.9), (0.75, 0.36, 0.03), 0.35),  # orange juice
    _Drink((0.1, 1.5, 1.9), (0.5, 0.06, 0.02), 0.6),  # tomato
    _Drink((0.3, 0.45, 1.1), (0.3, 0.25, 0.08), 0.1),  # tea
    _Drink((0.1, 0.12, 0.2), (0.82, 0.8, 0.74), 0.6),  # milk, yoghurt
    _Drink((0.5, 0.45, 1.1), (0.24, 0.26, 0.1), 0.3),  # broth with herbs
    _Drink((0.45, 0.5, 0.6), (0.3, 0.28, 0.24), 0.25),  # dish water
)


def lay_liquid(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of a drink or juice."""
    down = rng.uniform(0, 2 * np.pi)
    coarse = _distance(_shapes(surface, look.size, share, down, rng))
    height = surface.full(coarse)
    absorbs, body, cloud = _dried(_choose(surface, rng), surface, rng)
    film = 0.45 + 1.3 * look.strength**1.4
    pooled = surface.full(_pooled(coarse.shape, down, rng))
    lively = surface.full(_bends(coarse.shape, 5, rng))
    dregs = _dregs(surface, rng)
    tides = _Tides.draw(surface, rng)

    def coat(cover: Cover) -> Floats:
        thick = film * pooled * (0.7 + tides.at(cover.depth_px) * np.clip(1 + lively, 0, 2)) + dregs
        let_through = np.exp(-thick[:, :, None] * absorbs)
        hides = np.clip(cloud * (1 - np.exp(-2.2 * thick)), 0, 0.95)[:, :, None]
        seen = body * surface.white * surface.shade[:, :, None]
        return np.asarray(surface.light * let_through * (1 - hides) + seen * hides, np.float32)

    return Draft(height, coat)


class _Tides(NamedTuple):
    """Lines where a stain dried: at its edge, and where the edge had been before."""

    depth_px: float
    width_px: float
    strength: float
    inner_px: float
    inner_strength: float

    @classmethod
    def draw(cls, surface: Surface, rng: np.random.Generator) -> _Tides:
        width = max(0.8, surface.unit_px * rng.uniform(0.003, 0.012))
        has_rim, has_inner = rng.random() < 0.9, rng.random() < 0.4
        return cls(
            width, width, rng.uniform(0.3, 1.5) * has_rim,
            surface.unit_px * rng.uniform(0.02, 0.07), rng.uniform(0.2, 0.8) * has_inner,
        )  # fmt: skip

    def at(self, depth_px: Floats) -> Floats:
        """What the lines add to the film."""
        rim = self.strength * np.exp(-(((depth_px - self.depth_px) / self.width_px) ** 2))
        inner = np.exp(-(((depth_px - self.inner_px) / (1.5 * self.width_px)) ** 2))
        return np.asarray(rim + self.inner_strength * inner, np.float32)


def _choose(surface: Surface, rng: np.random.Generator) -> _Drink:
    """A drink that can be seen on this surface."""
    for _ in range(12):
        drink = _DRINKS[rng.integers(len(_DRINKS))]
        stained = surface.tone * np.exp(-np.array(drink.absorbs)) * (1 - drink.cloud)
        stained = stained + drink.cloud * np.array(drink.body)
        if np.abs(np.sqrt(stained) - np.sqrt(surface.tone)).max() > 0.22 or surface.is_dark:
            break
    return drink


def _dried(
    drink: _Drink, surface: Surface, rng: np.random.Generator
) -> tuple[Floats, Floats, float]:
    """Absorption, body and cloud of a drink as it varies and as it goes dull."""
    dulled = rng.uniform(0, 0.5)
    absorbs = np.array(drink.absorbs) * rng.lognormal(0, 0.2)
    absorbs = absorbs + dulled * (_DULL - 0.5 * absorbs)
    body = np.array(drink.body) * rng.lognormal(0, 0.12, 3) * (1 - 0.6 * dulled)
    cloud = drink.cloud * rng.uniform(0.3, 1.2)
    if surface.is_dark:  # there only what scatters can be seen
        cloud = max(cloud, rng.uniform(0.3, 0.55))
    return absorbs.astype(np.float32), body.astype(np.float32), float(cloud)


def _shapes(
    surface: Surface, size: float, share: float, down: float, rng: np.random.Generator
) -> _Bits:
    """Outlines filled on a coarse grid, until they cover about the share."""
    rows, columns, scale = surface.grid(_GRID_PX)
    unit = surface.unit_px * scale
    solid = surface.solid.astype(np.uint8)
    item = np.asarray(cv2.resize(solid, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)
    canvas = np.zeros((rows, columns), np.uint8)
    wanted = share * item.sum()
    # Large stains where much is asked for; none that alone is far more than asked.
    size = float(np.clip(size, 0.16 * np.sqrt(share), 0.6 * np.sqrt(share)))
    weights = rng.dirichlet([1.2, 1.0, 0.5, 0.8])
    for place in surface.points(_MOST_SHAPES, rng) * scale:
        radius = max(1.0, unit * size * rng.lognormal(0, 0.4))
        draw = (_pool, _run, _ring, _spatter)[rng.choice(4, p=weights)]
        draw(canvas, place, radius, down, rng)
        if (canvas & item).sum() >= wanted:
            break
    return canvas


def _pool(
    canvas: _Bits, place: Floats, radius: float, down: float, rng: np.random.Generator
) -> None:
    turns = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    waves = np.arange(2, 9)
    sizes = rng.normal(0, rng.uniform(0.1, 0.3), len(waves)) / waves**0.8
    wave = sizes @ np.cos(waves[:, None] * turns + rng.uniform(0, 6.3, (len(waves), 1)))
    reach = radius * np.clip(1 + wave, 0.25, 2)
    stretch = rng.uniform(1, 1.8)
    across = np.stack([np.cos(turns) * stretch, np.sin(turns) / stretch], axis=1)
    turn = np.array([[np.cos(down), np.sin(down)], [-np.sin(down), np.cos(down)]])
    _fill(canvas, place + (reach[:, None] * across) @ turn)


def _run(
    canvas: _Bits, place: Floats, radius: float, down: float, rng: np.random.Generator
) -> None:
    """A pool from which drops ran down."""
    _pool(canvas, place, radius, down, rng)
    for _ in range(rng.integers(1, 4)):
        steps = int(rng.integers(6, 24))
        ways = down + rng.normal(0, 0.12) + np.cumsum(rng.normal(0, 0.09, steps))
        start = place + rng.uniform(-0.6, 0.6, 2) * radius
        path = start + radius * 0.35 * np.cumsum(np.stack([np.cos(ways), np.sin(ways)], 1), axis=0)
        width = max(1, round(radius * rng.uniform(0.12, 0.4)))
        cv2.polylines(canvas, [np.rint(path).astype(np.int32)], False, 1, width)
        end = (round(float(path[-1, 0])), round(float(path[-1, 1])))
        cv2.circle(canvas, end, max(1, round(0.8 * width)), 1, -1)


def _ring(
    canvas: _Bits, place: Floats, radius: float, down: float, rng: np.random.Generator
) -> None:
    """What a cup leaves: part of a ring, not equally wide."""
    radius *= rng.uniform(1.2, 2)
    start, length = rng.uniform(0, 360), rng.uniform(150, 360)
    turns = np.deg2rad(np.linspace(start, start + length, 60))
    squeeze = rng.uniform(0.7, 1)
    path = np.stack([np.cos(turns), squeeze * np.sin(turns)], axis=1) * radius + place
    mean = radius * rng.uniform(0.05, 0.2)
    for number, (a, b) in enumerate(pairwise(path)):
        width = max(1, round(mean * (1 + 0.6 * np.sin(number / 9))))
        cv2.line(canvas, _xy(a), _xy(b), 1, width)


def _spatter(
    canvas: _Bits, place: Floats, radius: float, down: float, rng: np.random.Generator
) -> None:
    """Many small drops, stretched away from a middle."""
    for _ in range(int(rng.integers(6, 30))):
        way, far = rng.uniform(0, 2 * np.pi), radius * rng.gamma(2, 0.9)
        drop = max(0.7, 0.22 * radius * rng.pareto(2.5))
        drop = min(drop, radius)
        centre = place + far * np.array([np.cos(way), np.sin(way)])
        axes = (max(1, round(drop * rng.uniform(1, 1.9))), max(1, round(drop)))
        cv2.ellipse(canvas, _xy(centre), axes, np.rad2deg(way), 0, 360, 1, -1)


def _xy(point: NDArray[np.floating]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _fill(canvas: _Bits, outline: NDArray[np.floating]) -> None:
    cv2.fillPoly(canvas, [np.rint(outline).astype(np.int32)], 1)


def _distance(shapes: _Bits) -> Floats:
    """Signed distance to the outlines, in pixels of the grid; smooth enough to have no steps."""
    # A distance needs both an inside and an outside.
    if not shapes.any():
        shapes[shapes.shape[0] // 2, shapes.shape[1] // 2] = 1
    if shapes.all():
        shapes[0, 0] = 0
    inside = cv2.distanceTransform(shapes, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - shapes, cv2.DIST_L2, 5)
    return np.asarray(cv2.GaussianBlur(inside - outside, (0, 0), 0.8), np.float32)


def _pooled(shape: tuple[int, ...], down: float, rng: np.random.Generator) -> Floats:
    """The film's thickness: more of it below, and a little uneven."""
    rows, columns = shape[:2]
    y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None] * np.float32(np.sin(down))
    x = np.linspace(-1, 1, columns, dtype=np.float32)[None, :] * np.float32(np.cos(down))
    return np.asarray(
        np.clip(1 + rng.uniform(0, 0.35) * (x + y) + 0.2 * _bends(shape, 4, rng), 0.3, 2),
        np.float32,
    )


def _bends(shape: tuple[int, ...], bends: int, rng: np.random.Generator) -> Floats:
    """A smooth polynomial surface with a few ups and downs, about -1 to 1."""
    y = np.linspace(-1, 1, shape[0])
    x = np.linspace(-1, 1, shape[1])
    factors = rng.normal(0, 1, (bends, bends))
    field = np.polynomial.chebyshev.chebgrid2d(y, x, factors)
    return np.asarray(np.tanh(field / (field.std() + 1e-6)), np.float32)


def _dregs(surface: Surface, rng: np.random.Generator) -> Floats:
    """Grounds and pulp left in the film, as film thickness; often none."""
    height, width = surface.solid.shape
    dregs = np.zeros((height, width), np.float32)
    if rng.random() < 0.5:
        for x, y in surface.points(int(rng.integers(10, 160)), rng):
            radius = max(0.5, surface.unit_px * 0.0025 * (1 + rng.pareto(3)))
            middle = (round(float(x) * 8), round(float(y) * 8))
            cv2.circle(
                dregs, middle, round(8 * radius), float(rng.uniform(0.2, 1)), -1, cv2.LINE_8, 3
            )
    return dregs
