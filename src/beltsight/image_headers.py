"""What a header says beyond the photo's size of the memory that its decoder will take.

Read as the decoder in C reads it, and with doubt where it could be read in two ways: a
hostile file is made so that Pillow and the decoder understand it differently.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from beltsight.errors import DecodeError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile
    from PIL.TiffImagePlugin import TiffImageFile

_TILE_WIDTH_TAG, _TILE_HEIGHT_TAG = 322, 323
_WHOLE_NUMBERS = {3: "H", 4: "L"}  # the types that the TIFF standard gives a tile's sides
_BIG_TIFF = 43
_MAX_ENTRIES = 4096  # libtiff takes no more
# Frames of one scan for all colours, tables, and what is no part of the pixels; each with a length.
_PLAIN_SEGMENTS = frozenset({0xC0, 0xC1, 0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_START_OF_SCAN = 0xDA


def tiff_tile_size(image: ImageFile, name: str) -> tuple[int, int]:
    """(width, height) of a TIFF's tiles in pixels, (0, 0) where it is stored in strips.

    libtiff knows types of numbers that Pillow passes over, so the directory is read here.
    """
    stream = image.fp
    assert stream is not None
    stream.seek(0)
    head = stream.read(4)
    order = "<" if head.startswith(b"II") else ">"
    is_big = struct.unpack(f"{order}H", head[2:])[0] == _BIG_TIFF
    count = struct.Struct(order + ("Q" if is_big else "H"))
    entry = struct.Struct(order + ("HHQ8s" if is_big else "HHL4s"))
    stream.seek(cast("TiffImageFile", image).tag_v2.offset)
    (n_entries,) = count.unpack(stream.read(count.size))
    content = stream.read(min(n_entries, _MAX_ENTRIES) * entry.size)
    content = content[: len(content) // entry.size * entry.size]
    sides = {_TILE_WIDTH_TAG: 0, _TILE_HEIGHT_TAG: 0}
    for tag, kind, _, value in entry.iter_unpack(content):
        if tag not in sides:
            continue
        if kind not in _WHOLE_NUMBERS:
            raise DecodeError(f"{name}: a TIFF with tiles of no clear size; save it in strips")
        (side,) = struct.unpack_from(order + _WHOLE_NUMBERS[kind], value)
        sides[tag] = max(sides[tag], side)  # which of two is taken depends on the version
    return sides[_TILE_WIDTH_TAG], sides[_TILE_HEIGHT_TAG]


def jpeg_keeps_its_scans(image: ImageFile) -> bool:
    """Whether a JPEG's decoder keeps all of the frame until the last of several scans.

    A progressive one does, and one with a scan for each colour, which Pillow does not tell.
    """
    stream = image.fp
    assert stream is not None
    stream.seek(2)
    while len(head := stream.read(4)) == 4:
        start, marker, length = struct.unpack(">BBH", head)
        if start == 0xFF and marker == _START_OF_SCAN:
            return stream.read(1) != bytes([len(image.getbands())])
        if start != 0xFF or marker not in _PLAIN_SEGMENTS or length < 2:
            break
        stream.seek(length - 2, 1)
    return True
