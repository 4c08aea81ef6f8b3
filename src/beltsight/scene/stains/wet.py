"""Wetness: paper goes dark where it drank, smooth things carry drops and a shining film.

The drops are spherical caps; the film is a sum of a few bent waves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats
from beltsight.scene.stains.surface import Cover, Draft, Look, Surface

_GRID_PX = 384
_MOST_DROPS = 220


def lay_wet(surface: Surface, look: Look, share: float, rng: np.random.Generator) -> Draft:
    """A :data:`Stain <beltsight.scene.stains.surface.Stain>` of water."""
    film = surface.full(_waves(*surface.grid(80)[:2], rng))
    drops = _Drops(*surface.grid(_GRID_PX))
    if rng.random() < (0.85 if share < 0.4 else 0.5):
        drops.fall(surface, look.size, share * rng.uniform(0.6, 1.3), rng)
    caps, ranks = surface.full(drops.cap), surface.full(drops.rank)
    # Drops are covered first, one after the other; then the film between them.
    height = np.where(ranks > 0, 3 + ranks + 0.01 * caps, np.tanh(film))
    way = rng.uniform(0, 2 * np.pi)
    bend = surface.full(drops.seen_from(way)) * np.float32(rng.uniform(0.3, 0.9))
    glint = surface.full(drops.glints(way, rng))
    sheen = _sheen(film, rng) * np.float32(rng.uniform(0.02, 0.25))
    drinks = np.float32((0.3 + 0.8 * look.strength) * rng.uniform(0.6, 1.2))
    dark = surface.is_dark

    def coat(cover: Cover) -> Floats:
        between = 1 - np.clip(caps * 3, 0, 1)
        edge_px = max(1.0, 0.008 * surface.unit_px)
        rim = 0.3 * np.exp(-((cover.depth_px / edge_px - 0.6) ** 2))
        takes = drinks * (between * (0.2 if dark else 0.75) + 0.3 * (1 - between)) + rim
        deeper = np.exp(-takes[:, :, None] * np.array([1.02, 1.0, 0.94], np.float32))
        lit = surface.light * deeper * np.exp(bend)[:, :, None]
        # The bright side of a drop gathers light even on a dark item.
        gathers = 0.12 * np.clip(bend, 0, 1)
        shines = glint + gathers + sheen * between * (1.5 if dark else 1.0)
        return np.asarray(lit + shines[:, :, None] * surface.white, np.float32)

    return Draft(np.asarray(height, np.float32), coat)


def _waves(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """A smooth field of a few waves that bend each other, about -3 to 3."""
    y = np.linspace(0, 2 * np.pi * rows / max(rows, columns), rows, dtype=np.float32)[:, None]
    x = np.linspace(0, 2 * np.pi * columns / max(rows, columns), columns, dtype=np.float32)[None, :]
    field: Floats = np.zeros((rows, columns), np.float32)
    for number in range(6):
        way, turns = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.0 + number)
        along = np.float32(np.cos(way)) * x + np.float32(np.sin(way)) * y
        wave = np.sin(np.float32(turns) * along + 0.8 * field + np.float32(rng.uniform(0, 6.3)))
        field = np.asarray(field + wave / np.sqrt(1 + number), np.float32)
    return np.asarray(field, np.float32)


class _Drops:
    """Caps stamped on a grid; of each pixel the drop it belongs to, and where in it."""

    def __init__(self, rows: int, columns: int, scale: float) -> None:
        self.scale = scale
        self.cap = np.zeros((rows, columns), np.float32)  # height, 0 to 1
        self.rank = np.full((rows, columns), -1, np.float32)  # over 0, the first the highest
        self.right = np.zeros((rows, columns), np.float32)  # from the middle, in radii
        self.down = np.zeros((rows, columns), np.float32)

    def fall(self, surface: Surface, size: float, share: float, rng: np.random.Generator) -> None:
        """Let drops fall until they cover about the share."""
        unit = surface.unit_px * self.scale
        left = share * unit**2
        stretch, way = rng.uniform(1, 1.35), rng.uniform(0, 2 * np.pi)
        places = surface.points(_MOST_DROPS, rng) * np.float32(self.scale)
        for number, place in enumerate(places):
            radius = max(1.2, size * unit * float(np.clip(rng.lognormal(-0.2, 0.7), 0.25, 3)))
            turn = way + rng.normal(0, 0.3)
            self._stamp(place, radius, stretch, turn, rng.normal(0, 0.18, 2), number)
            left -= np.pi * radius**2
            if left < 0:
                return

    def _stamp(
        self, at: Floats, radius: float, stretch: float, turn: float,
        dents: NDArray[np.float64], number: int,
    ) -> None:  # fmt: skip
        reach = int(np.ceil(1.3 * radius * stretch)) + 1
        x0, y0 = max(0, int(at[0]) - reach), max(0, int(at[1]) - reach)
        box = slice(y0, int(at[1]) + reach + 1), slice(x0, int(at[0]) + reach + 1)
        rows, columns = self.cap[box].shape
        y = (np.arange(y0, y0 + rows, dtype=np.float32)[:, None] - at[1]) / radius
        x = (np.arange(x0, x0 + columns, dtype=np.float32)[None, :] - at[0]) / radius
        c, s = np.cos(turn), np.sin(turn)
        u, v = (c * x + s * y) / stretch, (c * y - s * x) * stretch
        far = (
            u * u + v * v + dents[0] * (u * u - 3 * v * v) * u + dents[1] * (3 * u * u - v * v) * v
        )
        fresh = (far < 1) & (self.rank[box] < 0) & (u * u + v * v < 2)
        self.cap[box][fresh] = np.sqrt(np.clip(1 - far, 0, 1))[fresh]
        self.rank[box][fresh] = 1 - number / _MOST_DROPS
        self.right[box][fresh] = np.broadcast_to(x, far.shape)[fresh]
        self.down[box][fresh] = np.broadcast_to(y, far.shape)[fresh]

    def seen_from(self, way: float) -> Floats:
        """A drop is dark towards the lamp and bright away from it: -1 to 1."""
        towards = self.right * np.float32(np.cos(way)) + self.down * np.float32(np.sin(way))
        return np.asarray(-np.clip(towards, -1, 1) * (1 - 0.5 * self.cap), np.float32)

    def glints(self, way: float, rng: np.random.Generator) -> Floats:
        """The lamp's mirror image, small, on the side of each drop that faces it."""
        out, width = rng.uniform(0.3, 0.6), rng.uniform(0.1, 0.2)
        x, y = self.right - out * np.cos(way), self.down - out * np.sin(way)
        spot = np.exp(-((x * x + y * y) / width**2)) * (self.rank > 0)
        return np.asarray(spot * rng.uniform(0.3, 1.0), np.float32)


def _sheen(film: Floats, rng: np.random.Generator) -> Floats:
    """Bands where a film mirrors the room: 0 to 1."""
    at, width = rng.uniform(-1.5, 1.5), rng.uniform(0.15, 0.6)
    return np.asarray(np.exp(-(((film - at) / width) ** 2)), np.float32)
