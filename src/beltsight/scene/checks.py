"""What every function of the scene asks of its photos and masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ImageError
from beltsight.records import Floats

Box = tuple[int, int, int, int]
SMALLEST_PX = 8  # a photo's shorter side


def check_photo(photo: NDArray[Any], name: str = "photo") -> None:
    """Refuse what is not uint8 (H, W, 3) of at least 8 x 8 pixels.

    Raises:
        ImageError: says what came.
    """
    got = f"{photo.dtype} {photo.shape}" if isinstance(photo, np.ndarray) else type(photo).__name__
    is_rgb = isinstance(photo, np.ndarray) and photo.ndim == 3 and photo.shape[2] == 3
    if not is_rgb or photo.dtype != np.uint8 or min(photo.shape[:2]) < SMALLEST_PX:
        raise ImageError(
            f"the {name} must be uint8 (H, W, 3) RGB of at least {SMALLEST_PX} x {SMALLEST_PX} "
            f"pixels, got {got}; beltsight.prepare makes one from any photo"
        )


def check_mask(mask: NDArray[Any], photo: NDArray[Any]) -> Floats:
    """A mask of a photo as float32 alpha.

    Args:
        mask: bool (H, W), or a float alpha (H, W) from 0 to 1.
        photo: (H, W, 3), of the same height and width.

    Returns:
        float32 (H, W), 0 to 1.

    Raises:
        ImageError: another type, another size, or values outside 0 to 1.
    """
    got = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
    is_array = isinstance(mask, np.ndarray) and mask.dtype.kind in "bf"
    if not is_array or mask.shape != photo.shape[:2]:
        raise ImageError(
            f"the mask must be bool or float {photo.shape[:2]} like its photo, got {got}"
        )
    alpha = mask.astype(np.float32)
    if mask.dtype.kind == "f" and not (alpha.min() >= 0 and alpha.max() <= 1):  # NaN fails, too
        raise ImageError(
            f"a mask's values must lie in 0 to 1, got {float(alpha.min())} to {float(alpha.max())}"
        )
    return alpha
