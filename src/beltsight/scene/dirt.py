"""Simulated dirt on an item: soiled photo, exact mask, exact covered share.

Each kind of dirt draws a field over the item and covers its highest pixels first. What they share
is the choice of the threshold, so that the share comes out as asked, and mixing in linear light.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.config import nearest
from beltsight.errors import ConfigError, ImageError
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_mask, check_photo
from beltsight.scene.dirt_settings import KINDS, DirtSettings, load_dirt_settings
from beltsight.scene.light import to_light, to_photo
from beltsight.scene.stains import STAINS
from beltsight.scene.stains.surface import Cover, Look, make_surface, measure_white

_Value = TypeVar("_Value", bound=np.generic)
_FEWEST_PX = 16
# Mean change of sqrt(light), in which the eye's steps are about equal; less could not be seen.
_FAINTEST = 0.1
_MOST_GAIN = 4.0
_SHARPEST_PX = 0.8
_LARGER = 1.2  # how much larger than it counts a stain may seem by its soft edge


@dataclass(frozen=True, slots=True, eq=False)
class Soiled:
    """A photo with simulated dirt.

    Args:
        photo: uint8 (H, W, 3) RGB.
        alpha: float32 (H, W), 0 to 1: how far each pixel is dirty, soft at the edge.
        mask: bool (H, W): the dirty pixels of the item.
        share: their part of the item's pixels, 0 to 1, exactly.
        kind: what it is dirty with.
    """

    photo: Photo
    alpha: Floats
    mask: NDArray[np.bool_]
    share: float
    kind: str


def soil(
    photo: Photo,
    item_mask: NDArray[np.generic],
    kind: str,
    share: float,
    rng: np.random.Generator | int,
    *,
    settings: DirtSettings | None = None,
) -> Soiled:
    """Lay simulated dirt of one kind on an item.

    Args:
        photo: uint8 (H, W, 3) RGB; not changed.
        item_mask: bool or float alpha (H, W), e.g. of :func:`find_foreground`. The item is where it
            is 0.5 and more, at least 16 pixels; where it is 0 the photo stays bit for bit.
        kind: one of :data:`KINDS`.
        share: of the item's pixels, 0 to 1; comes out to the nearest whole pixel.
        rng: a generator, or a seed.
        settings: the ranges that size, edge and strength are drawn from; the packaged ones by
            default.

    Raises:
        ImageError: an unsuitable photo or mask, or a mask that holds no item.
        ConfigError: an unknown kind, a kind that the settings lack, or a share outside 0 to 1.

    Example:
        >>> photo = np.full((64, 64, 3), 180, np.uint8)
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[12:52, 12:52] = True
        >>> soiled = soil(photo, mask, "mud", 0.25, 7)
        >>> soiled.share, int(soiled.mask.sum())
        (0.25, 400)
    """
    chosen = default_settings() if settings is None else settings
    check_kind(kind, chosen)
    check_share(share)
    item = make_item(photo, item_mask)
    rng = np.random.default_rng(rng)
    look = chosen.kinds[kind].look(rng)
    layer = lay_dirt(item, kind, look, round(share * item.pixels), rng)
    return Soiled(
        item.photo_with(layer.light),
        item.spread(layer.alpha),
        item.spread(layer.mask),
        float(layer.mask.sum()) / item.pixels,
        kind,
    )


@dataclass(frozen=True, slots=True, eq=False)
class LitItem:
    """An item in its box, in linear light, and the photo it is from.

    Args:
        photo: uint8 (H, W, 3).
        box: rows and columns of the item's box.
        light: float32 (h, w, 3), linear.
        alpha: float32 (h, w), 0 to 1.
        solid: bool (h, w): at least half item.
        white: float32 (3,), see :func:`measure_white`.
    """

    photo: Photo
    box: tuple[slice, slice]
    light: Floats
    alpha: Floats
    solid: NDArray[np.bool_]
    white: Floats

    @property
    def pixels(self) -> int:
        """The item's area."""
        return int(self.solid.sum())

    def photo_with(self, light: Floats) -> Photo:
        """The photo with other light in the item's box."""
        photo = self.photo.copy()
        photo[self.box] = to_photo(light)
        return photo

    def spread(self, field: NDArray[_Value]) -> NDArray[_Value]:
        """A field over the box as one over the photo, 0 elsewhere."""
        full = np.zeros(self.photo.shape[:2], field.dtype)
        full[self.box] = field
        return full


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One kind of dirt on an item: its box's light with it, and where it lies."""

    light: Floats
    alpha: Floats
    mask: NDArray[np.bool_]


def make_item(photo: Photo, item_mask: NDArray[np.generic]) -> LitItem:
    """Check photo and mask, and take the item's box out.

    Raises:
        ImageError: an unsuitable photo or mask, or fewer than 16 pixels of item.
    """
    check_photo(photo)
    alpha = check_mask(item_mask, photo)
    solid = alpha >= 0.5
    if solid.sum() < _FEWEST_PX:
        raise ImageError(
            f"the mask holds no item to soil: expected at least {_FEWEST_PX} pixels that are half "
            f"item or more, got {int(solid.sum())}; pass over photos in which nothing was found"
        )
    rows, columns = (np.flatnonzero((alpha > 0).any(axis=axis)) for axis in (1, 0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return LitItem(photo, box, to_light(photo[box]), alpha[box], solid[box], measure_white(photo))


def lay_dirt(
    item: LitItem,
    kind: str,
    look: Look,
    pixels: int,
    rng: np.random.Generator,
    *,
    taken: NDArray[np.bool_] | None = None,
) -> Layer:
    """Cover so many pixels of an item.

    Args:
        item: its ``light`` is what the dirt is laid on.
        kind: one of :data:`KINDS`.
        look: drawn by the settings of the kind.
        pixels: how many pixels of the item become dirty that were not, at most all.
        rng: moved on.
        taken: bool (h, w), pixels that are dirty already; this dirt may lie on them, too.
    """
    free = item.solid if taken is None else item.solid & ~taken
    pixels = min(pixels, int(free.sum()))
    if pixels == 0:
        empty = np.zeros(item.solid.shape, np.float32)
        return Layer(item.light, empty, empty > 0)
    surface = make_surface(item.light, item.solid, item.white)
    draft = STAINS[kind](surface, look, pixels / item.pixels, rng)
    cover = cover_pixels(draft.height, free, pixels, look.edge * surface.unit_px)
    alpha = cover.alpha * item.alpha
    mask = item.solid & (cover.alpha >= 0.5)
    change = _seen(item.light, draft.coat(cover) - item.light, alpha, mask)
    return Layer(np.clip(item.light + alpha[:, :, None] * change, 0, 1), alpha, mask)


def cover_pixels(height: Floats, free: NDArray[np.bool_], pixels: int, edge_px: float) -> Cover:
    """Find the threshold over which exactly so many free pixels lie.

    Args:
        height: float32 (h, w); the highest pixels are covered first.
        free: bool (h, w): the pixels that count. Others are covered by the same threshold.
        pixels: how many, 1 to all that are free.
        edge_px: width of the soft edge; made narrower where it would make small spots seem larger
            than they count.
    """
    values = height[free]
    order = np.argpartition(values, len(values) - pixels)
    threshold = values[order[len(values) - pixels]]
    covered = height >= threshold
    chosen = np.zeros(len(values), bool)  # of equal values, so many as are wanted
    chosen[order[len(values) - pixels :]] = True
    covered[free] = chosen
    bits = covered.astype(np.uint8)
    depth_px = cv2.distanceTransform(bits, cv2.DIST_L2, 3) if not covered.all() else bits * 1e3
    depth_px = depth_px - cv2.distanceTransform(1 - bits, cv2.DIST_L2, 3) - (bits - 0.5)
    return Cover(
        _soft(np.asarray(depth_px, np.float32), free, pixels, edge_px),
        np.asarray(depth_px, np.float32),
        np.asarray(height - threshold, np.float32),
    )


def _soft(depth_px: Floats, free: NDArray[np.bool_], pixels: int, edge_px: float) -> Floats:
    """Alpha by the distance to the edge: 0.5 there, in sum about as much as is covered."""
    while True:
        alpha = np.clip(0.5 + depth_px / np.float32(2 * max(edge_px, _SHARPEST_PX)), 0, 1)
        if edge_px <= _SHARPEST_PX or alpha[free].sum() <= _LARGER * pixels:
            return np.asarray(alpha, np.float32)
        edge_px /= 2


@cache
def default_settings() -> DirtSettings:
    """The packaged settings, read once."""
    return load_dirt_settings()


def check_kind(kind: str, settings: DirtSettings) -> None:
    """Refuse an unknown kind, or one without settings.

    Raises:
        ConfigError: names the nearest.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind of dirt {kind!r}; {nearest(str(kind), KINDS)}")
    if kind not in settings.kinds:
        raise ConfigError(f"the settings of dirt have no table [kinds.{kind}]")


def check_share(share: float) -> None:
    """Refuse a share outside 0 to 1.

    Raises:
        ConfigError: says what came.
    """
    if not 0 <= share <= 1:  # false for NaN, too
        raise ConfigError(f"the covered share must lie in 0 to 1, got {share}")


def _seen(light: Floats, change: Floats, alpha: Floats, mask: NDArray[np.bool_]) -> Floats:
    """The change, made larger where it could not be seen: what is labelled dirty must show."""
    few = slice(None, None, 2), slice(None, None, 2)
    at = mask[few] if mask[few].any() else mask
    here = few if at is not mask else (slice(None), slice(None))
    before, added = light[here][at], change[here][at] * alpha[here][at][:, None]
    after = np.sqrt(np.clip(before + added, 0, 1))
    shown = float(np.abs(after - np.sqrt(before)).mean())
    if shown >= _FAINTEST:
        return change
    return change * np.float32(min(_FAINTEST / max(shown, 1e-4), _MOST_GAIN))
