"""Dust: a thin grey or pale veil, patchy, grainy, with lint and wiped streaks.

The shape is value noise: random grids, enlarged and added.
"""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.records import Floats
from beltsight.scene.light import to_light
from beltsight.scene.stains.surface import LUMINANCE, Cover, Draft, Look, Surface

_GRID_PX = 160
# sRGB: house dust, plaster, cement, sawdust, brick, soot, pollen, road dust.
_DUSTS = (
    (150, 144, 134), (214, 210, 204), (168, 168, 166), (206, 180, 140),
    (172, 128, 106), (52, 50, 50), (204, 190, 120), (132, 120, 102),
)  # fmt: skip


def lay_dust(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of dust."""
    rows, columns, scale = surface.grid(_GRID_PX)
    unit = surface.unit_px * scale
    coarse = _value_noise(rows, columns, look.size * unit, rng)
    coarse -= _wiped(rows, columns, unit, rng)
    height = surface.full(coarse)
    dust = _dust(surface, rng)
    veil = 0.22 + 0.5 * look.strength
    cloudy = _speckle(surface, rng)
    lint = _lint(surface, rng)
    uneven = rng.uniform(0.1, 0.5)
    builds = rng.uniform(0.3, 1.2)

    def coat(cover: Cover) -> Floats:
        thick = 1 - uneven + uneven * np.clip(cover.excess / builds, 0, 1)
        hides = np.clip(veil * thick * (1 + cloudy) + lint, 0, 0.92)[:, :, None]
        seen = dust * surface.white * surface.shade[:, :, None]
        return np.asarray(surface.light + hides * (seen - surface.light), np.float32)

    return Draft(height, coat)


def _value_noise(rows: int, columns: int, patch: float, rng: np.random.Generator) -> Floats:
    """Random grids of ever finer meshes, about -2 to 2."""
    field = np.zeros((rows, columns), np.float32)
    mesh, weight, fade = max(patch, 3.0), 1.0, rng.uniform(0.45, 0.8)
    while mesh >= 1.5 and weight > 0.05:
        size = (max(2, round(rows / mesh)), max(2, round(columns / mesh)))
        knots = rng.uniform(-1, 1, size).astype(np.float32)
        field += np.float32(weight) * np.asarray(
            cv2.resize(knots, (columns, rows), interpolation=cv2.INTER_CUBIC), np.float32
        )
        mesh, weight = mesh / 2, weight * fade
    return field


def _wiped(rows: int, columns: int, unit: float, rng: np.random.Generator) -> Floats:
    """Where fingers or neighbours wiped the dust away: 0, or up to 2 in streaks."""
    canvas = np.zeros((rows, columns), np.float32)
    if rng.random() < 0.6:
        return canvas
    way = rng.uniform(0, np.pi)
    ahead = np.array([np.cos(way), np.sin(way)])
    aside = np.array([-ahead[1], ahead[0]])
    start = rng.uniform(0.2, 0.8, 2) * (columns, rows)
    width = max(1, round(unit * rng.uniform(0.015, 0.06)))
    for number in range(int(rng.integers(1, 5))):
        near = start + aside * width * 1.8 * number
        a = near - ahead * unit * rng.uniform(0.1, 0.6)
        b = near + ahead * unit * rng.uniform(0.1, 0.6)
        ends = [(round(float(p[0])), round(float(p[1]))) for p in (a, b)]
        cv2.line(canvas, ends[0], ends[1], float(rng.uniform(1, 2)), width)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), max(0.8, 0.25 * width)), np.float32)


def _dust(surface: Surface, rng: np.random.Generator) -> Floats:
    """A dust's colour in linear light; on pale items the dark ones are seen, and the other way."""
    item = np.sqrt(max(float(surface.tone @ LUMINANCE), 0.0))
    for _ in range(12):
        dust = to_light(np.array(_DUSTS[rng.integers(len(_DUSTS))], np.uint8))
        dust = dust * rng.lognormal(0, 0.15)
        if abs(np.sqrt(float(dust @ LUMINANCE)) - item) > 0.18:
            break
    return np.asarray(np.clip(dust, 0, 0.95), np.float32)


def _speckle(surface: Surface, rng: np.random.Generator) -> Floats:
    """Grains at the photo's own resolution, as a factor less 1."""
    height, width = surface.solid.shape
    grains = rng.random((height, width), np.float32)
    mesh = max(1.0, surface.unit_px * rng.uniform(0.004, 0.012))
    knots = rng.random((max(2, round(height / mesh)), max(2, round(width / mesh))), np.float32)
    clumps = cv2.resize(knots, (width, height), interpolation=cv2.INTER_LINEAR)
    sharp = rng.uniform(2, 6)
    mixed = np.float32(rng.uniform(0.3, 1.0)) * (grains - 0.5)
    mixed += np.float32(rng.uniform(0.5, 1.4)) * (clumps - 0.5)
    dots = np.float32(rng.uniform(0.3, 2)) * (grains > 1 - rng.uniform(0.002, 0.02))
    return np.asarray(np.clip(mixed * sharp / 4 + dots, -0.7, 2), np.float32)


def _lint(surface: Surface, rng: np.random.Generator) -> Floats:
    """Fibres and hairs: what they hide more, 0 to about 0.5."""
    canvas = np.zeros(surface.solid.shape, np.float32)
    count = int(rng.integers(0, 14)) * (rng.random() < 0.5)
    for place in surface.points(count, rng):
        steps = int(rng.integers(8, 20))
        ways = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.35, steps))
        step = surface.unit_px * rng.uniform(0.004, 0.012)
        path = place + step * np.cumsum(np.stack([np.cos(ways), np.sin(ways)], 1), axis=0)
        points = np.rint(path * 8).astype(np.int32)
        cv2.polylines(canvas, [points], False, float(rng.uniform(0.2, 0.6)), 1, cv2.LINE_8, 3)
    return np.asarray(cv2.blur(canvas, (2, 2)) if count else canvas, np.float32)
