"""A list of paths, as ``find`` or ``ls`` prints it."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator

from beltsight.errors import DatasetError

# Far beyond any path of a file system, and enough for a signed address.
_MAX_PATH_BYTES = 65_536
_CHUNK_BYTES = 65_536


def read_list(stream: io.BufferedIOBase, *, null: bool = False) -> Iterator[str]:
    """Paths of a list, one at a time, in constant memory.

    Args:
        stream: the list, in the file system's encoding.
        null: paths end with a NUL, as ``find -print0`` writes them, instead of a line end.

    Returns:
        An iterator of paths; empty lines are passed over, and so is a mark of UTF-8 (BOM) at the
        beginning.

    Raises:
        DatasetError: what comes is no list of paths.

    Example:
        >>> list(read_list(io.BytesIO(b"a.jpg\\nb c.jpg")))
        ['a.jpg', 'b c.jpg']
    """
    end = b"\0" if null else b"\n"
    rest, number = b"", 0
    while chunk := stream.read1(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(end)
        for line in lines:
            number += 1
            if path := _path(line, number, null):
                yield path
        _path(rest, number + 1, null)  # a line without end is found out before it is whole
    if path := _path(rest, number + 1, null):
        yield path


def _path(line: bytes, number: int, null: bool) -> str:
    if len(line) > _MAX_PATH_BYTES:
        raise DatasetError(
            f"entry {number} of the list is over {_MAX_PATH_BYTES:,} bytes; expected one path per "
            "line, or with --null one per NUL"
        )
    if number == 1:  # what editors on Windows put before the first
        line = line.removeprefix(codecs.BOM_UTF8)
    if b"\0" in line:
        raise DatasetError(
            f"line {number} of the list holds a NUL, which no path can; expected one path per "
            "line, or add --null for a list of 'find -print0'"
        )
    return os.fsdecode(line if null else line.rstrip(b"\r"))
