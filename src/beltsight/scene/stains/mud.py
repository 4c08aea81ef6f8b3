"""Mud and soil: opaque to half opaque, grainy, caked, splashed.

The shape is noise with a power spectrum (by the Fourier transform) and splashes with rays.
"""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.records import Floats
from beltsight.scene.light import to_light
from beltsight.scene.stains.surface import Cover, Draft, Look, Surface

_GRID_PX = 192
_SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 240)  # quick for the transform
# sRGB: loam, dry loam, wet soil, sand, humus, red clay, grey silt, ash.
_SOILS = (
    (104, 78, 50), (142, 116, 84), (66, 50, 36), (170, 140, 100),
    (48, 38, 30), (132, 80, 54), (120, 114, 104), (84, 80, 76),
)  # fmt: skip


def lay_mud(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of mud."""
    rows, columns, scale = surface.grid(_GRID_PX)
    unit = surface.unit_px * scale
    coarse = _fractal(rows, columns, look.size * unit, rng)
    if rng.random() < 0.55:
        coarse = coarse + np.float32(rng.uniform(0.5, 3)) * _splashes(
            surface, scale, (rows, columns), rng
        )
    relief = surface.full(_relief(coarse, rng)) * np.float32(rng.uniform(0.05, 0.25))
    if rng.random() < 0.6:
        coarse = np.maximum(coarse, _specks((rows, columns), unit, share, rng))
    height = surface.full(np.asarray(coarse, np.float32))
    soil = _soil(surface, rng)
    grain = _grain(surface, rng)
    thin = rng.uniform(0.3, 0.8) * look.strength + 0.2
    builds = rng.uniform(0.3, 1.5)
    dries = rng.uniform(0, 0.5)
    shine = np.float32(rng.uniform(0.1, 0.5) * (rng.random() < 0.3))

    def coat(cover: Cover) -> Floats:
        caked_on = np.clip(cover.excess / builds, 0, 1)
        hides = np.clip(thin + (1 - thin) * caked_on + 0.6 * grain, 0.1, 1)[:, :, None]
        drier = 1 + dries * (1 - caked_on)
        seen = np.minimum(surface.shade * drier * np.exp(relief + 1.3 * grain), 2)
        coloured = soil * surface.white * seen[:, :, None]
        coloured += (shine * np.clip(relief + grain - 0.2, 0, 1))[:, :, None] * surface.white
        # What shows through a thin film is stained by it.
        under = surface.light * (0.35 + 0.65 * np.sqrt(soil))
        return np.asarray(hides * coloured + (1 - hides) * under, np.float32)

    return Draft(height, coat)


def _fractal(rows: int, columns: int, blob_px: float, rng: np.random.Generator) -> Floats:
    """Noise whose amplitude falls with the frequency, drawn out along a direction; sd 1."""
    high = next((side for side in _SIDES if side >= rows), rows)
    wide = next((side for side in _SIDES if side >= columns), columns)
    down, right = np.fft.fftfreq(high)[:, None], np.fft.rfftfreq(wide)[None, :]
    way, drawn = rng.uniform(0, np.pi), rng.uniform(1, 3.5) ** (rng.random() < 0.6)
    along = np.cos(way) * right + np.sin(way) * down
    across = np.cos(way) * down - np.sin(way) * right
    frequency = along**2 * drawn + across**2 / drawn + (0.25 / blob_px) ** 2
    slope = rng.uniform(1.7, 2.9)  # small: ragged and grainy, large: smooth
    noise = rng.standard_normal((2, high, wide // 2 + 1))
    spectrum = (noise[0] + 1j * noise[1]) * frequency ** (-slope / 2)
    field = np.fft.irfft2(spectrum, (high, wide))[:rows, :columns]
    return np.asarray((field - field.mean()) / (field.std() + 1e-6), np.float32)


def _splashes(
    surface: Surface, scale: float, shape: tuple[int, int], rng: np.random.Generator
) -> Floats:
    """Where clods hit: 1 in the middle, falling outwards, faster between the rays."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    field = np.full(shape, -1, np.float32)
    for place in surface.points(int(rng.integers(1, 4)), rng) * scale:
        dx, dy = x - place[0], y - place[1]
        far = np.sqrt(dx * dx + dy * dy)
        rays = rng.gamma(2, 0.5, int(rng.integers(14, 40))).astype(np.float32)
        turn = (cv2.phase(dx, dy) / np.float32(2 * np.pi) * len(rays)) % len(rays)
        low = turn.astype(np.int32) % len(rays)
        part = turn - np.floor(turn)
        reach = rays[low] * (1 - part) + rays[(low + 1) % len(rays)] * part
        radius = surface.unit_px * scale * rng.uniform(0.08, 0.3)
        field = np.maximum(field, 1 - far / (np.float32(radius) * (0.5 + reach)))
    return np.asarray(np.clip(field, -1, 1), np.float32)


def _specks(shape: tuple[int, int], unit: float, share: float, rng: np.random.Generator) -> Floats:
    """Thrown grains and drops, the largest the highest."""
    field = np.full(shape, -9, np.float32)
    count = int(rng.uniform(10, 120) * (0.5 + share))
    radii = np.minimum(unit * 0.004 * (1 + rng.pareto(1.6, count)), 0.05 * unit)
    xs, ys = rng.uniform(0, shape[1], count), rng.uniform(0, shape[0], count)
    tops = rng.uniform(0, 3, count)
    for x, y, radius, top in zip(xs, ys, radii, tops, strict=True):
        middle = (round(x * 8), round(y * 8))
        cv2.circle(field, middle, max(4, round(radius * 8)), float(top), -1, cv2.LINE_8, 3)
    return np.asarray(cv2.GaussianBlur(field, (0, 0), 0.7), np.float32)


def _soil(surface: Surface, rng: np.random.Generator) -> Floats:
    """A soil's colour in linear light that can be told from the item's."""
    for _ in range(12):
        chosen = to_light(np.array(_SOILS[rng.integers(len(_SOILS))], np.uint8))
        soil = chosen * rng.lognormal(-0.1, 0.25) * rng.lognormal(0, 0.05, 3)
        if np.abs(np.sqrt(soil) - np.sqrt(surface.tone)).max() > 0.18:
            break
    return np.asarray(soil, np.float32)


def _grain(surface: Surface, rng: np.random.Generator) -> Floats:
    """Sand and clods at the photo's own resolution, about -0.5 to 0.5."""
    fine = rng.standard_normal(surface.solid.shape, np.float32)
    clods = cv2.GaussianBlur(fine, (0, 0), max(0.8, 0.008 * surface.unit_px * rng.uniform(0.5, 2)))
    clods = (clods - clods.mean()) / (float(clods.std()) + 1e-3)
    coarse = clods * np.float32(rng.uniform(0.04, 0.18))
    return np.asarray(coarse + np.float32(rng.uniform(0.02, 0.12)) * fine, np.float32)


def _relief(height: Floats, rng: np.random.Generator) -> Floats:
    """Light from one side on the mud's slopes, about -2 to 2."""
    lamp = rng.uniform(0, 2 * np.pi)
    down, right = np.gradient(height)
    slope = right * np.float32(np.cos(lamp)) + down * np.float32(np.sin(lamp))
    return np.asarray(np.clip(slope / (float(slope.std()) + 1e-6), -2, 2), np.float32)
