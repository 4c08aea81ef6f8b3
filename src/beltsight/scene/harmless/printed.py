"""Labels, stickers, barcodes, print, tape and fields of colour: on items, and no dirt."""

from __future__ import annotations

import string
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo
from beltsight.scene.light import to_light
from beltsight.scene.stains.surface import Surface

_LETTERS = np.array(list(string.ascii_uppercase + string.digits + "  %&.-"))
_FACES = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)  # fmt: skip
_Colour = tuple[int, int, int]


class _Patch(NamedTuple):
    rgb: Photo  # (h, w, 3) sRGB
    alpha: NDArray[np.uint8]  # (h, w)


def add_label(surface: Surface, rng: np.random.Generator) -> Floats:
    """A paper label with a heading, lines of text, perhaps a frame and a barcode."""
    width = _px(surface, rng.uniform(0.3, 0.8))
    height = max(12, round(width * rng.uniform(0.35, 0.9)))
    patch = _blank(height, width, _pale(rng))
    ink = _ink(rng)
    if rng.random() < 0.6:
        top = round(height * rng.uniform(0.15, 0.4))
        patch.rgb[:top] = _vivid(rng)
        _write(patch.rgb, (0, 0, width, top), _pale(rng), rng)
    else:
        top = round(0.08 * height)
    bottom = height
    if rng.random() < 0.3:
        bottom = round(height * 0.72)
        _bars(patch.rgb[bottom + 2 : height - 2, width // 8 : width // 2], rng)
    _lines(patch.rgb, top, bottom, ink, rng)
    if rng.random() < 0.3:
        cv2.rectangle(patch.rgb, (0, 0), (width - 1, height - 1), ink, max(1, width // 60))
    return _laid(surface, patch, rng.uniform(0.9, 1), rng)


def add_sticker(surface: Surface, rng: np.random.Generator) -> Floats:
    """A round or square sticker of one or two colours with a figure or letters."""
    side = _px(surface, rng.uniform(0.12, 0.4))
    patch = _blank(side, side, _vivid(rng) if rng.random() < 0.7 else _pale(rng))
    middle, radius = (side // 2, side // 2), side // 2 - 1
    if rng.random() < 0.6:
        patch.alpha[:] = 0
        cv2.circle(patch.alpha, middle, radius, 255, -1, cv2.LINE_AA)
        cv2.circle(patch.rgb, middle, round(0.85 * radius), _vivid(rng), max(1, side // 30))
    if rng.random() < 0.5:
        _figure(patch.rgb, middle, round(radius * rng.uniform(0.3, 0.6)), _vivid(rng), rng)
    low, high = round(0.38 * side), round(rng.uniform(0.55, 0.7) * side)
    _write(patch.rgb, (round(0.12 * side), low, round(0.88 * side), high), _ink(rng), rng)
    return _laid(surface, patch, 1.0, rng)


def add_barcode(surface: Surface, rng: np.random.Generator) -> Floats:
    """Black bars on white."""
    width = _px(surface, rng.uniform(0.18, 0.4))
    height = max(10, round(width * rng.uniform(0.4, 0.8)))
    patch = _blank(height, width, (244, 244, 240))
    edge = max(1, width // 14)
    _bars(patch.rgb[edge : height - 2 * edge, edge : width - edge], rng)
    _write(patch.rgb, (edge, height - 2 * edge, width - edge, height - 1), (20, 20, 20), rng)
    return _laid(surface, patch, 1.0, rng)


def add_print(surface: Surface, rng: np.random.Generator) -> Floats:
    """Ink on the item itself: large letters, stripes, dots or figures."""
    width = _px(surface, rng.uniform(0.4, 1.1))
    height = max(12, round(width * rng.uniform(0.3, 1)))
    patch = _blank(height, width, (255, 255, 255))
    patch.alpha[:] = 0
    draw = (_print_words, _print_stripes, _print_dots, _print_figures)[rng.integers(4)]
    draw(patch.alpha, rng)
    patch.rgb[:] = _ink(rng) if rng.random() < 0.5 else _vivid(rng)
    return _laid(surface, patch, rng.uniform(0.5, 1), rng)


def add_field(surface: Surface, rng: np.random.Generator) -> Floats:
    """A part of the item in another colour, its edge sharp and straight or round."""
    height, width = surface.solid.shape
    region = np.zeros((height, width), np.uint8)
    (x, y), reach = surface.points(1, rng)[0], surface.unit_px * rng.uniform(0.2, 0.7)
    if rng.random() < 0.3:
        cv2.circle(region, (round(float(x)), round(float(y))), round(reach / 2), 255, -1, 16)
    else:
        turn, far = rng.uniform(0, 180), 4.0 * max(height, width)
        tall = far if rng.random() < 0.4 else reach  # half of it, or a band
        box = ((float(x), float(y + tall / 2)), (far, tall), 0.0)
        corners = cv2.boxPoints(box) - (x, y)
        c, s = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        corners = corners @ np.array([[c, s], [-s, c]]) + (x, y)
        cv2.fillConvexPoly(region, np.rint(corners).astype(np.int32), 255, 16)
    colour = to_light(np.array(_vivid(rng) if rng.random() < 0.6 else _pale(rng), np.uint8))
    share = (region.astype(np.float32) / 255)[:, :, None]
    if rng.random() < 0.5:  # dyed
        return np.asarray(surface.light * (1 - share * (1 - colour)), np.float32)
    painted = colour * surface.white * surface.shade[:, :, None]
    return np.asarray(surface.light + 0.92 * share * (painted - surface.light), np.float32)


def add_tape(surface: Surface, rng: np.random.Generator) -> Floats:
    """A strip of clear, brown or coloured tape with fine folds and some gloss."""
    long, wide = _px(surface, rng.uniform(0.5, 1.6)), _px(surface, rng.uniform(0.08, 0.2))
    tones = ((196, 160, 110), (224, 222, 214), (150, 110, 70), _vivid(rng))
    patch = _blank(wide, long, tones[rng.integers(len(tones))])
    folds = cv2.GaussianBlur(rng.standard_normal((1, long), np.float32), (0, 0), 1.5)
    folds = folds + 0.4 * cv2.GaussianBlur(rng.standard_normal((wide, 1), np.float32), (0, 0), 2)
    lit = patch.rgb * (1 + 0.25 * folds[:, :, None])
    patch.rgb[:] = np.clip(lit, 0, 255).astype(np.uint8)
    return _laid(surface, patch, rng.uniform(0.3, 0.95), rng)


def _px(surface: Surface, part: float) -> int:
    return max(10, round(part * surface.unit_px))


def _blank(height: int, width: int, colour: _Colour) -> _Patch:
    rgb = np.full((height, width, 3), colour, np.uint8)
    return _Patch(rgb, np.full((height, width), 255, np.uint8))


def _pale(rng: np.random.Generator) -> _Colour:
    base = 255 - rng.integers(0, 30) - rng.integers(0, 50, 3) * (rng.random() < 0.4)
    return int(base[0]), int(base[1]), int(base[2])


def _ink(rng: np.random.Generator) -> _Colour:
    dark = rng.integers(0, 60) + rng.integers(0, 60, 3) * (rng.random() < 0.3)
    return int(dark[0]), int(dark[1]), int(dark[2])


def _vivid(rng: np.random.Generator) -> _Colour:
    # Browns and other dull tones, too: a colour alone is no dirt.
    hsv = np.array([[[rng.integers(180), rng.integers(70, 256), rng.integers(60, 256)]]], np.uint8)
    red, green, blue = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return int(red), int(green), int(blue)


def _write(
    rgb: NDArray[np.uint8], box: tuple[int, int, int, int], colour: _Colour | int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """Letters that fill a box's height, as many as fit."""
    x0, y0, x1, y1 = box
    scale = max(0.2, (y1 - y0) / 34)
    text = "".join(rng.choice(_LETTERS, max(1, int((x1 - x0) / (20 * scale)))))
    width = max(1, round(scale * rng.uniform(0.8, 2.5)))
    face = _FACES[rng.integers(len(_FACES))]
    cv2.putText(rgb, text, (x0, y1 - (y1 - y0) // 5), face, scale, colour, width, cv2.LINE_AA)


def _lines(rgb: Photo, top: int, bottom: int, ink: _Colour, rng: np.random.Generator) -> None:
    """Lines of text, or of words too small to read."""
    width = rgb.shape[1]
    row = max(3, round(width * rng.uniform(0.03, 0.1)))
    readable = rng.random() < 0.5 and row >= 7
    left = round(width * rng.uniform(0.04, 0.12))
    for y in range(top + row // 2, bottom - row, round(row * rng.uniform(1.4, 2))):
        if readable:
            _write(rgb, (left, y, width - left, y + row), ink, rng)
            continue
        x = left
        while x < width - left:
            word = max(2, round(row * rng.uniform(0.8, 4)))
            rgb[y : y + max(1, row // 2), x : min(x + word, width - left)] = ink
            x += word + max(2, row // 2)


def _bars(area: Photo, rng: np.random.Generator) -> None:
    if not area.size:
        return
    area[:] = 250
    count = max(8, area.shape[1] // 3)
    edges = np.cumsum(rng.choice([1, 1, 2, 3], count))
    edges = (edges * area.shape[1] / edges[-1]).astype(int)
    for start, end in zip(edges[::2], edges[1::2], strict=False):
        area[:, start : max(end, start + 1)] = 20


def _figure(
    canvas: NDArray[np.uint8], middle: tuple[int, int], radius: int, colour: _Colour | int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """A star, polygon or disc."""
    corners = int(rng.integers(3, 9))
    turns = np.linspace(0, 2 * np.pi, 2 * corners, endpoint=False) + rng.uniform(0, 6)
    reach = np.where(np.arange(2 * corners) % 2, rng.uniform(0.4, 1), 1) * radius
    points = np.stack([np.cos(turns), np.sin(turns)], 1) * reach[:, None] + middle
    cv2.fillPoly(canvas, [np.rint(points).astype(np.int32)], colour, cv2.LINE_AA)


def _print_words(alpha: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = alpha.shape
    rows = int(rng.integers(1, 5))
    for row in range(rows):
        box = (width // 30, row * height // rows, width, (row + 1) * height // rows - 1)
        _write(alpha, box, 255, rng)


def _print_stripes(alpha: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, _ = alpha.shape
    mesh = max(3, round(height * rng.uniform(0.05, 0.4)))
    alpha[(np.arange(height) % mesh) < max(1, round(mesh * rng.uniform(0.2, 0.7)))] = 255


def _print_dots(alpha: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = alpha.shape
    mesh = max(4, round(width * rng.uniform(0.04, 0.15)))
    radius = max(1, round(mesh * rng.uniform(0.15, 0.45)))
    for row, y in enumerate(range(mesh // 2, height, mesh)):
        for x in range(mesh // 2 * (1 + row % 2), width, mesh):
            cv2.circle(alpha, (x, y), radius, 255, -1, cv2.LINE_AA)


def _print_figures(alpha: NDArray[np.uint8], rng: np.random.Generator) -> None:
    height, width = alpha.shape
    for _ in range(int(rng.integers(1, 7))):
        middle = int(rng.integers(width)), int(rng.integers(height))
        radius = max(3, round(min(height, width) * rng.uniform(0.08, 0.35)))
        _figure(alpha, middle, radius, 255, rng)


def _laid(surface: Surface, patch: _Patch, opacity: float, rng: np.random.Generator) -> Floats:
    """The surface's light with a patch on it, turned at random, in the item's own shade."""
    height, width = surface.solid.shape
    rows, columns = patch.alpha.shape
    place = surface.points(1, rng)[0]
    straight = 90.0 * rng.integers(4) + rng.normal(0, 8)
    turn = straight if rng.random() < 0.3 else rng.uniform(0, 360)
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), float(turn), 1.0)
    matrix[:, 2] += place - (columns / 2, rows / 2)
    size = (width, height)
    rgb = cv2.warpAffine(patch.rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(patch.alpha, matrix, size).astype(np.float32) * (opacity / 255)
    seen = to_light(np.asarray(rgb, np.uint8)) * surface.white * surface.shade[:, :, None]
    return np.asarray(surface.light + alpha[:, :, None] * (seen - surface.light), np.float32)
