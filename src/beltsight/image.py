"""From anything that holds a photo to the model's input: the only preparation there is.

Training, evaluation, service and line all call :func:`prepare`. The photo is decoded as a
viewer would show it, then letterboxed: scaled to fit and padded, so that no part of an
item is ever cropped away.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import cv2
import numpy as np

from beltsight.errors import ConfigError, DecodeError, ImageError, TooLargeError
from beltsight.records import Photo

if TYPE_CHECKING:
    from PIL import Image

Source: TypeAlias = Union[str, "os.PathLike[str]", bytes, Photo, "Image.Image"]

MAX_PIXELS = 64_000_000
MAX_BYTES = 256_000_000
# Formats of cameras and the web only: no vector or document formats, whose decoders run programs.
# MPO (two JPEGs in one file) opens by way of JPEG; named here, it is a KeyError for every other format.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
)
# A viewer shows what is transparent on its page, and a page is white.
_PAGE = 255


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a photo becomes model input; stored in the model's card.

    Args:
        height: rows of the prepared photo, in pixels.
        width: columns of the prepared photo, in pixels.
        fill: RGB of the padding, 0 to 255.

    Scaling averages over areas when it shrinks and is bilinear when it enlarges.
    """

    height: int = 224
    width: int = 224
    fill: tuple[int, int, int] = (128, 128, 128)

    def __post_init__(self) -> None:
        if not (8 <= self.height <= 4096 and 8 <= self.width <= 4096):
            raise ConfigError(
                f"image size must be 8 to 4096 pixels a side, got {self.height} x {self.width}"
            )
        if len(self.fill) != 3 or not all(0 <= c <= 255 for c in self.fill):
            raise ConfigError(f"letterbox fill must be three values 0 to 255, got {self.fill}")


def prepare(source: Source, preparation: Preparation = Preparation()) -> Photo:
    """Decode, orient and letterbox one photo.

    Args:
        source: a path, encoded bytes, a PIL image, or an array: uint8 or uint16, (H, W),
            (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.
        preparation: the model's size and fill.

    Returns:
        uint8 (height, width, 3) RGB, C-contiguous.

    Raises:
        DecodeError: not a photo, empty, truncated or corrupt; the message names the file.
        TooLargeError: over ``MAX_PIXELS`` pixels or ``MAX_BYTES`` bytes.
        ImageError: an array of an unsuitable shape or type.

    Example:
        >>> prepare(np.zeros((30, 40, 3), np.uint8)).shape
        (224, 224, 3)
    """
    # Twice the target is kept for the area average; a JPEG decoder gets there several times
    # faster by leaving out the high frequencies of each block.
    enough = (2 * preparation.width, 2 * preparation.height)
    return letterbox(decode(source, enough=enough), preparation)


def decode(source: Source, *, enough: tuple[int, int] | None = None) -> Photo:
    """Decode one photo as a viewer would show it.

    Args:
        source: as for :func:`prepare`.
        enough: (width, height) in pixels; a larger JPEG may be decoded at a half, a quarter
            or an eighth of its size as long as it stays at least this large.

    Returns:
        uint8 (H, W, 3) RGB: upright by its EXIF orientation, transparency on white,
        the first frame of an animation, the high byte of 16-bit values.

    Raises:
        ImageError: as for :func:`prepare`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    from PIL import Image

    if isinstance(source, Image.Image):
        _check_pixels(source.size, "image")
        with _translated("image"):
            return _as_shown(source, "image")
    name = "image bytes" if isinstance(source, bytes) else os.fspath(source)
    with _translated(name), _opened(source, name) as image:
        _check_pixels(image.size, name)
        if enough is not None and image.format in ("JPEG", "MPO"):
            image.draft(None, enough)
        return _as_shown(image, name)


def letterbox(image: Photo, preparation: Preparation) -> Photo:
    """Scale a photo to fit and pad it to the model's size.

    Args:
        image: uint8 (H, W, 3) RGB.
        preparation: the target.

    Returns:
        uint8 (height, width, 3) RGB.
    """
    x0, y0, x1, y1 = letterbox_box(image.shape[0], image.shape[1], preparation)
    shrinks = x1 - x0 < image.shape[1] or y1 - y0 < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    out = np.empty((preparation.height, preparation.width, 3), np.uint8)
    out[:] = preparation.fill
    out[y0:y1, x0:x1] = cv2.resize(image, (x1 - x0, y1 - y0), interpolation=interpolation)
    return out


def letterbox_box(height: int, width: int, preparation: Preparation) -> tuple[int, int, int, int]:
    """Where a photo of this size lies inside its prepared form, as (x0, y0, x1, y1) in pixels.

    Example:
        >>> letterbox_box(384, 512, Preparation(224, 224))
        (0, 28, 224, 196)
    """
    scale = min(preparation.height / height, preparation.width / width)
    box_height = min(max(1, round(height * scale)), preparation.height)
    box_width = min(max(1, round(width * scale)), preparation.width)
    x0 = (preparation.width - box_width) // 2
    y0 = (preparation.height - box_height) // 2
    return x0, y0, x0 + box_width, y0 + box_height


def is_photo_path(path: Path) -> bool:
    """Whether a file's name ends like a photo's."""
    return path.suffix.lower() in SUFFIXES


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[Image.Image]:
    from PIL import Image

    if isinstance(source, bytes):
        size, stream = len(source), io.BytesIO(source)
    else:
        if not os.path.isfile(source):  # a FIFO or device would block for ever
            kind = "is not a regular file" if os.path.exists(source) else "does not exist"
            raise DecodeError(f"{name}: {kind}")
        size, stream = os.path.getsize(source), open(source, "rb")  # type: ignore[assignment]  # noqa: SIM115
    with stream:
        if size == 0:
            raise DecodeError(f"{name}: the file is empty; copy it again from its source")
        if size > MAX_BYTES:
            raise TooLargeError(f"{name}: {size:,} bytes; the limit is {MAX_BYTES:,}")
        with Image.open(stream, formats=FORMATS) as image:
            yield image


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on hostile bytes into one error that names the file."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        known = "JPEG, PNG, WebP, GIF, BMP, TIFF or PPM"
        raise DecodeError(f"{name}: not a photo; expected {known}") from error
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{name}: over {MAX_PIXELS:,} pixels; scale it down first") from error
    except MemoryError as error:
        raise TooLargeError(f"{name}: does not fit into memory") from error
    except PermissionError as error:
        raise DecodeError(f"{name}: no permission to read it") from error
    except (
        OSError, ValueError, SyntaxError, EOFError, KeyError, IndexError, TypeError,
        AttributeError, ArithmeticError, struct.error, RuntimeError, AssertionError,
    ) as error:  # fmt: skip
        reason = str(error).strip() or type(error).__name__
        raise DecodeError(f"{name}: truncated or corrupt photo ({reason})") from error


def _check_pixels(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise TooLargeError(
            f"{name}: {width} x {height} pixels; the limit is {MAX_PIXELS:,}, scale it down first"
        )
    if width < 1 or height < 1:
        raise DecodeError(f"{name}: {width} x {height} pixels; there is nothing to see")


def _as_shown(image: Image.Image, name: str) -> Photo:
    from PIL import Image, ImageOps

    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _from_deep(np.asarray(upright), upright.mode, name)
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        page = Image.new("RGB", layer.size, (_PAGE, _PAGE, _PAGE))
        page.paste(layer, mask=layer.getchannel("A"))
        return np.asarray(page)
    return np.asarray(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _from_deep(values: np.ndarray[Any, Any], mode: str, name: str) -> Photo:
    """16-bit grey in any of Pillow's modes -> RGB by its high byte, as a viewer shows it."""
    if mode == "F" or values.size and (values.min() < 0 or values.max() > 65535):
        raise DecodeError(
            f"{name}: pixel type {mode!r} has no defined brightness; save it as 8 or 16 bits"
        )
    return _from_array(values.astype(np.uint16))


def _from_array(array: np.ndarray[Any, Any]) -> Photo:
    shape_ok = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shape_ok or array.size == 0:
        raise ImageError(
            f"array of shape {array.shape}; expected (H, W), (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    if array.dtype not in (np.uint8, np.uint16):
        raise ImageError(
            f"array of {array.dtype}; expected uint8 in 0..255 or uint16 in 0..65535 "
            "(scale a float image and convert it: (x * 255).astype('uint8'))"
        )
    _check_pixels((array.shape[1], array.shape[0]), "array")
    photo = (array >> 8).astype(np.uint8) if array.dtype == np.uint16 else array
    if photo.ndim == 2:
        photo = photo[:, :, None]
    if photo.shape[2] == 4:
        alpha = photo[:, :, 3:].astype(np.uint32)
        mixed = photo[:, :, :3] * alpha + _PAGE * (255 - alpha)
        photo = ((mixed + 127) // 255).astype(np.uint8)
    if photo.shape[2] == 1:
        photo = np.repeat(photo, 3, axis=2)
    return np.ascontiguousarray(photo)
