"""From anything that holds a photo to the model's input: the only preparation there is.

Training, evaluation, service and line all call :func:`prepare`. The photo is decoded as a
viewer would show it, then letterboxed: scaled to fit and padded, so that no part of an
item is ever cropped away.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, Union

import cv2
import numpy as np

from beltsight.errors import ConfigError, DecodeError, ImageError, TooLargeError
from beltsight.image_headers import jpeg_keeps_its_scans, tiff_tile_size
from beltsight.image_netpbm import deep_netpbm_rows
from beltsight.image_rgb import rgb, strip_as_rgb
from beltsight.records import Photo

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFile import ImageFile

Source: TypeAlias = Union[str, "os.PathLike[str]", bytes, Photo, "Image.Image"]
_Size: TypeAlias = tuple[int, int]

# Bounds that keep one call of prepare under 512 MB; tests/test_image_bounds.py measures it.
MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535
MAX_BYTES = 256_000_000
# Decoders that hold the photo several times over: all of a frame, or of a strip at 16 bits.
_FORMAT_PIXELS = {"WEBP": 20_000_000, "TIFF": 36_000_000}
_CMYK_JPEG_PIXELS = 48_000_000  # a progressive one holds two bytes per pixel and ink
# One of several scans that is too narrow to be reduced: as many bytes again for Pillow's pixels.
_SCANS_JPEG_PIXELS = {"RGB": 44_000_000, "CMYK": 36_000_000}
_PLAIN_PPM_PIXELS = 4_000_000  # numbers as text: a second for each million
_PYTHON_DECODERS = ("ppm_plain", "bmp_rle")  # run lengths take about as long
# Formats of cameras and the web only: no vector or document formats, whose decoders run programs.
# MPO (two JPEGs in a file) opens by way of JPEG; named here it would be a KeyError for all others.
SUFFIXES_OF: dict[str, tuple[str, ...]] = {
    "JPEG": (".jpg", ".jpeg", ".jpe"), "PNG": (".png",), "WEBP": (".webp",), "GIF": (".gif",),
    "BMP": (".bmp",), "TIFF": (".tif", ".tiff"), "PPM": (".ppm", ".pgm"),
}  # fmt: skip
FORMATS = tuple(SUFFIXES_OF)
SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
_STRIP_PIXELS = 1_000_000
_ORIENTATION_TAG = 0x0112
# For each EXIF orientation: the photo as it is stored, as a view of the upright one.
_STORED: dict[int, Callable[[Photo], Photo]] = {
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.swapaxes(0, 1),
    6: lambda up: up.swapaxes(0, 1)[::-1],
    7: lambda up: up.swapaxes(0, 1)[::-1, ::-1],
    8: lambda up: up.swapaxes(0, 1)[:, ::-1],
}


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
    # Twice the target is kept for the area average.
    photo, size = _decode(source, (2 * preparation.width, 2 * preparation.height))
    return letterbox(photo, preparation, size=size)


def decode(source: Source, *, enough: tuple[int, int] | None = None) -> Photo:
    """Decode one photo as a viewer would show it.

    Args:
        source: as for :func:`prepare`.
        enough: (width, height) in pixels of the upright photo; a larger one may come back
            reduced by a whole factor, as long as it stays at least this large.

    Returns:
        uint8 (H, W, 3) RGB: upright by its EXIF orientation, transparency on white,
        the first frame of an animation, the high byte of 16-bit values. Colour profiles
        are not applied. An RGB array that needs none of this comes back as it is.

    Raises:
        ImageError: as for :func:`prepare`.
    """
    photo = _decode(source, enough)[0]
    # Pillow's pixels cannot be written; an array of the caller's stays as it is.
    return photo if photo.flags.writeable or isinstance(source, np.ndarray) else photo.copy()


def _decode(source: Source, enough: _Size | None) -> tuple[Photo, _Size]:
    """The photo, perhaps reduced or read-only, and its (height, width) before that."""
    if isinstance(source, np.ndarray):
        return _array_as_shown(source, enough)
    from PIL import Image

    if isinstance(source, Image.Image):
        with _translated("image"):
            _check_size(source.size, "image")
            return _as_shown(source, source.size, "image", enough)
    if not isinstance(source, str | bytes | os.PathLike):
        raise ImageError(
            f"a photo given as {type(source).__name__}; expected a path, encoded bytes, "
            "a PIL image or a numpy array"
        )
    name = "image bytes" if isinstance(source, bytes) else os.fspath(source)
    with _translated(name), _opened(source, name) as image:
        size = image.size
        _check_size(size, name, _pixel_limit(image))
        _check_tiles(image, name)
        if enough is not None and image.format in ("JPEG", "MPO"):
            # The decoder leaves out the high frequencies of each block: several times faster.
            image.draft(None, (max(enough), max(enough)))
            if jpeg_keeps_its_scans(image):
                _check_size(image.size, name, _SCANS_JPEG_PIXELS.get(image.mode, MAX_PIXELS))
        return _as_shown(image, size, name, enough)


def letterbox(
    image: Photo, preparation: Preparation, *, size: tuple[int, int] | None = None
) -> Photo:
    """Scale a photo to fit and pad it to the model's size.

    Args:
        image: uint8 (H, W, 3) RGB.
        preparation: the target.
        size: the photo's (height, width) in pixels before it was reduced, where it was; it
            decides the box, which rounding would else move by a pixel.

    Returns:
        uint8 (height, width, 3) RGB.
    """
    height, width = size or image.shape[:2]
    x0, y0, x1, y1 = letterbox_box(height, width, preparation)
    shrinks = x1 - x0 < image.shape[1] or y1 - y0 < image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    out = np.empty((preparation.height, preparation.width, 3), np.uint8)
    out[0] = preparation.fill  # a row from the three values; rows from a row go much faster
    out[1:] = out[0]
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


def read_photo_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a photo's file, as it is stored.

    Raises:
        DecodeError: no regular file, empty, or not readable; the message names the file.
        TooLargeError: over ``MAX_BYTES`` bytes.
    """
    name = os.fspath(path)
    with _translated(name), _stream(path, name) as stream:
        # As large as it is now: reading up to the limit would first set that much memory aside.
        size = os.fstat(stream.fileno()).st_size
        _check_bytes(size, name)
        return stream.read(size)


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, name: str) -> Iterator[ImageFile]:
    from PIL import Image

    with _stream(source, name) as stream, Image.open(stream, formats=FORMATS) as image:
        yield image


def _stream(source: str | os.PathLike[str] | bytes, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        _check_bytes(len(source), name)
        return io.BytesIO(source)
    if not os.path.isfile(source):  # a FIFO or device would block for ever
        kind = "is not a file" if os.path.exists(source) else "does not exist"
        raise DecodeError(f"{name}: {kind}; expected a photo")
    _check_bytes(os.path.getsize(source), name)
    return open(source, "rb")


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise DecodeError(f"{name}: the file is empty; copy it again from its source")
    if size > MAX_BYTES:
        raise TooLargeError(f"{name}: {size:,} bytes; the limit is {MAX_BYTES:,}")


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
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLargeError(f"{name}: over {MAX_PIXELS:,} pixels; scale it down first") from error
    except MemoryError as error:
        raise TooLargeError(f"{name}: does not fit into memory; scale it down first") from error
    except PermissionError as error:
        raise DecodeError(f"{name}: no permission to read it; check its owner and mode") from error
    except Exception as error:  # decoders raise anything, zlib.error and warnings-as-errors too
        reason = str(error).strip() or type(error).__name__
        raise DecodeError(
            f"{name}: truncated or corrupt photo ({reason}); copy it again from its source"
        ) from error


def _pixel_limit(image: ImageFile) -> int:
    """What the decoder of an opened file can take in bounded memory and time."""
    if image.format in ("JPEG", "MPO") and image.mode == "CMYK":
        return _CMYK_JPEG_PIXELS
    if image.tile and image.tile[0].codec_name in _PYTHON_DECODERS:
        return _PLAIN_PPM_PIXELS
    return _FORMAT_PIXELS.get(image.format or "", MAX_PIXELS)


def _check_tiles(image: ImageFile, name: str) -> None:
    """A TIFF's decoder sets a whole tile aside, however small the photo in it is."""
    if image.format != "TIFF":
        return
    width, height = tiff_tile_size(image, name)
    limit = _FORMAT_PIXELS["TIFF"]
    if width * height > limit:
        raise TooLargeError(
            f"{name}: tiles of {width} x {height} pixels; the limit is {limit:,}, save it in strips"
        )


def _check_size(size: tuple[int, int], name: str, limit: int = MAX_PIXELS) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise DecodeError(f"{name}: {width} x {height} pixels; there is nothing to see")
    if width * height > limit:
        kind = "" if limit == MAX_PIXELS else " of this kind of file"
        raise TooLargeError(
            f"{name}: {width} x {height} pixels; the limit{kind} is {limit:,}, scale it down first"
        )
    if max(width, height) > MAX_SIDE:
        raise TooLargeError(
            f"{name}: {width} x {height} pixels; the limit of a side is {MAX_SIDE:,}, cut it up"
        )


def _as_shown(
    image: Image.Image, size: _Size, name: str, enough: _Size | None
) -> tuple[Photo, _Size]:
    """As :func:`_decode`; ``size`` is the (width, height) that the file states."""
    read = deep_netpbm_rows(image)
    if read is None:
        image.load()
    width, height = image.size
    orientation = _orientation(image)
    upright_size = size if orientation >= 5 else size[::-1]

    def rows(top: int, bottom: int) -> Photo:
        if read:
            part = read(top, bottom)
        else:
            part = image if bottom - top == height else image.crop((0, top, width, bottom))
        return strip_as_rgb(part, image, name)

    return _assemble(height, width, rows, enough, orientation), upright_size


def _array_as_shown(array: np.ndarray[Any, Any], enough: _Size | None) -> tuple[Photo, _Size]:
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
    height, width = array.shape[:2]
    _check_size((width, height), "array")
    is_rgb = array.dtype == np.uint8 and array.shape[2:] == (3,)
    if is_rgb and _reduction(width, height, enough) == 1:
        return np.ascontiguousarray(array), (height, width)
    photo = _assemble(height, width, lambda top, bottom: rgb(array[top:bottom]), enough)
    return photo, (height, width)


def _assemble(
    height: int,
    width: int,
    rows: Callable[[int, int], Photo],
    enough: _Size | None,
    orientation: int = 1,
) -> Photo:
    """Build the upright photo strip by strip, so that no second full copy is ever in memory."""
    turned = orientation >= 5
    need = enough[::-1] if enough and turned else enough
    factor = _reduction(width, height, need)
    step = factor * max(1, _STRIP_PIXELS // (width * factor))
    if step >= height and orientation == 1:
        return np.ascontiguousarray(_reduced(rows(0, height), factor))
    shape = (-(-height // factor), -(-width // factor))
    upright = np.empty((*(shape[::-1] if turned else shape), 3), np.uint8)
    stored = _STORED[orientation](upright)
    for top in range(0, height, step):
        strip = _reduced(rows(top, min(top + step, height)), factor)
        stored[top // factor : top // factor + len(strip)] = strip
    return upright


def _reduced(photo: Photo, factor: int) -> Photo:
    """Means over squares of ``factor`` pixels a side."""
    size = (-(-photo.shape[1] // factor), -(-photo.shape[0] // factor))
    return photo if factor == 1 else rgb(cv2.resize(photo, size, interpolation=cv2.INTER_AREA))


def _reduction(width: int, height: int, enough: _Size | None) -> int:
    """The largest whole factor that leaves at least ``enough`` pixels on both sides."""
    return max(1, min(width // enough[0], height // enough[1])) if enough else 1


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where the tag is absent or damaged, as a viewer takes it."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # a damaged tag block says nothing of the pixels
        return 1
    return value if isinstance(value, int) and value in _STORED else 1
