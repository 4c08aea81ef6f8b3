"""The belt's own looks: rubber with grain, scratches, stains and the splice where its ends meet."""

from __future__ import annotations

import cv2
import numpy as np

from beltsight.line.simulate.settings import BeltLook
from beltsight.records import Floats, Photo
from beltsight.scene.light import to_light, to_photo

_COLOURS = {
    "black": (72, 73, 75),
    "grey": (126, 127, 125),
    "green": (58, 96, 80),
    "blue": (52, 92, 142),
    "white": (212, 211, 206),
}
_Noise = np.random.Generator


def draw_belt(
    look: BeltLook, length_px: int, breadth_px: int, px_per_mm: float, rng: np.random.Generator
) -> Photo:
    """One loop of empty belt, whose ends fit together.

    Args:
        look: what it is to be like.
        length_px: of the loop, along the columns.
        breadth_px: across the belt, along the rows.
        px_per_mm: scale.
        rng: decides every grain.

    Returns:
        uint8 (breadth_px, length_px, 3) RGB.

    Example:
        >>> belt = draw_belt(BeltLook(), 640, 200, 0.5, np.random.default_rng(0))
        >>> belt.shape, bool(50 < belt.mean() < 90)
        ((200, 640, 3), True)
    """
    shape = (breadth_px, length_px)
    gain = _grain(shape, px_per_mm, look.grain, rng)
    gain *= _worn_edges(breadth_px, px_per_mm)
    if look.splice:
        gain *= _splice(shape, px_per_mm, rng)
    length_m = length_px / px_per_mm / 1000
    colour = to_light(np.array([[_COLOURS[look.colour]]], np.uint8))
    # Scratches are light on dark rubber, and hold dirt on light rubber.
    sign = np.float32(-0.6 if colour.mean() > 0.4 else 1.0)
    scratches = rng.poisson(look.scratches_per_m * length_m)
    gain += sign * _scratches(shape, px_per_mm, scratches, rng)
    light = gain[:, :, None] * colour
    for _ in range(rng.poisson(look.stains_per_m * length_m)):
        _stain(light, px_per_mm, rng)
    return to_photo(light)


def blur_ring(field: Floats, sigma_px: float) -> Floats:
    """Gaussian blur of a field whose left end goes on at its right end."""
    reach = min(int(np.ceil(3 * sigma_px)) + 1, field.shape[1])
    wide = np.concatenate([field[:, -reach:], field, field[:, :reach]], axis=1)
    blurred = cv2.GaussianBlur(wide, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT)
    return np.asarray(blurred[:, reach:-reach], np.float32)


def _grain(shape: tuple[int, int], px_per_mm: float, amount: float, rng: _Noise) -> Floats:
    """Factors around 1: fine grain, a trace of the fabric under the rubber, clouds of wear."""
    breadth, length = shape
    fine = rng.standard_normal(shape, np.float32)
    soft = blur_ring(fine, 0.7)
    gain = 1 + np.float32(amount) * soft / max(float(soft.std()), 1e-6)
    for size_mm, share in ((12.0, 0.35), (90.0, 0.6)):
        gain += np.float32(amount * share) * _clouds(shape, size_mm * px_per_mm, rng)
    # Threads across and along; whole numbers of them, so that the ends fit together.
    threads = max(1, round(length / (5.0 * px_per_mm)))
    along = np.sin(2 * np.pi * threads * np.arange(length) / length)
    across = np.sin(2 * np.pi * np.arange(breadth) / (7.0 * px_per_mm))
    weave = (along[None, :] * 0.6 + across[:, None] * 0.4).astype(np.float32)
    return np.asarray(gain + np.float32(0.25 * amount) * weave, np.float32)


def _clouds(shape: tuple[int, int], size_px: float, rng: _Noise) -> Floats:
    """Slow unrest of that size and of standard deviation 1, computed small."""
    step = max(1, int(size_px / 4))
    small = (max(4, shape[0] // step), max(4, shape[1] // step))
    field = blur_ring(rng.standard_normal(small, np.float32), size_px / step)
    reach = min(4, small[1])
    wide = np.concatenate([field[:, -reach:], field, field[:, :reach]], axis=1)
    scale = shape[1] / small[1]
    size = (round(wide.shape[1] * scale), shape[0])
    large = np.asarray(cv2.resize(wide, size, interpolation=cv2.INTER_CUBIC), np.float32)
    start = (large.shape[1] - shape[1]) // 2
    return np.asarray(large[:, start : start + shape[1]] / max(float(field.std()), 1e-6))


def _worn_edges(breadth_px: int, px_per_mm: float) -> Floats:
    """Beside its edges a belt is less rubbed, and darker."""
    mm = (np.arange(breadth_px) + 0.5) / px_per_mm
    away = np.minimum(mm, mm[::-1])
    return np.asarray(1 - 0.25 * np.exp(-away / 25), np.float32)[:, None]


def _splice(shape: tuple[int, int], px_per_mm: float, rng: _Noise) -> Floats:
    """A band that crosses the belt askew, smoother than the rest, between two lines."""
    breadth, length = shape
    lean = np.tan(np.deg2rad(rng.uniform(15, 25))) * rng.choice([-1, 1])
    middle = length / 2 + lean * (np.arange(breadth) - breadth / 2)
    away_mm = np.abs(np.arange(length)[None, :] - middle[:, None]) / px_per_mm
    band = np.where(away_mm < 28, 0.06, 0.0)
    lines = 0.35 * np.exp(-(((away_mm - 28) / 1.2) ** 2))
    return np.asarray(1 + band - lines, np.float32)


def _scratches(shape: tuple[int, int], px_per_mm: float, count: int, rng: _Noise) -> Floats:
    """Fine lines, nearly all along the belt; above 0."""
    breadth, length = shape
    total = np.zeros(shape, np.float32)
    for _ in range(count):
        reach = min(px_per_mm * float(rng.lognormal(np.log(120), 0.9)), length / 2)
        angle = rng.normal(0, 0.03) if rng.random() < 0.85 else rng.uniform(-1.2, 1.2)
        x, y = rng.uniform(0, length), rng.uniform(0, breadth)
        bend = rng.normal(0, 0.01) * reach
        steps = np.linspace(0, 1, 12)
        xs = x + steps * reach * np.cos(angle)
        ys = y + steps * reach * np.sin(angle) + bend * np.sin(np.pi * steps)
        canvas_left = int(xs.min()) - 3
        width = int(np.ptp(xs)) + 8
        line = np.zeros((breadth, width), np.uint8)
        points = np.stack([xs - canvas_left, ys], axis=1)
        fixed = np.round(points * 16).astype(np.int32)
        cv2.polylines(line, [fixed], False, 255, 1, cv2.LINE_AA, 4)
        columns = (canvas_left + np.arange(width)) % length
        total[:, columns] += line * np.float32(rng.uniform(0.1, 0.45) / 255)
    return total


def _stain(light: Floats, px_per_mm: float, rng: _Noise) -> None:
    """Dust, dried liquid or a wet patch, laid on in place."""
    breadth, length = light.shape[:2]
    size = px_per_mm * float(np.clip(rng.lognormal(np.log(35), 0.6), 8, 160))
    half = int(size * 1.8) + 4
    if 2 * half >= length:
        return
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.full(48, 1.0)
    for order in range(2, 7):
        radius += rng.normal(0, 0.35 / order) * np.cos(order * angles + rng.uniform(0, 6.3))
    lengthen = rng.uniform(1.0, 1.6)  # the belt draws it out
    points = np.stack([lengthen * radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    blob = np.zeros((2 * half, 2 * half), np.uint8)
    cv2.fillPoly(blob, [np.round(points * size / 2 + half).astype(np.int32)], 255, cv2.LINE_AA)
    soft = cv2.GaussianBlur(blob, (0, 0), max(0.8, size * rng.uniform(0.03, 0.2))) / 255
    strength, tint = _substance(rng)
    speckle = np.clip(0.7 + 0.5 * rng.standard_normal(soft.shape), 0, 1)
    alpha = (strength * soft * speckle).astype(np.float32)
    top, left = int(rng.uniform(-half, breadth - half)), int(rng.uniform(0, length))
    rows = slice(max(0, top), min(breadth, top + 2 * half))
    columns = (left + np.arange(2 * half)) % length
    cover = alpha[rows.start - top : rows.stop - top][:, :, None]
    under = light[rows][:, columns]
    light[rows.start : rows.stop, columns] = under + cover * (under * tint[0] + tint[1] - under)


def _substance(rng: _Noise) -> tuple[float, tuple[Floats, Floats]]:
    """How strong it is; and what it makes of the light below: a factor and an amount."""
    kind = rng.choice(["dust", "dried", "wet"], p=[0.5, 0.3, 0.2])
    if kind == "dust":
        return float(rng.uniform(0.15, 0.5)), _tint(0.9, (0.075, 0.07, 0.06))
    if kind == "dried":
        return float(rng.uniform(0.3, 0.7)), _tint(0.8, (0.05, 0.035, 0.02))
    return float(rng.uniform(0.4, 0.8)), _tint(0.6, (0.0, 0.0, 0.0))


def _tint(factor: float, amount: tuple[float, float, float]) -> tuple[Floats, Floats]:
    return np.full(3, factor, np.float32), np.array(amount, np.float32)
