"""A moving belt with known items, for tests and benchmarks of finding and following.

The belt is a long strip that is painted once; a frame is a window of it under the camera's light,
blurred by motion, with the sensor's noise. Items are cut from the packaged photos.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
from benchmarks.outcome import DEMO
from numpy.typing import NDArray

import beltsight
from beltsight.scene import CutOut, Shadow, cut_out, find_foreground, paste

PX_PER_MM = 1.28
WIDTH_PX, HEIGHT_PX = 1280, 720
WIDTH_MM, HEIGHT_MM = 1000.0, 562.5
FRAMES_PER_S = 30.0
SPEED_MM_S = 2500.0
BELTS = {
    "dark": (46, 47, 50),
    "grey": (112, 114, 112),
    "green": (38, 84, 62),
    "white": (196, 198, 192),
}
_CELL = 4  # pixels, of the map of what is taken
Photo = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """What the strip and its frames look like.

    Args:
        belt: a name of ``BELTS``.
        rate_per_s: items per second at 2.5 m/s.
        length_mm: of belt.
        gap_mm: least gap between items; negative lets them overlap by so much.
        item: ``photo`` as photographed, ``dark``, ``clear`` (transparent) or ``paper``.
        dirt: marks per metre of belt.
        drift: the lamps' slow change over the strip, as a share.
        shadow: a shadow that wanders over the view.
        at_edges: items may hang over the belt's sides.
        heaped: share of the items that lie against another, as near as ``gap_mm`` allows.
    """

    seed: int = 0
    belt: str = "dark"
    rate_per_s: float = 8.0
    length_mm: float = 12_000.0
    gap_mm: float = 20.0
    item: str = "photo"
    dirt: float = 12.0
    drift: float = 0.25
    shadow: bool = True
    noise: float = 3.0
    at_edges: bool = False
    heaped: float = 0.0


@dataclass(frozen=True)
class Truth:
    """An item on the strip: its box in mm, ``s`` along the belt, and which photo it is."""

    s0: float
    s1: float
    lateral0: float
    lateral1: float
    photo: str

    @property
    def s(self) -> float:
        return (self.s0 + self.s1) / 2

    @property
    def lateral(self) -> float:
        return (self.lateral0 + self.lateral1) / 2


@dataclass(frozen=True, eq=False)
class Strip:
    """A painted belt. Its column 0 is farthest upstream: seen last."""

    scene: Scene
    pixels: Photo
    items: tuple[Truth, ...]
    field: NDArray[np.float32]
    grain: NDArray[np.int16]

    @property
    def first_mm(self) -> float:
        """The odometer at which the strip begins to fill the view."""
        return WIDTH_MM / 2

    @property
    def last_mm(self) -> float:
        """The odometer at which it still does."""
        return self.scene.length_mm - WIDTH_MM / 2

    def frame(self, position_mm: float, number: int = 0, blur_px: float = 3.2) -> Photo:
        """What the camera sees: uint8 (720, 1280, 3) RGB."""
        start = round((self.scene.length_mm - position_mm) * PX_PER_MM - WIDTH_PX / 2)
        start = min(max(start, 0), self.pixels.shape[1] - WIDTH_PX)
        window = self.pixels[:, start : start + WIDTH_PX]
        if blur_px >= 1.5:
            window = np.asarray(cv2.blur(window, (round(blur_px), 1)), np.uint8)
        light = self.field * np.float32(self._lamp(position_mm))
        if self.scene.shadow:
            light = light * _wandering_shadow(number)
        lit = window * light[:, :, None]
        rows, columns = np.random.default_rng([self.scene.seed, number]).integers(0, 200, 2)
        grain = self.grain[rows : rows + HEIGHT_PX, columns : columns + WIDTH_PX]
        return np.clip(lit + grain, 0, 255).astype(np.uint8)

    def _lamp(self, position_mm: float) -> float:
        way = position_mm / 9000.0 + self.scene.seed
        return 1 + self.scene.drift * float(np.sin(2 * np.pi * way)) / 2


def paint(scene: Scene) -> Strip:
    """Paint a strip of belt with items."""
    rng = np.random.default_rng(scene.seed)
    pixels = _paint_belt(scene, rng)
    items = _lay_items(pixels, scene, rng)
    rows, columns = np.mgrid[-1 : 1 : HEIGHT_PX * 1j, -1 : 1 : WIDTH_PX * 1j]
    field = 1.06 - 0.18 * (rows**2 + columns**2) / 2 + 0.06 * columns * rng.uniform(-1, 1)
    grain = rng.normal(0, scene.noise, (HEIGHT_PX + 200, WIDTH_PX + 200, 3))
    return Strip(scene, pixels, items, field.astype(np.float32), np.rint(grain).astype(np.int16))


def steady(strip: Strip, speed_mm_s: float = SPEED_MM_S) -> Iterator[tuple[float, float]]:
    """(time, odometer) of the frames of a belt at one speed."""
    position, time_s = strip.first_mm, 0.0
    while position <= strip.last_mm:
        yield time_s, position
        position += speed_mm_s / FRAMES_PER_S
        time_s += 1 / FRAMES_PER_S


def _wandering_shadow(number: int) -> NDArray[np.float32]:
    """Somebody walks by: a wide soft shadow."""
    centre = (number * 5.0) % (2 * WIDTH_PX) - WIDTH_PX / 2
    across = np.exp(-(((np.arange(WIDTH_PX) - centre) / 260) ** 2))
    return (1 - 0.3 * across).astype(np.float32)[None, :]


def _paint_belt(scene: Scene, rng: np.random.Generator) -> Photo:
    width = round(scene.length_mm * PX_PER_MM)
    base = np.array(BELTS[scene.belt], np.float32)
    weave = rng.normal(0, 0.05, (HEIGHT_PX, width)).astype(np.float32)
    weave = np.asarray(cv2.blur(weave, (3, 3)) * 2, np.float32)
    cloud = rng.normal(0, 1, (HEIGHT_PX // 24, width // 24)).astype(np.float32)
    weave += 0.04 * cv2.resize(cloud, (width, HEIGHT_PX), interpolation=cv2.INTER_CUBIC)
    lanes = cv2.blur(rng.normal(0, 0.25, (HEIGHT_PX, 1)).astype(np.float32), (1, 25))
    weave += lanes
    strip = base * (1 + weave)[:, :, None]
    _lay_dirt(strip, scene, rng)
    joint = round(rng.uniform(0.2, 0.8) * width)
    strip[:, joint : joint + 5] *= 0.75
    return np.asarray(np.clip(strip, 0, 255), np.uint8)


def _lay_dirt(strip: NDArray[np.float32], scene: Scene, rng: np.random.Generator) -> None:
    """Smears, crumbs and scratches, none of them an item."""
    height, width = strip.shape[:2]
    covers = np.zeros((2, height, width), np.float32)  # soft ones, and some with an edge
    for _ in range(round(scene.dirt * scene.length_mm / 1000)):
        cover = covers[int(rng.integers(2))]
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        kind = rng.random()
        if kind < 0.4:  # a smear along the belt
            axes = int(rng.integers(15, 90)), int(rng.integers(4, 14))
            cv2.ellipse(cover, (x, y), axes, float(rng.normal(0, 8)), 0, 360,
                        float(rng.uniform(0.05, 0.25)), -1)  # fmt: skip
        elif kind < 0.8:  # a crumb
            cv2.circle(cover, (x, y), int(rng.integers(2, 9)), float(rng.uniform(0.2, 0.6)), -1)
        else:  # a scratch
            end = x + int(rng.integers(-200, 200)), y + int(rng.integers(-20, 20))
            cv2.line(cover, (x, y), end, float(rng.uniform(0.1, 0.35)), 1)
    brown = np.array((92, 78, 60), np.float32)
    for cover, softness in zip(covers, (2.0, 0.7), strict=True):
        strip += cv2.GaussianBlur(cover, (0, 0), softness)[:, :, None] * (brown - strip)


@cache
def cut_items() -> tuple[tuple[str, CutOut], ...]:
    """The packaged items whose outline is to be trusted."""
    found = []
    for path in sorted(DEMO.glob("*/*.jpg")):
        photo = _decoded(path)
        seen = find_foreground(photo)
        if seen.is_trusted:
            found.append((path.stem, cut_out(photo, seen.mask)))
    return tuple(found)


def _decoded(path: Any) -> Photo:
    """A photo at its own size."""
    return beltsight.prepare(path, beltsight.Preparation(384, 512))


def _make_item(scene: Scene, rng: np.random.Generator) -> tuple[str, CutOut]:
    items = cut_items()
    name, item = items[int(rng.integers(len(items)))]
    if scene.item == "paper":
        ratio = rng.uniform(0.5, 1.0)
        sheet = np.full((200, round(200 * ratio), 3), 236, np.uint8)
        sheet[:, sheet.shape[1] // 2 :] = 228  # a crease
        name, item = "paper", CutOut(sheet, np.ones(sheet.shape[:2], np.float32))
    turned = item.transformed(degrees=float(rng.uniform(0, 360)))
    rows, columns = np.nonzero(turned.alpha >= 0.5)
    inside = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
    turned = CutOut(turned.rgb[inside].copy(), turned.alpha[inside].copy())
    side_px = rng.uniform(60, 150) * PX_PER_MM
    sized = turned.scaled(side_px / max(turned.size))
    if scene.item == "dark":
        level = 24.0 / max(float(sized.rgb[sized.alpha > 0.5].mean()), 1.0)
        sized = CutOut(np.clip(sized.rgb * level, 0, 255).astype(np.uint8), sized.alpha)
    if scene.item == "clear":
        sized = _cleared(sized)
    return name, sized


def _cleared(item: CutOut) -> CutOut:
    """Clear plastic or glass: a rim, highlights, and hardly anything between."""
    solid = (item.alpha >= 0.5).astype(np.uint8)
    inside = cv2.distanceTransform(cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_CONSTANT),
                                   cv2.DIST_L2, 3)[1:-1, 1:-1]  # fmt: skip
    grey = cv2.cvtColor(item.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    bright = np.clip((grey - 190) / 65, 0, 1)
    cover = 0.06 + 0.30 * np.exp(-inside / 2.5) + 0.25 * bright
    return CutOut(item.rgb, (item.alpha * np.clip(cover, 0, 1)).astype(np.float32))


def _lay_items(pixels: Photo, scene: Scene, rng: np.random.Generator) -> tuple[Truth, ...]:
    """Lay items one after the other where there is room for them."""
    taken = np.zeros((pixels.shape[0] // _CELL + 80, pixels.shape[1] // _CELL + 80), np.uint8)
    laid: list[Truth] = []
    for _ in range(round(scene.rate_per_s * scene.length_mm / SPEED_MM_S)):
        name, item = _make_item(scene, rng)
        for _ in range(60):
            if laid and rng.random() < scene.heaped:
                centre = _beside(taken, item, laid[int(rng.integers(len(laid)))], scene, rng)
            else:
                centre = _somewhere(pixels, item, scene, rng)
            if centre is not None and _is_free(taken, item, centre, scene.gap_mm):
                laid.append(_lay(pixels, taken, item, centre, scene, name))
                break
    return tuple(sorted(laid, key=lambda truth: truth.s1))


def _somewhere(
    pixels: Photo, item: CutOut, scene: Scene, rng: np.random.Generator
) -> tuple[float, float]:
    height, width = pixels.shape[:2]
    over = 0.4 if scene.at_edges else 0.0
    low, high = item.size[1] * (0.5 - over), height - item.size[1] * (0.5 - over)
    x = float(rng.uniform(item.size[0], width - item.size[0]))
    return x, float(rng.choice([low, high]) if scene.at_edges else rng.uniform(low, high))


def _beside(
    taken: Photo, item: CutOut, other: Truth, scene: Scene, rng: np.random.Generator
) -> tuple[float, float] | None:
    """From far towards another item until the next step would lie on it."""
    angle = rng.uniform(0, 2 * np.pi)
    middle = (scene.length_mm - other.s) * PX_PER_MM, other.lateral * PX_PER_MM
    best = None
    for way in range(260, 0, -_CELL):
        centre = (
            middle[0] + way * float(np.cos(angle)),
            middle[1] + way * float(np.sin(angle)),
        )
        half = item.size[1] / 2
        if not half <= centre[1] <= HEIGHT_PX - half:
            continue
        if not _is_free(taken, item, centre, scene.gap_mm):
            break
        best = centre
    return best


def _footprint(item: CutOut, centre: tuple[float, float]) -> tuple[Photo, int, int]:
    """An item's cells on the map of what is taken, and where they begin."""
    size = (item.size[0] // _CELL + 1, item.size[1] // _CELL + 1)
    solid = (item.alpha > 0.02).astype(np.uint8)
    cells = np.asarray(cv2.resize(solid, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    left, top = round(centre[0] - item.size[0] / 2), round(centre[1] - item.size[1] / 2)
    return cells, top // _CELL + 40, left // _CELL + 40


def _is_free(taken: Photo, item: CutOut, centre: tuple[float, float], gap_mm: float) -> bool:
    cells, row, column = _footprint(item, centre)
    reach = round(abs(gap_mm) * PX_PER_MM / _CELL)
    if gap_mm > 0:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
        cells = np.asarray(cv2.dilate(np.pad(cells, reach), disc), np.uint8)
        row, column = row - reach, column - reach
    elif gap_mm < 0:
        cells = np.asarray(cv2.erode(cells, np.ones((reach, reach)), borderValue=0), np.uint8)
    place = taken[max(row, 0) : row + cells.shape[0], max(column, 0) : column + cells.shape[1]]
    return place.shape == cells.shape and not bool((place & cells).any())


def _lay(
    pixels: Photo, taken: Photo, item: CutOut, centre: tuple[float, float], scene: Scene, name: str
) -> Truth:
    cells, row, column = _footprint(item, centre)
    mine = taken[row : row + cells.shape[0], column : column + cells.shape[1]]
    np.maximum(mine, cells, out=mine)
    _paste(pixels, item, centre, scene)
    left, top = round(centre[0] - item.size[0] / 2), round(centre[1] - item.size[1] / 2)
    ends = (left + item.size[0], left)
    sides = (max(top, 0), min(top + item.size[1], pixels.shape[0]))
    s0, s1 = (scene.length_mm - end / PX_PER_MM for end in ends)
    return Truth(s0, s1, sides[0] / PX_PER_MM, sides[1] / PX_PER_MM, name)


def _paste(pixels: Photo, item: CutOut, centre: tuple[float, float], scene: Scene) -> None:
    margin = max(item.size) + 40
    x0 = max(0, int(centre[0]) - margin)
    window = pixels[:, x0 : int(centre[0]) + margin]
    shadow = None if scene.item == "clear" else Shadow((3, 5), 4.0, 0.35)
    pasted = paste(np.ascontiguousarray(window), item, (centre[0] - x0, centre[1]), shadow=shadow)
    window[:] = pasted.photo


def with_seed(scene: Scene, seed: int) -> Scene:
    """The same kind of scene, drawn anew."""
    return replace(scene, seed=seed)
