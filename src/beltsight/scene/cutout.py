"""An item without its ground, ready to be turned and pasted."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.records import Floats, Photo
from beltsight.scene.checks import check_mask, check_photo

_SOLID = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class CutOut:
    """An item's pixels and how far each is item.

    Args:
        rgb: uint8 (h, w, 3). Where alpha is 0 the item's colours go on, so that an edge that is
            scaled or blurred mixes with no trace of the old ground.
        alpha: float32 (h, w), 0 to 1.
    """

    rgb: Photo
    alpha: Floats

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.alpha.shape[1], self.alpha.shape[0]

    def scaled(self, factor: float) -> CutOut:
        """Larger or smaller by a factor over 0."""
        return self.transformed(scale=factor)

    def mirrored(self) -> CutOut:
        """Left and right exchanged, exactly."""
        return CutOut(np.ascontiguousarray(self.rgb[:, ::-1]), self.alpha[:, ::-1].copy())

    def transformed(
        self, *, degrees: float = 0.0, scale: float = 1.0, mirror: bool = False
    ) -> CutOut:
        """Mirror, then turn and scale, sampled once: each further sampling would blur.

        Args:
            degrees: counterclockwise.
            scale: a factor over 0.
            mirror: exchange left and right first.

        Raises:
            ImageError: a scale that is not a number over 0, or leaves less than one pixel.
        """
        start = self.mirrored() if mirror else self
        if not (np.isfinite(degrees) and np.isfinite(scale) and scale > 0):
            raise ImageError(
                f"a cut-out is turned by degrees and scaled by a factor over 0, "
                f"got {degrees} degrees and {scale}"
            )
        if degrees % 360 == 0 and scale == 1:
            return start
        width, height = start.size
        middle = ((width - 1) / 2, (height - 1) / 2)
        matrix = np.asarray(cv2.getRotationMatrix2D(middle, degrees, scale), np.float64)
        turned = np.abs(matrix[:, :2]) @ (width, height)
        size = (int(np.ceil(turned[0] - 1e-6)), int(np.ceil(turned[1] - 1e-6)))
        if min(turned) < 1:
            raise ImageError(
                f"a cut-out of {width} x {height} pixels scaled by {scale} has no pixel left"
            )
        matrix[:, 2] += np.array([size[0] - width, size[1] - height]) / 2
        return _warped(start, matrix, size, scale)


def cut_out(photo: Photo, mask: NDArray[np.generic]) -> CutOut:
    """Cut an item out of its photo.

    Args:
        photo: uint8 (H, W, 3) RGB.
        mask: bool or float alpha (H, W), e.g. of :func:`find_foreground`.

    Returns:
        The item in the smallest box that holds it. Colours of pixels that are part ground are
        replaced by those of the item beside them.

    Raises:
        ImageError: an unsuitable photo or mask, or a mask without any item.

    Example:
        >>> photo = np.full((40, 40, 3), 200, np.uint8)
        >>> mask = np.zeros((40, 40), bool)
        >>> mask[10:20, 5:35] = True
        >>> cut_out(photo, mask).size
        (30, 10)
    """
    check_photo(photo)
    alpha = check_mask(mask, photo)
    rows = np.flatnonzero((alpha > 0).any(axis=1))
    columns = np.flatnonzero((alpha > 0).any(axis=0))
    if not rows.size or alpha.max() < 0.5:
        raise ImageError(
            "the mask holds no item to cut out: no pixel is half item or more; "
            "a Foreground with confidence 0 has found nothing and is to be passed over"
        )
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    item = alpha[box].copy()
    return CutOut(_spread_colours(photo[box], item), item)


def _spread_colours(rgb: Photo, alpha: Floats) -> Photo:
    """Colours of the solid item carried outwards over its soft edge and beyond."""
    solid = alpha >= min(_SOLID, float(alpha.max()))
    inner = cv2.erode(solid.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    known = inner if inner.any() else solid
    if known.all():
        return np.ascontiguousarray(rgb)
    # Each unknown pixel takes the colour of the nearest known one, softened a little.
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    table[nearest[known]] = rgb[known]
    carried = cv2.blur(table[nearest], (3, 3))
    return np.where(solid[:, :, None], rgb, carried)


def _warped(
    start: CutOut, matrix: NDArray[np.float64], size: tuple[int, int], scale: float
) -> CutOut:
    sigma = 0.35 * (1 / scale - 1)  # sampling alone would skip pixels where it shrinks
    rgb = cv2.GaussianBlur(start.rgb, (0, 0), sigma) if sigma > 0.1 else start.rgb
    alpha = cv2.GaussianBlur(start.alpha, (0, 0), sigma) if sigma > 0.1 else start.alpha
    colours = cv2.warpAffine(
        rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    cover = cv2.warpAffine(
        alpha, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0
    )
    return CutOut(np.asarray(colours, np.uint8), np.asarray(np.clip(cover, 0, 1), np.float32))
