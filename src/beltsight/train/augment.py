"""Augmentation of prepared photos: P1 equation (2), x~ = T(x) with T drawn at random.

It starts from the output of :func:`beltsight.image.prepare`, so that training sees what
deployment sees, and is bounded so that the item stays in view. torchvision's v2 transforms are
the frame; the pixel work is OpenCV's, since one worker feeds training beside it.

The photo is taken out from between its letterbox bars, changed, and only then moved. A camera
that is darker, blurred or noisy changes the photo and never the bars, which preparation adds
afterwards: so here, too, bars and all that moves into view are exactly the fill. That the bars
turn with the photo cannot be helped without cropping; at zero degrees they are deployment's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from types import MappingProxyType
from typing import Any, final

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from beltsight.config import nearest
from beltsight.errors import ConfigError, ImageError
from beltsight.records import Photo
from beltsight.scene import CutOut, inner_box
from beltsight.train.changes import (
    Fill,
    affine_matrix,
    blur,
    colour_matrix,
    dim,
    lay_over,
    mean_luma,
    move,
    patch_hides,
    recolour,
    shadow_field,
)

Augmentation = Callable[[Tensor], Tensor]
OtherItem = Callable[[], CutOut | None]

_SMALLEST_BLUR_PX = 0.3
_SMALLEST_PATCH = 0.02
_LEAST = 0.3  # share of the most that shadow and noise take, if any: less is not seen
_ITEM_SIDES = (0.3, 0.6)  # longer side of an item laid over, in shorter sides of the photo
_SMALLEST_SIDE_PX = 32  # of a photo that takes an item
_WARP_KNOTS = 5
_TRIES = 10


@dataclass(frozen=True, slots=True)
class Strength:
    """How far each change may go; each amount is drawn evenly up to its bound.

    Args:
        degrees: turn to either side.
        shift: across and down, as a share of the picture's width and height.
        scale: the factor lies within 1 - scale and 1 + scale.
        shear: degrees to either side.
        mirror_x: probability that left and right are exchanged.
        mirror_y: probability that top and bottom are exchanged.
        brightness: the factor lies within 1 - brightness and 1 + brightness; the next two, too.
        contrast: about the mean grey.
        saturation: about each pixel's grey.
        hue: turn of the hue to either side, as a share of the circle.
        warmth: shift of the lamp's colour temperature to either side, in mired.
        warp_probability: probability of a gentle distortion that differs from place to place.
        warp: largest displacement, as a share of the shorter side.
        item_probability: probability that an item of another photo is laid over.
        erase_probability: where no item is, probability of a patch of the fill.
        erase: largest patch, as a share of the photo's area.
        hidden: largest share of the photo's middle (half its width and height) that item or
            patch may hide.
        shade_probability: probability of a soft-edged shadow, a half-plane or an ellipse.
        shade: largest share of the light that it takes.
        blur_probability: probability of blur.
        blur: its largest standard deviation, in pixels.
        noise_probability: probability of noise.
        noise: its largest standard deviation, in levels of 0 to 255.

    Raises:
        ConfigError: a number outside its range.
    """

    degrees: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    mirror_x: float = 0.0
    mirror_y: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    warmth: float = 0.0
    warp_probability: float = 0.0
    warp: float = 0.0
    item_probability: float = 0.0
    erase_probability: float = 0.0
    erase: float = 0.0
    hidden: float = 0.25
    shade_probability: float = 0.0
    shade: float = 0.0
    blur_probability: float = 0.0
    blur: float = 0.0
    noise_probability: float = 0.0
    noise: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value, top = getattr(self, field.name), _TOPS.get(field.name, 1.0)
            if not 0 <= value <= top:  # false for NaN, too
                raise ConfigError(f"{field.name} must lie in 0 to {top:g}, got {value}")


_TOPS = {
    "degrees": 180.0, "shear": 60.0, "scale": 0.9, "warmth": 300.0,
    "blur": 20.0, "noise": 255.0, "warp": 0.1,
}  # fmt: skip

STRENGTHS: Mapping[str, Strength] = MappingProxyType(
    {
        "light": Strength(
            degrees=15, shift=0.05, scale=0.1, mirror_x=0.5,
            brightness=0.15, contrast=0.15, saturation=0.15,
        ),
        "gentle": Strength(
            degrees=180, shift=0.08, scale=0.2, shear=8, mirror_x=0.5, mirror_y=0.5,
            brightness=0.15, contrast=0.15, saturation=0.15, hue=0.01,
        ),
        "plant": Strength(
            degrees=180, shift=0.08, scale=0.2, shear=8, mirror_x=0.5, mirror_y=0.5,
            brightness=0.25, contrast=0.2, saturation=0.2, hue=0.01, warmth=100,
            blur_probability=0.2, blur=1.2, noise_probability=0.3, noise=20,
        ),
        "strong": Strength(
            degrees=180, shift=0.08, scale=0.25, shear=10, mirror_x=0.5, mirror_y=0.5,
            brightness=0.35, contrast=0.35, saturation=0.35, hue=0.03,
            warp_probability=0.1, warp=0.02,
            item_probability=0.15, erase_probability=0.25, erase=0.12, hidden=0.2,
            shade_probability=0.2, shade=0.5, blur_probability=0.15, blur=1.5,
            noise_probability=0.15, noise=10,
        ),
    }
)  # fmt: skip

# Beyond these an item of half the picture's side may leave the view, or cannot be made out.
_LIMITS = Strength(
    degrees=180, shift=0.12, scale=0.35, shear=15, mirror_x=0.5, mirror_y=0.5,
    brightness=0.6, contrast=0.6, saturation=0.7, hue=0.08, warmth=150,
    warp_probability=0.5, warp=0.03,
    item_probability=0.4, erase_probability=0.5, erase=0.2, hidden=0.25,
    shade_probability=0.5, shade=0.7, blur_probability=0.5, blur=2.5,
    noise_probability=0.5, noise=20,
)  # fmt: skip


def more(strength: Strength, factor: float = 1.5) -> Strength:
    """A strength with all its amounts and probabilities raised, within what keeps items in view.

    Args:
        strength: what is raised; what is 0 stays 0, what is beyond the bounds stays.
        factor: at least 1.

    Raises:
        ConfigError: a factor under 1.

    Example:
        >>> more(STRENGTHS["light"]).degrees, more(STRENGTHS["strong"]).degrees
        (22.5, 180)
    """
    if not factor >= 1:
        raise ConfigError(f"factor must be at least 1, got {factor}")
    raised = {}
    for field in fields(strength):
        value, limit = getattr(strength, field.name), getattr(_LIMITS, field.name)
        raised[field.name] = max(value, min(value * factor, limit))
    return Strength(**raised)


def make_augmentation(
    strength: str | Strength, fill: tuple[int, int, int], other: OtherItem | None = None
) -> Augmentation | None:
    """The augmentation of that strength.

    Args:
        strength: ``none``, ``light`` (mirror, small turns and scales, light), ``gentle`` (any
            turn, and no more light than that: for what shows in texture and colour, as dirt
            does), ``plant`` (as gentle, under other lamps and with a poorer camera), ``strong``
            (any turn, larger scales, colour, shadows, blur, noise, partly hidden), or numbers.
        fill: RGB of what moves into view, the letterbox's own, 0 to 255.
        other: gives the item of another photo, to be laid over, or None where it has none; it
            draws from PyTorch's global generator. Without it no item is laid over.

    Returns:
        A function uint8 (3, H, W) -> uint8 (3, H, W) that draws from PyTorch's global generator
        alone, so that its seed decides the result; None for ``none``.

    Raises:
        ConfigError: no strength of that name.
    """
    if strength == "none":
        return None
    if isinstance(strength, str):
        if strength not in STRENGTHS:
            names = ("none", *STRENGTHS)
            raise ConfigError(f"no augmentation {strength!r}; {nearest(strength, names)}")
        strength = STRENGTHS[strength]
    light = [  # in the order of the world: the lamp, the lens, the sensor
        PixelStep(partial(_shade, most=strength.shade), strength.shade_probability),
        PixelStep(partial(_recolour, strength=strength)),
        PixelStep(partial(_blur, most_px=strength.blur), strength.blur_probability),
        PixelStep(partial(_add_noise, most=strength.noise), strength.noise_probability),
    ]
    change = partial(
        _between_bars, strength=strength, fill=fill, light=v2.Compose(light), other=other
    )
    composed: Augmentation = v2.Compose(
        [PixelStep(change), PixelStep(partial(_move, strength=strength, fill=fill))]
    )
    return composed


@final
class PixelStep(v2.Transform):  # type: ignore[misc, unused-ignore]
    """A change of pixels as a torchvision transform of uint8 (3, H, W) tensors.

    Args:
        change: uint8 (H, W, 3) -> uint8 (H, W, 3); leaves what it is given as it is.
        probability: how often it happens.
    """

    def __init__(self, change: Callable[[Photo], Photo], probability: float = 1.0) -> None:
        super().__init__()
        self._change = change
        self._probability = probability

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Whether it happens this time."""
        return {"happens": _happens(self._probability)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """The changed picture, in memory as (H, W, 3)."""
        return _tensor(self._change(_pixels(inpt))) if params["happens"] else inpt


def _between_bars(
    photo: Photo, *, strength: Strength, fill: Fill, light: Augmentation, other: OtherItem | None
) -> Photo:
    """Item or patch, never both: together they might hide what is to be learnt."""
    x0, y0, x1, y1 = inner_box(photo[:, :, :3], fill)
    inside = bare = np.ascontiguousarray(photo[y0:y1, x0:x1, :3])
    item_comes = other is not None and _happens(strength.item_probability)
    if other is not None and item_comes:
        inside = _lay_over(inside, other(), strength.hidden)
    hidden = (inside != bare).any(axis=2)
    inside = lit = _pixels(light(_tensor(inside)))
    if not item_comes and _happens(strength.erase_probability):
        inside = _erase(inside, strength.erase, strength.hidden, fill)
        hidden |= (inside != lit).any(axis=2)
    changed = photo.copy()
    changed[y0:y1, x0:x1, :3] = inside
    changed[y0:y1, x0:x1, 3:][hidden] = 0
    return changed


def _move(photo: Photo, *, strength: Strength, fill: Fill) -> Photo:
    border = (*fill, 0)[: photo.shape[2]]  # of what a mask shows outside, nobody knows
    height, width = photo.shape[:2]
    matrix = affine_matrix(
        (height, width),
        degrees=_around(strength.degrees),
        shift_px=(_around(strength.shift * width), _around(strength.shift * height)),
        scale=1 + _around(strength.scale),
        shear=_around(strength.shear),
        mirror_x=_happens(strength.mirror_x),
        mirror_y=_happens(strength.mirror_y),
    )
    if not _happens(strength.warp_probability):
        return move(photo, matrix, border)
    most_px = strength.warp * min(height, width)
    knots = (torch.rand(2, _WARP_KNOTS, _WARP_KNOTS) * 2 - 1).numpy() * np.float32(most_px)
    return move(photo, matrix, border, knots)


def _recolour(photo: Photo, *, strength: Strength) -> Photo:
    # Warmth draws nothing where there is none, so that strengths without it draw as before it was.
    matrix = colour_matrix(
        mean_luma(photo),
        brightness=1 + _around(strength.brightness),
        contrast=1 + _around(strength.contrast),
        saturation=1 + _around(strength.saturation),
        hue=_around(strength.hue),
        warmth_mired=_around(strength.warmth) if strength.warmth else 0.0,
    )
    return recolour(photo, matrix)


def _shade(photo: Photo, *, most: float) -> Photo:
    ellipse = (_uniform(0.15, 0.5), _uniform(0.15, 0.5)) if _happens(0.5) else None
    field = shadow_field(
        (photo.shape[0], photo.shape[1]),
        depth=_uniform(_LEAST * most, most),
        angle=_uniform(0, 2 * math.pi),
        centre=(_uniform(0.1, 0.9), _uniform(0.1, 0.9)),
        softness=_uniform(0.02, 0.15),
        radii=ellipse,
    )
    return dim(photo, field)


def _blur(photo: Photo, *, most_px: float) -> Photo:
    return blur(photo, _uniform(min(_SMALLEST_BLUR_PX, most_px), most_px))


def _add_noise(photo: Photo, *, most: float) -> Photo:
    noise = torch.randn(photo.shape).mul_(_uniform(_LEAST * most, most)).numpy()
    return np.asarray(cv2.add(photo, noise, dtype=cv2.CV_8U), np.uint8)


def _lay_over(photo: Photo, item: CutOut | None, hidden: float) -> Photo:
    if item is None:
        return photo
    side = min(photo.shape[:2])
    scale = _uniform(*_ITEM_SIDES) * side / max(item.size)
    degrees, mirror = _uniform(0, 360), _happens(0.5)
    angle, reach = _uniform(0, 2 * math.pi), _uniform(0.2, 0.5)
    if side < _SMALLEST_SIDE_PX or scale * min(item.size) < 1:
        return photo  # too small to be seen
    placed = item.transformed(degrees=degrees, scale=scale, mirror=mirror)
    return lay_over(photo, placed, angle=angle, reach=reach, hidden=hidden)


def _erase(photo: Photo, most: float, hidden: float, fill: Fill) -> Photo:
    """A patch of the fill, its sides at most about 1 : 3, as torchvision's RandomErasing."""
    height, width = photo.shape[:2]
    for _ in range(_TRIES):
        area = _uniform(min(_SMALLEST_PATCH, most), most) * height * width
        ratio = math.exp(_around(math.log(3.3)))
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if across >= width or down >= height:
            continue
        x0, y0 = int(_uniform(0, width - across)), int(_uniform(0, height - down))
        box = (x0, y0, x0 + across, y0 + down)
        if patch_hides(box, (height, width)) <= hidden:
            erased = photo.copy()
            erased[box[1] : box[3], box[0] : box[2]] = fill
            return erased
    return photo


def _pixels(picture: Tensor) -> Photo:
    if picture.dtype != torch.uint8 or picture.ndim != 3 or picture.shape[0] not in (3, 4):
        raise ImageError(
            "augmentation takes uint8 (3, H, W), or (4, H, W) with a mask, got "
            f"{picture.dtype} {tuple(picture.shape)}"
        )
    return np.asarray(picture.permute(1, 2, 0).contiguous().numpy(), np.uint8)


def _tensor(photo: Photo) -> Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _around(most: float) -> float:
    return _uniform(-most, most)


def _happens(probability: float) -> bool:
    return torch.rand(()).item() < probability
