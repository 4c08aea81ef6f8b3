"""Scenes whose masks are known: shapes with print on ground with uneven light, shadow and noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Photo

SHAPES = ("ellipse", "box", "star")
COLOURS = ((170, 40, 30), (40, 90, 160), (90, 60, 40), (35, 35, 40), (60, 140, 70))


@dataclass(frozen=True)
class Drawn:
    photo: Photo
    truth: NDArray[np.bool_]
    ground: Photo


def outline(shape: str, middle: tuple[int, int], size: int, degrees: float) -> NDArray[np.int32]:
    """The corners of a shape about ``size`` pixels across."""
    turns = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    if shape == "ellipse":
        points = np.stack([np.cos(turns), 0.6 * np.sin(turns)], axis=1)
    elif shape == "box":
        points = np.array([[-1, -0.55], [1, -0.55], [1, 0.55], [-1, 0.55]])
    else:
        reach = 0.8 + 0.2 * np.cos(5 * turns)
        points = np.stack([reach * np.cos(turns), reach * np.sin(turns)], axis=1)
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(np.rint(points @ matrix.T * size / 2 + middle), np.int32)


def draw_scene(
    seed: int,
    *,
    height: int = 192,
    width: int = 256,
    ground_rgb: tuple[int, int, int] = (222, 220, 214),
    shadow: float = 0.3,
    noise: float = 3.0,
    items: int = 1,
) -> Drawn:
    """Light that falls off by a quarter over the ground, printed items, a soft shadow, noise."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    turn = rng.uniform(0, 2 * np.pi)
    light = 1 - 0.12 * (x * np.cos(turn) + y * np.sin(turn)) - 0.06 * (x**2 + y**2)
    ground = np.array(ground_rgb) * light[:, :, None]
    drawn, truth = ground.copy(), np.zeros((height, width), np.uint8)
    for number in range(items):
        size = int(rng.uniform(0.35, 0.55) * height / (1 if items == 1 else 1.6))
        place = (width * (2 * number + 1) // (2 * items), height // 2 + int(rng.integers(-12, 12)))
        corners = outline(SHAPES[int(rng.integers(3))], place, size, rng.uniform(0, 180))
        cover = np.zeros((height, width), np.uint8)
        cv2.fillPoly(cover, [corners], 1)
        cast = cv2.GaussianBlur(np.roll(cover, (5, 6), (0, 1)).astype(np.float64), (0, 0), 6)
        drawn *= 1 - shadow * cast[:, :, None]
        colour = np.array(COLOURS[int(rng.integers(len(COLOURS)))])
        drawn[cover > 0] = colour
        band = (cover > 0) & (np.abs(np.arange(height) - place[1])[:, None] < size / 10)
        drawn[band] = (235, 225, 190)
        truth |= cover
    grain = rng.normal(0, noise, (height, width, 3))
    photo = np.clip(cv2.GaussianBlur(drawn, (0, 0), 0.7) + grain, 0, 255).astype(np.uint8)
    bare = np.clip(ground + rng.normal(0, noise, ground.shape), 0, 255).astype(np.uint8)
    return Drawn(photo, truth > 0, bare)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())
