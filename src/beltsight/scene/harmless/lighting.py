"""Glare, folds, crumpling and cast shadows: what light does, and no dirt."""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.records import Floats
from beltsight.scene.stains.surface import Surface

_GRID_PX = 160


def add_glare(surface: Surface, rng: np.random.Generator) -> Floats:
    """One to three soft or sharp highlights, most of them drawn out."""
    rows, columns, scale = surface.grid(_GRID_PX)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    shine = np.zeros((rows, columns), np.float32)
    way = rng.uniform(0, np.pi)
    for place in surface.points(int(rng.integers(1, 4)), rng) * scale:
        long = surface.unit_px * scale * rng.uniform(0.04, 0.4)
        wide = long * rng.uniform(0.1, 0.6)
        c, s = np.cos(way + rng.normal(0, 0.15)), np.sin(way)
        along = (c * (x - place[0]) + s * (y - place[1])) / long
        across = (c * (y - place[1]) - s * (x - place[0])) / wide
        sharp = rng.uniform(0.8, 4)  # 1 is a Gaussian, more has an edge
        shine += np.float32(rng.uniform(0.1, 0.6)) * np.exp(-((along**2 + across**2) ** sharp))
    return np.asarray(surface.light + surface.full(shine)[:, :, None] * surface.white, np.float32)


def add_creases(surface: Surface, rng: np.random.Generator) -> Floats:
    """Single folds, light on one side and dark on the other, slightly bent."""
    rows, columns, scale = surface.grid(2 * _GRID_PX)
    unit = surface.unit_px * scale
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    shade = np.zeros((rows, columns), np.float32)
    for place in surface.points(int(rng.integers(1, 7)), rng) * scale:
        way = rng.uniform(0, np.pi)
        c, s = np.float32(np.cos(way)), np.float32(np.sin(way))
        along = (c * (x - place[0]) + s * (y - place[1])) / np.float32(unit)
        across = (c * (y - place[1]) - s * (x - place[0])) / np.float32(unit)
        across = across + np.float32(rng.normal(0, 0.15)) * along**2
        width, reach = rng.uniform(0.006, 0.05), rng.uniform(0.15, 0.8)
        side = across / np.float32(width)
        fold = side * np.exp(-0.5 * side**2) - rng.uniform(0, 0.8) * np.exp(-((3 * side) ** 2))
        shade += np.float32(rng.uniform(0.1, 0.4)) * fold * np.exp(-((along / reach) ** 4))
    return np.asarray(surface.light * np.exp(surface.full(shade))[:, :, None], np.float32)


def add_crumple(surface: Surface, rng: np.random.Generator) -> Floats:
    """Facets over the whole item, each lit by its own tilt."""
    rows, columns, scale = surface.grid(2 * _GRID_PX)
    size = surface.unit_px * scale * rng.uniform(0.07, 0.3)
    count = int(np.clip(rows * columns / size**2, 4, 400))
    free = np.ones((rows, columns), np.uint8)
    free[rng.integers(rows, size=count), rng.integers(columns, size=count)] = 0
    far, facet = cv2.distanceTransformWithLabels(
        free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    number = int(facet.max()) + 1
    lit, slope = rng.normal(0, 1, number), rng.normal(0, 0.7, number)
    shade = (lit[facet] + slope[facet] * far / np.float32(size)).astype(np.float32)
    shade = cv2.GaussianBlur(shade, (0, 0), max(0.6, size * rng.uniform(0.02, 0.12)))
    depth = np.float32(rng.uniform(0.06, 0.22))
    return np.asarray(surface.light * np.exp(depth * surface.full(shade))[:, :, None], np.float32)


def cast_shadow(height: int, width: int, unit_px: float, rng: np.random.Generator) -> Floats:
    """What is left of the light where something stands before the lamp.

    Args:
        height, width: of the photo, in pixels; the shadow falls on item and ground alike.
        unit_px: the item's size.
        rng: moved on.

    Returns:
        float32 (height, width, 1), 0.3 to 1.
    """
    lit = np.ones((height, width), np.float32)
    left = float(rng.uniform(0.35, 0.85))
    place = rng.uniform(0.1, 0.9, 2) * (width, height)
    turns = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
    reach = unit_px * rng.uniform(0.2, 1.6) * rng.uniform(0.6, 1.4, len(turns))
    points = place + reach[:, None] * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    if rng.random() < 0.4:  # the edge of a hand, a wall, a machine
        way = rng.uniform(0, 2 * np.pi)
        ahead = np.array([np.cos(way), np.sin(way)]) * 4 * max(height, width)
        aside = np.array([-ahead[1], ahead[0]])
        points = place + np.stack([aside, aside + ahead, ahead - aside, -aside])
    cv2.fillPoly(lit, [np.rint(points).astype(np.int32)], left)
    soft = unit_px * float(np.exp(rng.uniform(np.log(0.004), np.log(0.15))))
    few = max(1.0, soft / 4)  # a wide blur on a coarser grid is the same and quicker
    size = (max(2, round(width / few)), max(2, round(height / few)))
    small = cv2.GaussianBlur(
        cv2.resize(lit, size, interpolation=cv2.INTER_AREA), (0, 0), soft / few
    )
    return np.asarray(cv2.resize(small, (width, height))[:, :, None], np.float32)
