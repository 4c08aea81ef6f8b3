"""Grease and oil: translucent, darkens what drinks it, shines on what does not; blots and smears.

The shape is a sum of stretched Gaussian drops, smeared along a direction.
"""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.records import Floats
from beltsight.scene.stains.surface import Cover, Draft, Look, Surface

_GRID_PX = 112
_MOST_DROPS = 36
# Absorption of red, green, blue: cooking oil, butter, gravy, old frying fat, engine oil.
_OILS = np.array(
    [[0.35, 0.6, 1.2], [0.15, 0.32, 1.1], [0.5, 0.95, 1.6], [0.75, 1.1, 1.5], [1.15, 1.2, 1.25]],
    np.float32,
)


def lay_grease(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of grease."""
    coarse = _drops(surface, look.size, share, rng)
    way = rng.uniform(0, np.pi)
    if rng.random() < 0.45:
        coarse = _smear(coarse, way, rng.uniform(0.05, 0.3))
    coarse += np.float32(rng.uniform(0.1, 0.6)) * _soft_noise(
        coarse.shape, rng.uniform(1.5, 6), rng
    )
    height = surface.full(coarse)
    oil = _OILS[rng.integers(len(_OILS))] * rng.lognormal(0, 0.15, 3).astype(np.float32)
    streaks = surface.full(_streaks(coarse.shape, way, rng))
    gloss = surface.full(_gloss(coarse, rng)) * np.float32(_gloss_gain(surface, rng))
    haze = rng.uniform(0.03, 0.12) if surface.is_dark else rng.uniform(0, 0.03)
    mottled = surface.full(_soft_noise(coarse.shape, rng.uniform(1, 8), rng))
    depth = 0.5 + 1.6 * look.strength**1.5
    rim = rng.uniform(0, 0.5) * (rng.random() < 0.6)
    bumpy = rng.uniform(0, 0.5)

    def coat(cover: Cover) -> Floats:
        uneven = np.exp(bumpy * (0.7 * streaks + 0.5 * mottled))
        film = depth * uneven * (0.6 + 0.4 * np.tanh(cover.excess))
        edge_px = max(1.0, 0.012 * surface.unit_px)
        film = film * (1 + rim * np.exp(-((cover.depth_px / edge_px - 1) ** 2)))
        let_through = np.exp(-film[:, :, None] * oil)
        shine = ((haze + gloss * (1 + streaks)) * uneven)[:, :, None] * surface.white
        return np.asarray(surface.light * let_through + shine, np.float32)

    return Draft(height, coat)


def _drops(surface: Surface, size: float, share: float, rng: np.random.Generator) -> Floats:
    """Logarithm of a sum of stretched Gaussians."""
    rows, columns, scale = surface.grid(_GRID_PX)
    unit = surface.unit_px * scale
    size = max(size, 0.5 * np.sqrt(share / _MOST_DROPS))
    count = int(np.clip(rng.uniform(0.6, 1.6) * share / (6 * size**2) + 1, 1, _MOST_DROPS))
    centres = _clustered(surface.points(count, rng) * scale, rng)
    long = unit * size * rng.lognormal(0, 0.45, count)
    wide = long / rng.uniform(1, 2.6, count)
    turn = rng.uniform(0, np.pi) + rng.normal(0, rng.uniform(0.1, 1.5), count)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    total = np.full((rows, columns), 1e-12, np.float32)
    for place in range(count):
        dx, dy = x - centres[place, 0], y - centres[place, 1]
        c, s = np.float32(np.cos(turn[place])), np.float32(np.sin(turn[place]))
        along = (c * dx + s * dy) / np.float32(long[place])
        across = (c * dy - s * dx) / np.float32(wide[place])
        # Heavy tails, so that there is a slope everywhere.
        total += 1 / (1 + along * along + across * across) ** 2
    return np.asarray(np.log(total), np.float32)


def _clustered(points: Floats, rng: np.random.Generator) -> Floats:
    """Drawn towards one of them, as hands and drips leave marks close together."""
    pull = rng.uniform(0, 0.5) * (rng.random() < 0.6)
    return np.asarray(points + np.float32(pull) * (points[:1] - points), np.float32)


def _smear(field: Floats, way: float, length: float) -> Floats:
    """Mean along a line of a length relative to the grid's side."""
    reach = max(3, int(length * max(field.shape)) | 1)
    kernel = np.zeros((reach, reach), np.float32)
    middle = reach // 2
    dx, dy = round(middle * np.cos(way)), round(middle * np.sin(way))
    cv2.line(kernel, (middle - dx, middle - dy), (middle + dx, middle + dy), 1.0, 1)
    return np.asarray(cv2.filter2D(field, -1, kernel / kernel.sum()), np.float32)


def _streaks(shape: tuple[int, ...], way: float, rng: np.random.Generator) -> Floats:
    """Fine lines along the smear, about -1 to 1."""
    # Softened first: lines of one pixel of the grid would show its mesh.
    noise = _soft_noise(shape, rng.uniform(0.8, 2), rng)
    lines = cv2.GaussianBlur(_smear(noise, way, rng.uniform(0.1, 0.4)), (0, 0), 0.6)
    return np.asarray(np.clip(lines / (2 * lines.std() + 1e-6), -1, 1), np.float32)


def _soft_noise(shape: tuple[int, ...], sigma_px: float, rng: np.random.Generator) -> Floats:
    """Blurred white noise; mean 0, sd about 1."""
    noise = cv2.GaussianBlur(rng.standard_normal(shape[:2], np.float32), (0, 0), sigma_px)
    return np.asarray((noise - noise.mean()) / (float(noise.std()) + 1e-3), np.float32)


def _gloss(height: Floats, rng: np.random.Generator) -> Floats:
    """Where the film's slope sends a lamp into the camera: 0 to 1."""
    film = np.tanh(0.5 * (height - float(np.quantile(height, 0.8))))
    film = cv2.GaussianBlur(film + 0.1 * _soft_noise(film.shape, 3, rng), (0, 0), 1.0)
    slope_y, slope_x = np.gradient(film)
    lamp = rng.uniform(0, 2 * np.pi)
    slope = slope_x * np.float32(np.cos(lamp)) + slope_y * np.float32(np.sin(lamp))
    steep = slope / (float(np.abs(slope).max()) + 1e-6)
    return np.asarray(np.clip(steep - rng.uniform(0.1, 0.5), 0, 1) ** 2 * 4, np.float32)


def _gloss_gain(surface: Surface, rng: np.random.Generator) -> float:
    often = 0.8 if surface.is_dark else 0.5
    return float(rng.uniform(0.04, 0.35) * (rng.random() < often))
