"""What augmentation does to a photo, with every amount given: nothing here is drawn at random.

Photos are uint8 (H, W, 3) RGB and are left as they are; numpy and OpenCV do the work.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats, Photo
from beltsight.scene import CutOut, Shadow, cut_out, find_foreground, inner_box, paste
from beltsight.scene.relight import lamp_gains

Fill = tuple[int, int, int]

_LUMA = np.array([0.299, 0.587, 0.114])
_YIQ = np.array([_LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_GAMMA = 2.2
_FIELD_CELLS = 32  # shadows are drawn so small, then enlarged
_SMALLEST_SIDE_PX = 32  # of a photo that gives an item


def affine_matrix(
    size: tuple[int, int],
    *,
    degrees: float = 0.0,
    shift_px: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    shear: float = 0.0,
    mirror_x: bool = False,
    mirror_y: bool = False,
) -> NDArray[np.float64]:
    """One matrix for mirror, shear, scale, turn and shift about the picture's middle.

    Args:
        size: (height, width) in pixels.
        degrees: clockwise, as torchvision's.
        shift_px: right and down.
        scale: over 0.
        shear: degrees, along the width.
        mirror_x, mirror_y: exchange left and right, top and bottom, first.

    Returns:
        float64 (2, 3): pixel centres of the picture -> pixel centres of the result.
    """
    turn, slant = math.radians(degrees), math.tan(math.radians(shear))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    mirror = np.diag([-1.0 if mirror_x else 1.0, -1.0 if mirror_y else 1.0])
    linear = scale * rotation @ np.array([[1.0, -slant], [0.0, 1.0]]) @ mirror
    middle = np.array([size[1] - 1, size[0] - 1]) / 2
    return np.column_stack([linear, middle + shift_px - linear @ middle])


def colour_matrix(
    mean_luma: float,
    *,
    brightness: float = 1.0,
    contrast: float = 1.0,
    saturation: float = 1.0,
    hue: float = 0.0,
    warmth_mired: float = 0.0,
) -> NDArray[np.float64]:
    """One matrix for torchvision's four changes of colour, linear, so without order; then the lamp.

    Args:
        mean_luma: the photo's mean grey, about which contrast grows.
        brightness, contrast, saturation: factors, 1 for no change.
        hue: share of the circle. It turns the plane of I and Q of YIQ instead of the H of HSV:
            luma stays, and small turns differ little.
        warmth_mired: see :func:`lamp_gains <beltsight.scene.relight.lamp_gains>`; on sRGB values,
            as if their curve were a power: near to what linear light would give, and quick.

    Returns:
        float64 (3, 4): RGB and 1 -> RGB.
    """
    turn = -2 * math.pi * hue  # I and Q run against H
    rotation = np.eye(3)
    rotation[1:, 1:] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    grey = np.tile(_LUMA, (3, 1))
    colour = saturation * np.linalg.inv(_YIQ) @ rotation @ _YIQ + (1 - saturation) * grey
    lift = (1 - contrast) * brightness * mean_luma
    changed = np.column_stack([brightness * contrast * colour, np.full(3, lift)])
    return lamp_gains(warmth_mired)[:, None] ** (1 / _GAMMA) * changed if warmth_mired else changed


def shadow_field(
    size: tuple[int, int],
    *,
    depth: float,
    angle: float,
    centre: tuple[float, float],
    softness: float,
    radii: tuple[float, float] | None = None,
) -> Floats:
    """What a soft-edged shadow leaves of the light.

    Args:
        size: (height, width) in pixels.
        depth: share of the light that it takes at its darkest.
        angle: radians that the shadow's first axis is turned by; a half-plane lies beyond its
            edge in that direction.
        centre: (x, y) of the ellipse's middle or of a point on the edge, in 0 to 1.
        softness: half the width of the edge, as a share of the side.
        radii: of the ellipse, as shares of the side; None for a half-plane.

    Returns:
        float32 (H, W), 1 - depth to 1.
    """
    steps = (np.arange(_FIELD_CELLS, dtype=np.float32) + 0.5) / _FIELD_CELLS
    x, y = steps[None, :] - centre[0], steps[:, None] - centre[1]
    along = x * math.cos(angle) + y * math.sin(angle)
    inside = along
    if radii is not None:
        across = y * math.cos(angle) - x * math.sin(angle)
        inside = (1 - np.hypot(along / radii[0], across / radii[1])) * min(radii)
    field = 1 - depth * 0.5 * (1 + np.tanh(inside / softness))
    enlarged = cv2.resize(field.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged, np.float32)


def recolour(photo: Photo, matrix: NDArray[np.float64]) -> Photo:
    """Apply a :func:`colour_matrix`; what leaves 0 to 255 is cut off."""
    return np.asarray(cv2.transform(photo, matrix), np.uint8)


def mean_luma(photo: Photo) -> float:
    """The mean grey, 0 to 255."""
    return float(_LUMA @ cv2.mean(photo)[:3])


def dim(photo: Photo, field: Floats) -> Photo:
    """Multiply by a :func:`shadow_field`."""
    return np.asarray(cv2.multiply(photo, cv2.merge([field] * 3), dtype=cv2.CV_8U), np.uint8)


def blur(photo: Photo, sigma_px: float) -> Photo:
    """Gaussian blur; 5 pixels wide up to a deviation of 1.5, as torchvision was set before."""
    side = 2 * max(2, round(1.5 * sigma_px)) + 1
    return np.asarray(cv2.GaussianBlur(photo, (side, side), sigma_px), np.uint8)


def move(
    photo: Photo, matrix: NDArray[np.float64], fill: tuple[int, ...], knots: Floats | None = None
) -> Photo:
    """Move a picture in one sampling, bilinear.

    Args:
        photo: the picture, with any number of channels.
        matrix: of :func:`affine_matrix`.
        fill: a value per channel of what moves into view.
        knots: float32 (2, k, k), displacements right and down in pixels at k x k places, with
            a smooth surface between them; None for none.
    """
    height, width = photo.shape[:2]
    constant = cv2.BORDER_CONSTANT
    if knots is None:
        size = (width, height)
        moved = cv2.warpAffine(
            photo, matrix, size, flags=cv2.INTER_LINEAR, borderMode=constant, borderValue=fill
        )
        return np.asarray(moved, np.uint8)
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float32)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    fields = [cv2.resize(one, (width, height), interpolation=cv2.INTER_CUBIC) for one in knots]
    across, down = (
        row[0] * x[None, :] + row[1] * y[:, None] + row[2] - field
        for row, field in zip(back, fields, strict=True)
    )
    moved = cv2.remap(photo, across, down, cv2.INTER_LINEAR, borderMode=constant, borderValue=fill)
    return np.asarray(moved, np.uint8)


def item_of(photo: Photo, fill: Fill) -> CutOut | None:
    """The item of a prepared photo, or None where no outline is to be trusted."""
    x0, y0, x1, y1 = inner_box(photo, fill)
    inside = photo[y0:y1, x0:x1]
    if min(inside.shape[:2]) < _SMALLEST_SIDE_PX:
        return None
    found = find_foreground(inside, "difference")
    return cut_out(inside, found.mask) if found.is_trusted else None


def lay_over(photo: Photo, item: CutOut, *, angle: float, reach: float, hidden: float) -> Photo:
    """Lay an item over a photo, as far in as it may.

    Args:
        photo: at least as large as the item.
        item: as it is to be seen.
        angle: radians, clockwise from right: the side that it comes from.
        reach: how near to the middle its own middle comes, as a share of the photo's side.
        hidden: largest share of the photo's middle that it may hide; it moves out until then.
    """
    height, width = photo.shape[:2]
    while True:
        centre = width * (0.5 + reach * math.cos(angle)), height * (0.5 + reach * math.sin(angle))
        if hidden_share(item, centre, (height, width)) <= hidden:
            break
        reach += 0.02  # ends beyond the frame at the latest
    unit = min(height, width) / 256
    shadow = Shadow((2 * unit, 3 * unit), 4 * unit)
    return paste(photo, item, centre, shadow=shadow).photo


def hidden_share(item: CutOut, centre_xy: tuple[float, float], size: tuple[int, int]) -> float:
    """The share of a photo's middle, half its width and height, that an item there hides.

    Args:
        item: as it is to be seen.
        centre_xy: where the middle of its box lies, in pixels.
        size: (height, width) of the photo in pixels.
    """
    x0, y0, x1, y1 = middle_box(size)
    left, top = (round(c - side / 2) for c, side in zip(centre_xy, item.size, strict=True))
    rows = slice(max(0, y0 - top), max(0, y1 - top))
    columns = slice(max(0, x0 - left), max(0, x1 - left))
    return float(item.alpha[rows, columns].sum()) / ((x1 - x0) * (y1 - y0))


def middle_box(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the middle of a photo of this (height, width): half of each.

    Example:
        >>> middle_box((100, 200))
        (50, 25, 150, 75)
    """
    height, width = size
    return width // 4, height // 4, width - width // 4, height - height // 4


def patch_hides(box: tuple[int, int, int, int], size: tuple[int, int]) -> float:
    """The share of a photo's middle that a box (x0, y0, x1, y1) hides.

    Example:
        >>> patch_hides((0, 0, 100, 50), (100, 200))
        0.25
    """
    x0, y0, x1, y1 = middle_box(size)
    across = max(0, min(box[2], x1) - max(box[0], x0))
    down = max(0, min(box[3], y1) - max(box[1], y0))
    return across * down / ((x1 - x0) * (y1 - y0))
