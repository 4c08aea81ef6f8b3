"""The whole recipe for a photo with simulated dirt, or without.

Clean and dirty photos go the same way: the item is taken out in linear light, gets harmless things,
dirt or none, folds and light, is mixed back by its mask, and the whole passes camera and JPEG. So
among made photos no trace of the making tells clean from dirty. Photos that did not go this way
lack those traces: beside made ones they must not be what clean looks like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ConfigError
from beltsight.image import decode
from beltsight.jpeg import encode_jpeg
from beltsight.records import CONTAMINATION, DIRT, NO_DIRT, Floats, Photo
from beltsight.scene.dirt import (
    LitItem,
    check_kind,
    check_share,
    default_settings,
    lay_dirt,
    make_item,
)
from beltsight.scene.dirt_settings import Camera, DirtSettings, Harmless
from beltsight.scene.harmless import LIT, PRINTED, Overlay, cast_shadow
from beltsight.scene.light import to_light, to_photo
from beltsight.scene.stains.surface import make_surface


@dataclass(frozen=True, slots=True, eq=False)
class Varied:
    """A photo made by the recipe, with its truth.

    Args:
        photo: uint8 (H, W, 3) RGB, decoded from ``jpeg``.
        jpeg: the encoded photo, to be written as it is: encoding again would be a second loss.
        quality: of the JPEG.
        alpha: float32 (H, W), 0 to 1: how far each pixel is dirty.
        mask: bool (H, W): the dirty pixels of the item.
        share: their part of the item's pixels, exactly.
        kinds: share by kind, in the order in which they were laid; they sum to ``share``.
        harmless: names of what else was laid on.
        labels: class by task, ``contamination`` and, where the dirt has a label, ``dirt``.
    """

    photo: Photo
    jpeg: bytes
    quality: int
    alpha: Floats
    mask: NDArray[np.bool_]
    share: float
    kinds: Mapping[str, float]
    harmless: tuple[str, ...]
    labels: Mapping[str, str]


def vary_photo(
    photo: Photo,
    item_mask: NDArray[np.generic],
    rng: np.random.Generator | int,
    *,
    share: float | None = None,
    kinds: Sequence[str] | None = None,
    settings: DirtSettings | None = None,
) -> Varied:
    """Make a clean or dirty variant of a photo of an item.

    Args:
        photo: uint8 (H, W, 3) RGB; not changed.
        item_mask: bool or float alpha (H, W), e.g. of :func:`find_foreground`; whether it is to be
            trusted is the caller's matter.
        rng: a generator, or a seed. With the same seed a photo gets the same harmless things, light
            and camera whatever its dirt.
        share: covered share of the item, 0 to 1; drawn by the settings where not given.
        kinds: the kinds to choose from, e.g. all but one that is held out; those of the settings
            where not given.
        settings: see ``assets/dirt.toml``; the packaged ones by default.

    Raises:
        ImageError: an unsuitable photo or mask, or a mask that holds no item.
        ConfigError: an unknown kind, none that may be drawn, or a share outside 0 to 1.

    Example:
        >>> photo = np.full((64, 64, 3), 180, np.uint8)
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[12:52, 12:52] = True
        >>> made = vary_photo(photo, mask, 3, share=0.4, kinds=["food"])
        >>> made.share, dict(made.kinds), dict(made.labels)
        (0.4, {'food': 0.4}, {'contamination': 'heavily', 'dirt': 'organic'})
    """
    chosen = default_settings() if settings is None else settings
    allowed = _allowed(kinds, chosen)
    if share is not None:
        check_share(share)
    item = make_item(photo, item_mask)
    seeds = np.random.default_rng(rng).integers(2**63, size=5)
    plan, printed, dirt, lit, camera = (np.random.default_rng(seed) for seed in seeds)
    wanted = chosen.draw.share(plan) if share is None else share
    item, under = _overlaid(item, PRINTED, chosen.harmless, printed)
    parts = _parts(round(wanted * item.pixels), allowed, chosen, plan)
    item, alpha, mask, kinds_px = _soiled(item, parts, chosen, dirt)
    item, over = _overlaid(item, LIT, chosen.harmless, lit)
    made, shadow = _shadowed(item, chosen.harmless, lit)
    jpeg, quality = _photographed(made, chosen.camera, camera)
    shares = {kind: count / item.pixels for kind, count in kinds_px.items()}
    covered = float(mask.sum()) / item.pixels
    return Varied(
        decode(jpeg),
        jpeg,
        quality,
        item.spread(alpha),
        item.spread(mask),
        covered,
        MappingProxyType(shares),
        under + over + shadow,
        MappingProxyType(dirt_labels(covered, shares, chosen)),
    )


def dirt_labels(share: float, kinds: Mapping[str, float], settings: DirtSettings) -> dict[str, str]:
    """The classes of an item by what it is covered with.

    Args:
        share: covered share of the item, 0 to 1.
        kinds: share by kind of dirt.
        settings: levels, and the kinds' labels.

    Returns:
        ``contamination``: the level. ``dirt``: ``none`` for a clean item; else the first of the
        settings' labels whose kinds together would make a level of their own (``organic`` before
        ``dust``, since that decides for paper); else the label of the largest part. Without
        ``dirt`` where that has no label.

    Example:
        >>> dirt_labels(0.3, {"dust": 0.24, "grease": 0.06}, default_settings())
        {'contamination': 'heavily', 'dirt': 'organic'}
        >>> dirt_labels(0.3, {"dust": 0.27, "grease": 0.03}, default_settings())
        {'contamination': 'heavily', 'dirt': 'dust'}
        >>> dirt_labels(0.3, {"wet": 0.3}, default_settings())
        {'contamination': 'heavily'}
    """
    level = settings.levels.name(share)
    if share < settings.levels.partly:
        return {CONTAMINATION: level, DIRT: NO_DIRT}
    by_label: dict[str | None, float] = {}
    for kind, part in kinds.items():
        label = settings.kinds[kind].label
        by_label[label] = by_label.get(label, 0.0) + part
    first = (name for name in settings.labels if by_label.get(name, 0) >= settings.levels.partly)
    label = next(first, max(by_label, key=lambda name: by_label[name], default=None))
    return {CONTAMINATION: level} | ({DIRT: label} if label else {})


def _allowed(kinds: Sequence[str] | None, settings: DirtSettings) -> dict[str, float]:
    """Weight by kind that may be drawn."""
    names = tuple(settings.kinds) if kinds is None else tuple(kinds)
    for name in names:
        check_kind(name, settings)
    weights = {name: settings.kinds[name].weight for name in names if settings.kinds[name].weight}
    if not weights:
        raise ConfigError(
            f"no kind of dirt to draw from: {list(names)} have no weight over 0 in the settings"
        )
    return weights


def _parts(
    pixels: int, allowed: Mapping[str, float], settings: DirtSettings, rng: np.random.Generator
) -> dict[str, int]:
    """Pixels by kind: mostly one kind, sometimes two that share them."""
    names, weights = list(allowed), np.array(list(allowed.values()))
    count = 1 + int(rng.random() < settings.draw.two_kinds and len(names) > 1)
    chosen = rng.choice(names, count, replace=False, p=weights / weights.sum())
    first = round(pixels * (rng.uniform(0.2, 0.8) if count == 2 else 1.0))
    parts = dict(zip((str(name) for name in chosen), (first, pixels - first), strict=False))
    return {name: part for name, part in parts.items() if part}


def _soiled(
    item: LitItem, parts: Mapping[str, int], settings: DirtSettings, rng: np.random.Generator
) -> tuple[LitItem, Floats, NDArray[np.bool_], dict[str, int]]:
    """The item with its dirt, the dirt's alpha and mask, and what each kind added, in pixels."""
    alpha = np.zeros(item.solid.shape, np.float32)
    mask = np.zeros(item.solid.shape, bool)
    added: dict[str, int] = {}
    for kind, pixels in parts.items():
        look = settings.kinds[kind].look(rng)
        layer = lay_dirt(item, kind, look, pixels, rng, taken=mask)
        added[kind] = int((layer.mask & ~mask).sum())
        item = replace(item, light=layer.light)
        alpha, mask = np.maximum(alpha, layer.alpha), mask | layer.mask
    return item, alpha, mask, added


def _overlaid(
    item: LitItem,
    overlays: Mapping[str, Overlay],
    harmless: Harmless,
    rng: np.random.Generator,
) -> tuple[LitItem, tuple[str, ...]]:
    """The item with each overlay that its probability lets come."""
    names = tuple(name for name in overlays if rng.random() < getattr(harmless, name))
    cover = item.alpha[:, :, None]
    for name in names:
        surface = make_surface(item.light, item.solid, item.white)
        changed = overlays[name](surface, rng)
        item = replace(item, light=np.clip(item.light + cover * (changed - item.light), 0, 1))
    return item, names


def _shadowed(
    item: LitItem, harmless: Harmless, rng: np.random.Generator
) -> tuple[Photo, tuple[str, ...]]:
    photo = item.photo_with(item.light)
    if rng.random() >= harmless.shadow:
        return photo, ()
    height, width = photo.shape[:2]
    lit = cast_shadow(height, width, float(np.sqrt(item.pixels)), rng)
    return to_photo(to_light(photo) * lit), ("shadow",)


def _photographed(photo: Photo, camera: Camera, rng: np.random.Generator) -> tuple[bytes, int]:
    """A little blur, the sensor's noise, and JPEG."""
    blur, noise = rng.uniform(*camera.blur_px), rng.uniform(*camera.noise)
    if blur > 0.15:
        photo = np.asarray(cv2.GaussianBlur(photo, (0, 0), blur), np.uint8)
    grain = np.float32(noise) * rng.standard_normal(photo.shape[:2], np.float32)
    # The same for the three colours: JPEG keeps little of the difference.
    noisy = np.clip(np.rint(photo + grain[:, :, None]), 0, 255).astype(np.uint8)
    quality = int(rng.integers(camera.quality[0], camera.quality[1] + 1))
    return encode_jpeg(noisy, quality), quality
