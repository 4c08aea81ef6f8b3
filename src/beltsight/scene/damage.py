"""What goes wrong between an item and its photo, by name or one by one, with every amount given.

Each change takes a decoded photo, uint8 (H, W, 3) RGB, and leaves it as it is; what is drawn at
random comes from the caller's generator, in the same way whatever the amount, so that larger
amounts of a change are more of the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.config import nearest
from beltsight.errors import ConfigError, ImageError
from beltsight.jpeg import encode_jpeg
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_mask, check_photo
from beltsight.scene.cutout import CutOut
from beltsight.scene.dirt import default_settings, soil
from beltsight.scene.dirt_settings import KINDS
from beltsight.scene.light import to_light, to_photo
from beltsight.scene.relight import relight
from beltsight.scene.vary import dirt_labels

Fill = tuple[int, int, int]
_GREY = np.array([0.299, 0.587, 0.114])
_MOST_HIDDEN = 0.6  # another item is made so large that in the middle it hides this much
_GROWTH = 1.25
_LARGEST = 8.0  # times the size at which it has the item's area
_STEP_PX = 4


@dataclass(frozen=True, slots=True)
class Change:
    """One way in which photos get worse.

    Args:
        title: for people.
        unit: of the amounts.
        neutral: the amount at which a photo stays as it is, bit for bit.
        amounts: five severities, from mild to severe.
        needs_item: photos are passed over whose item's outline cannot be trusted.
    """

    title: str
    unit: str
    neutral: float
    amounts: tuple[float, ...]
    needs_item: bool = False


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "light": Change("darker or brighter", "stops", 0, (0.5, 1, 1.5, 2, 3)),
        "warmth": Change("warmer lamp", "mired", 0, (40, 80, 130, 190, 260)),
        "contrast": Change("less contrast", "of the contrast", 1, (0.8, 0.6, 0.4, 0.25, 0.15)),
        "angle": Change("turned", "degrees", 0, (15, 30, 60, 90, 180)),
        "scale": Change("smaller", "of the size", 1, (0.8, 0.65, 0.5, 0.35, 0.25)),
        "blur": Change("blur", "px, sigma", 0, (1, 2, 3, 5, 8)),
        "noise": Change("noise", "levels, sigma", 0, (8, 16, 28, 45, 70)),
        "jpeg": Change("JPEG", "quality", 100, (50, 30, 18, 10, 5)),
        "occlusion": Change(
            "hidden by another item", "of the item", 0, (0.1, 0.2, 0.3, 0.4, 0.5), True
        ),
        "dirt": Change("simulated dirt", "of the item", 0, (0.1, 0.2, 0.35, 0.5, 0.7), True),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """A changed photo and what its labels have become.

    Args:
        photo: uint8 (H, W, 3) RGB.
        labels: class by task, of those that the change decides.
    """

    photo: Photo
    labels: Mapping[str, str]


def change_photo(
    photo: Photo,
    change: str,
    amount: float,
    seed: int | Sequence[int] = 0,
    *,
    fill: Fill = (128, 128, 128),
    item: Floats | None = None,
    other: CutOut | None = None,
) -> Changed:
    """Make a photo worse.

    Args:
        photo: uint8 (H, W, 3) RGB, decoded; not changed.
        change: a name of :data:`CHANGES`.
        amount: in the change's unit; at the neutral one the photo comes back bit for bit.
        seed: what is drawn (a direction, noise, the kind of dirt) depends on it alone.
        fill: RGB of what comes into view beyond the photo.
        item: float32 (H, W) mask of the item; ``occlusion`` and ``dirt`` need it.
        other: an item to be laid over; ``occlusion`` needs it.

    Raises:
        ConfigError: an unknown change, an impossible amount, or no item or other where needed.
        ImageError: an unsuitable photo or mask.

    Example:
        >>> photo = np.full((48, 64, 3), 100, np.uint8)
        >>> change_photo(photo, "angle", 90).photo.shape
        (64, 48, 3)
    """
    known = check_change(change, amount)
    labels: Mapping[str, str] = {}
    if change == "dirt":
        labels = dirt_labels(0.0, {}, default_settings())
    if amount == known.neutral:
        return Changed(photo, labels)
    rng = np.random.default_rng(seed)
    if not known.needs_item:
        return Changed(_SIMPLE[change](photo, amount, fill, rng), labels)
    if item is None or (change == "occlusion" and other is None):
        raise ConfigError(f"change {change!r} needs the item's mask, and occlusion another item")
    if change == "occlusion":
        assert other is not None
        return Changed(occlude(photo, item, other, amount, rng)[0], labels)
    soiled = soil(photo, item, str(rng.choice(KINDS)), amount, rng)
    shares = {soiled.kind: soiled.share}
    return Changed(soiled.photo, dirt_labels(soiled.share, shares, default_settings()))


def check_change(change: str, amount: float | None = None) -> Change:
    """The change of that name; an amount is checked where given.

    Raises:
        ConfigError: an unknown name, or an amount that cannot be.
    """
    if change not in CHANGES:
        raise ConfigError(f"no change of photos {change!r}; {nearest(change, CHANGES)}")
    low, high = _BOUNDS[change]
    if amount is not None and not low <= amount <= high:  # false for NaN, too
        unit = CHANGES[change].unit
        raise ConfigError(f"{change} must lie in {low:g} to {high:g} ({unit}), got {amount}")
    return CHANGES[change]


def expose(photo: Photo, stops: float, rng: np.random.Generator) -> Photo:
    """Darker or brighter by so many stops: which of both is drawn; over white is cut off."""
    return relight(photo, exposure_ev=_either_way(rng) * stops)


def flatten_contrast(photo: Photo, factor: float) -> Photo:
    """Less contrast about the photo's mean grey.

    Args:
        photo: uint8 (H, W, 3) RGB.
        factor: 1 is the photo, 0 is even grey.

    Example:
        >>> photo = np.zeros((8, 8, 3), np.uint8)
        >>> photo[:4] = 200
        >>> flatten_contrast(photo, 0.5)[[0, 7], 0, 0].tolist()
        [150, 50]
    """
    check_photo(photo)
    mean = float(photo.reshape(-1, 3).mean(axis=0) @ _GREY)
    flat = np.rint(mean + factor * (photo - mean))
    return np.asarray(np.clip(flat, 0, 255), np.uint8)


def turn(photo: Photo, degrees: float, fill: Fill, rng: np.random.Generator) -> Photo:
    """Turn the photo, to a side that is drawn; the frame grows so that nothing is cut off.

    Args:
        photo: uint8 (H, W, 3) RGB.
        degrees: how far.
        fill: RGB of the corners that come into view.
        rng: draws the side.
    """
    check_photo(photo)
    height, width = photo.shape[:2]
    middle = ((width - 1) / 2, (height - 1) / 2)
    around = cv2.getRotationMatrix2D(middle, _either_way(rng) * degrees, 1.0)
    matrix: NDArray[np.float64] = np.asarray(around, np.float64)
    reach = np.abs(matrix[:, :2]) @ (width, height)
    size = (int(np.ceil(reach[0] - 1e-6)), int(np.ceil(reach[1] - 1e-6)))
    matrix[:, 2] += np.array([size[0] - width, size[1] - height]) / 2
    turned = cv2.warpAffine(photo, matrix, size, flags=cv2.INTER_LINEAR, borderValue=fill)
    return np.asarray(turned, np.uint8)


def move_away(photo: Photo, factor: float, fill: Fill) -> Photo:
    """The photo at ``factor`` of its size in the middle of its old frame, ``fill`` around it."""
    check_photo(photo)
    height, width = photo.shape[:2]
    size = max(1, round(width * factor)), max(1, round(height * factor))
    frame = np.empty_like(photo)
    frame[:] = fill
    x0, y0 = (width - size[0]) // 2, (height - size[1]) // 2
    small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    frame[y0 : y0 + size[1], x0 : x0 + size[0]] = small
    return frame


def defocus(photo: Photo, sigma_px: float) -> Photo:
    """Gaussian blur of this standard deviation."""
    check_photo(photo)
    return np.asarray(cv2.GaussianBlur(photo, (0, 0), sigma_px), np.uint8)


def add_noise(photo: Photo, sigma: float, rng: np.random.Generator) -> Photo:
    """Noise of each pixel and colour, of this standard deviation in levels of 0 to 255."""
    check_photo(photo)
    grain = rng.standard_normal(photo.shape, np.float32) * np.float32(sigma)
    return np.clip(np.rint(photo + grain), 0, 255).astype(np.uint8)


def compress(photo: Photo, quality: int) -> Photo:
    """Through a JPEG of this quality, 1 to 100, colours at half resolution."""
    check_photo(photo)
    jpeg = np.frombuffer(encode_jpeg(photo, int(quality)), np.uint8)
    decoded = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[:, :, ::-1])


def occlude(
    photo: Photo,
    item_mask: NDArray[np.generic],
    other: CutOut,
    share: float,
    rng: np.random.Generator,
) -> tuple[Photo, float]:
    """Push another item over the item, from a side that is drawn, until it hides enough.

    Args:
        photo: uint8 (H, W, 3) RGB.
        item_mask: bool or float alpha (H, W), e.g. of :func:`find_foreground`.
        other: what lies over it; turned by an angle that is drawn, and scaled to about the
            item's area, or larger where else it could not hide the largest shares.
        share: of the item's pixels that are to be hidden, 0 to 0.6.
        rng: draws side and angle.

    Returns:
        The photo, and the share that is hidden: the first over what was asked as the other comes
        nearer in steps of a pixel.

    Raises:
        ImageError: an unsuitable photo, or a mask without item.
        ConfigError: a share outside 0 to 0.6.

    Example:
        >>> photo = np.full((64, 64, 3), 180, np.uint8)
        >>> mask = np.zeros((64, 64), bool)
        >>> mask[12:52, 12:52] = True
        >>> other = CutOut(np.zeros((30, 30, 3), np.uint8), np.ones((30, 30), np.float32))
        >>> hidden = occlude(photo, mask, other, 0.3, np.random.default_rng(0))[1]
        >>> 0.3 <= hidden < 0.35
        True
    """
    check_photo(photo)
    if not 0 <= share <= _MOST_HIDDEN:
        raise ConfigError(f"the hidden share must lie in 0 to {_MOST_HIDDEN}, got {share}")
    item = check_mask(item_mask, photo) >= 0.5
    if not item.any():
        raise ImageError("the mask holds no item to hide; pass over photos without an outline")
    angle, degrees = rng.uniform(0, 2 * math.pi), rng.uniform(0, 360)
    rows, columns = np.nonzero(item)
    centre = np.array([columns.mean(), rows.mean()])
    placed = _large_enough(other, item, centre, degrees)
    solid = placed.alpha >= 0.5
    way = np.array([math.cos(angle), math.sin(angle)])
    far = math.hypot(np.ptp(columns), np.ptp(rows)) + math.hypot(*placed.size)

    def corner(distance: float) -> tuple[int, int]:
        left, top = np.floor(centre + way * distance - np.array(placed.size) / 2 + 0.5)
        return int(left), int(top)

    def hidden(distance: float) -> float:
        return _hidden(item, solid, corner(distance))

    distance = far
    while distance > 0 and hidden(distance) < share:
        distance -= _STEP_PX
    distance += _STEP_PX
    while distance > 0 and hidden(distance) < share:
        distance -= 1
    return _laid(photo, placed, corner(distance)), hidden(distance)


def _large_enough(
    other: CutOut, item: NDArray[np.bool_], centre: NDArray[np.float64], degrees: float
) -> CutOut:
    area = max(float((other.alpha >= 0.5).sum()), 1.0)
    scale = math.sqrt(float(item.sum()) / area)
    largest = scale * _LARGEST
    while True:
        placed = other.transformed(degrees=degrees, scale=scale)
        left, top = np.floor(centre - np.array(placed.size) / 2 + 0.5)
        if _hidden(item, placed.alpha >= 0.5, (int(left), int(top))) >= _MOST_HIDDEN:
            return placed
        scale *= _GROWTH
        if scale > largest:
            return placed


def _overlap(start: int, length: int, frame: int) -> tuple[slice, slice]:
    """One axis: where something lies in the frame, and which part of it that is."""
    first, last = min(max(0, start), frame), max(min(frame, start + length), 0)
    return slice(first, max(first, last)), slice(first - start, max(first, last) - start)


def _hidden(item: NDArray[np.bool_], solid: NDArray[np.bool_], left_top: tuple[int, int]) -> float:
    """The share of the item under something whose box has its corner there."""
    columns, own_columns = _overlap(left_top[0], solid.shape[1], item.shape[1])
    rows, own_rows = _overlap(left_top[1], solid.shape[0], item.shape[0])
    under = item[rows, columns] & solid[own_rows, own_columns]
    return float(under.sum()) / float(item.sum())


def _laid(photo: Photo, placed: CutOut, left_top: tuple[int, int]) -> Photo:
    """As :func:`beltsight.scene.paste` without a shadow, for items larger than the frame, too."""
    columns, own_columns = _overlap(left_top[0], placed.size[0], photo.shape[1])
    rows, own_rows = _overlap(left_top[1], placed.size[1], photo.shape[0])
    laid = photo.copy()
    under = to_light(photo[rows, columns])
    over = to_light(placed.rgb[own_rows, own_columns])
    cover = placed.alpha[own_rows, own_columns, None]
    laid[rows, columns] = to_photo(under + cover * (over - under))
    return laid


def _either_way(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


_SIMPLE: Mapping[str, Callable[[Photo, float, Fill, np.random.Generator], Photo]] = {
    "light": lambda photo, amount, fill, rng: expose(photo, amount, rng),
    "warmth": lambda photo, amount, fill, rng: relight(photo, warmth_mired=amount),
    "contrast": lambda photo, amount, fill, rng: flatten_contrast(photo, amount),
    "angle": turn,
    "scale": lambda photo, amount, fill, rng: move_away(photo, amount, fill),
    "blur": lambda photo, amount, fill, rng: defocus(photo, amount),
    "noise": lambda photo, amount, fill, rng: add_noise(photo, amount, rng),
    "jpeg": lambda photo, amount, fill, rng: compress(photo, round(amount)),
}
_BOUNDS = {
    "light": (0, 8), "warmth": (0, 370), "contrast": (0, 1), "angle": (0, 180), "scale": (0.02, 1),
    "blur": (0, 100), "noise": (0, 255), "jpeg": (1, 100), "occlusion": (0, 0.6), "dirt": (0, 1),
}  # fmt: skip
