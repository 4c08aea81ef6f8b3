"""Minority synthesis: items cut out, varied, and laid on the grounds of other photos.

P1 balances its small classes by copying and by synthesising photos; it does not say how. Here an
item keeps its pixels and gets another place, size, turn, ground, shadow and light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DatasetError
from beltsight.records import Floats, Photo
from beltsight.scene import (
    CutOut,
    Shadow,
    clear_background,
    cut_out,
    find_foreground,
    inner_box,
    paste,
    relight,
)
from beltsight.scene.checks import SMALLEST_PX, Box
from beltsight.scene.light import to_light, to_photo

_ITEM_SHARES = (0.03, 0.6)
_GROUND_SHARE = 0.5  # an item over more of its photo leaves too little ground to learn from
_CUT_BY_FRAME = 0.02  # of height and width: a longer straight cut would show
_TRIES = 60  # photos tried for a ground before the item's own will do
_TURNS = 8
_KEPT = 256  # photos taken apart and kept: 90 MB at 224 pixels


@dataclass(frozen=True, slots=True)
class Variation:
    """How far synthesised photos go from their sources.

    Args:
        scale: smallest and largest factor of the item's size.
        exposure_ev: brightness, up or down, in stops.
        gradient_ev: light from one side, up to so many stops between the sides.
        warmth_mired: colour temperature, up or down, in mired.
        match: how far the item's light is led to its new ground's, 0 to 1.
    """

    scale: tuple[float, float] = (0.8, 1.2)
    exposure_ev: float = 0.2
    gradient_ev: float = 0.4
    warmth_mired: float = 12.0
    match: float = 0.9


class _Scene(NamedTuple):
    """A training photo without its bars, and where its item is."""

    photo: Photo
    box: Box
    inner: Photo
    mask: Floats
    is_trusted: bool


def synthesize(
    photos: NDArray[np.uint8],
    labels: NDArray[np.integer],
    wanted: Mapping[int, int],
    *,
    seed: int,
    fill: tuple[int, int, int],
    variation: Variation = Variation(),
    names: Sequence[str] = (),
) -> Iterator[tuple[Photo, int]]:
    """Make photos of items on the grounds of other photos, one at a time.

    Args:
        photos: uint8 (N, H, W, 3), prepared; may be memory-mapped. Training photos only: items
            and grounds come from here.
        labels: integer (N,), class indices; below 0 where unknown.
        wanted: how many photos to make of each class index.
        seed: the same seed, photos and labels give the same photos.
        fill: RGB of the letterbox. A made photo has the bars of the photo its ground is from.
        variation: how far to vary.
        names: of the classes, for errors.

    Returns:
        An iterator of (uint8 (H, W, 3), class index), class by class in ``wanted``'s order. Items
        whose outline is not trustworthy, or that the frame cuts, are not used; each other item
        of a class is used once before any is used again.

    Raises:
        DatasetError: at once for photos, labels or counts that do not fit, and as soon as a class
            has no usable item.
    """
    _check(photos, labels, wanted)
    return _made(photos, labels, wanted, seed, fill, variation, names)


def _check(
    photos: NDArray[np.uint8], labels: NDArray[np.integer], wanted: Mapping[int, int]
) -> None:
    if photos.ndim != 4 or photos.shape[3] != 3 or photos.dtype != np.uint8:
        raise DatasetError(
            f"synthesis needs photos as uint8 (N, H, W, 3), got {photos.dtype} {photos.shape}"
        )
    if labels.shape != photos.shape[:1] or labels.dtype.kind not in "iu":
        raise DatasetError(
            f"synthesis needs one class index for each of {len(photos)} photos, "
            f"got {labels.dtype} {labels.shape}"
        )
    for label, count in wanted.items():
        if count < 0:
            raise DatasetError(f"class {label}: the number of photos to make is {count}, not 0 up")
        if count and not (labels == label).any():
            raise DatasetError(f"class {label} has no photo from which an item could be cut out")


def _made(
    photos: NDArray[np.uint8],
    labels: NDArray[np.integer],
    wanted: Mapping[int, int],
    seed: int,
    fill: tuple[int, int, int],
    variation: Variation,
    names: Sequence[str],
) -> Iterator[tuple[Photo, int]]:
    scene = lru_cache(_KEPT)(lambda index: _take_apart(np.array(photos[index]), fill))
    for label, count in wanted.items():
        members = np.flatnonzero(labels == label)[: None if count else 0]
        usable = [int(index) for index in members if _is_item(scene(int(index)))]
        if count and not usable:
            name = names[label] if names else label
            raise DatasetError(
                f"class {name}: none of its {len(members)} photos shows an item that can be cut "
                "out: each is too faint, too small, too large, or cut by the frame; use "
                "balance = 'copies' or 'weights' instead"
            )
        for number in range(count):
            lap, place = divmod(number, len(usable))
            order = np.random.default_rng([seed, label, 0, lap]).permutation(len(usable))
            item = scene(usable[int(order[place])])
            rng = np.random.default_rng([seed, label, 1, number])
            ground = _choose_ground(scene, len(photos), rng) or item
            yield _compose(item, ground, rng, variation), label


def _take_apart(photo: Photo, fill: tuple[int, int, int]) -> _Scene:
    x0, y0, x1, y1 = box = inner_box(photo, fill)
    inner = photo[y0:y1, x0:x1]
    if min(inner.shape[:2]) < SMALLEST_PX:  # a strip: neither an item nor ground to lay one on
        return _Scene(photo, box, inner, np.zeros(inner.shape[:2], np.float32), False)
    found = find_foreground(inner)
    return _Scene(photo, box, inner, found.mask, found.is_trusted)


def _is_item(scene: _Scene) -> bool:
    """Trusted, of a usable size, and whole."""
    solid = scene.mask >= 0.5
    if not scene.is_trusted or not _ITEM_SHARES[0] <= solid.mean() <= _ITEM_SHARES[1]:
        return False
    at_frame = solid[0].sum() + solid[-1].sum() + solid[:, 0].sum() + solid[:, -1].sum()
    height, width = solid.shape
    return bool(at_frame <= _CUT_BY_FRAME * (height + width))


def _choose_ground(
    scene: Callable[[int], _Scene], count: int, rng: np.random.Generator
) -> _Scene | None:
    for index in rng.integers(count, size=_TRIES):
        found = scene(int(index))
        if found.is_trusted and (found.mask >= 0.5).mean() <= _GROUND_SHARE:
            return found
    return None


def _compose(item: _Scene, ground: _Scene, rng: np.random.Generator, variation: Variation) -> Photo:
    bare = clear_background(ground.inner, ground.mask)
    if rng.random() < 0.5:
        bare = np.ascontiguousarray(bare[:, ::-1])
    height, width = bare.shape[:2]
    piece = _vary(cut_out(item.inner, item.mask), (width, height), rng, variation)
    # Real items lie about the middle.
    slack = np.array([width, height]) - piece.size
    corner = rng.triangular(0, 0.5, 1, size=2) * slack
    centre = corner + np.array(piece.size) / 2
    piece = _match_light(piece, item, bare, centre, variation.match)
    pasted = paste(
        bare, piece, (float(centre[0]), float(centre[1])), shadow=_draw_shadow(piece, rng)
    )
    x0, y0, x1, y1 = ground.box
    photo = ground.photo.copy()
    photo[y0:y1, x0:x1] = relight(
        pasted.photo,
        exposure_ev=rng.uniform(-1, 1) * variation.exposure_ev,
        gradient_ev=rng.uniform(0, 1) * variation.gradient_ev,
        direction_deg=rng.uniform(0, 360),
        warmth_mired=rng.uniform(-1, 1) * variation.warmth_mired,
    )
    return photo


def _vary(
    whole: CutOut, room: tuple[int, int], rng: np.random.Generator, variation: Variation
) -> CutOut:
    """Mirror, turn and scale. Of a few turns the first that needs little shrinking is taken."""
    scale, mirror = rng.uniform(*variation.scale), bool(rng.random() < 0.5)
    best: tuple[float, float] = (0.0, 0.0)
    for degrees in rng.uniform(0, 360, size=_TURNS):
        turn = np.deg2rad(degrees)
        across, down = abs(np.cos(turn)), abs(np.sin(turn))
        wide = whole.size[0] * across + whole.size[1] * down
        high = whole.size[0] * down + whole.size[1] * across
        fit = min((room[0] - 2) / wide, (room[1] - 2) / high, scale)
        if fit > best[0]:
            best = (fit, float(degrees))
        if fit >= variation.scale[0]:
            break
    return whole.transformed(degrees=best[1], scale=best[0], mirror=mirror)


def _match_light(
    piece: CutOut, item: _Scene, bare: Photo, centre: NDArray[np.float64], match: float
) -> CutOut:
    """The item as it would look in its new ground's light, judged by the two grounds."""
    away = item.mask < 0.02
    left, top = np.maximum(centre - np.array(piece.size) / 2, 0).astype(int)
    under = bare[top : top + piece.size[1], left : left + piece.size[0]]
    before = to_light(item.inner[away]).mean(axis=0) if away.any() else np.ones(3)
    after = to_light(under).mean(axis=(0, 1))
    gains = np.clip((after + 0.01) / (before + 0.01), 0.4, 2.5) ** match
    return CutOut(to_photo(to_light(piece.rgb) * gains.astype(np.float32)), piece.alpha)


def _draw_shadow(piece: CutOut, rng: np.random.Generator) -> Shadow:
    size = float(np.sqrt(piece.size[0] * piece.size[1]))
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.01, 0.05) * size
    return Shadow(
        offset_xy_px=(float(np.cos(angle) * reach), float(np.sin(angle) * reach)),
        blur_px=float(rng.uniform(0.02, 0.06) * size),
        opacity=float(rng.uniform(0.2, 0.55)),
    )
