"""Read idx files, the format of MNIST: a small header, then the values of one array."""

from __future__ import annotations

import gzip
import os
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DatasetError

# Bounded, so that a header that lies does not ask for all memory.
MAX_IDX_BYTES = 4_000_000_000
_MOST_DIMENSIONS = 8
_GZIP_MARK = b"\x1f\x8b"
# The third byte of a file says what its values are; they stand with the high byte first.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read one idx file, plain or compressed with gzip.

    Args:
        path: of the file; where it is not there, the same name with ``.gz`` is read.

    Returns:
        The array, of the type and shape that the header names, in the machine's byte order.

    Raises:
        DatasetError: no such file, not an idx file, fewer or more values than its header says,
            damaged compression, or over ``MAX_IDX_BYTES``.

    Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database": the IDX file format.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels-idx1-ubyte"
        >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 1, 4]))
        >>> read_idx(file).tolist()
        [7, 1, 4]
    """
    asked = Path(path)
    packed = asked.with_name(f"{asked.name}.gz")
    file = asked if asked.exists() or not packed.exists() else packed
    try:
        with file.open("rb") as raw:
            is_packed = raw.read(2) == _GZIP_MARK
            raw.seek(0)
            if not is_packed:
                return _read(raw, file)
            with gzip.open(raw) as content:
                return _read(content, file)  # type: ignore[arg-type]
    except FileNotFoundError as error:
        raise DatasetError(f"{asked}: no such file, nor {packed.name} beside it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file}: damaged or not readable ({error}); fetch it again") from error


def _read(content: BinaryIO, file: Path) -> NDArray[Any]:
    mark = content.read(4)
    if len(mark) < 4 or mark[:2] != b"\0\0" or mark[2] not in _TYPES:
        raise DatasetError(
            f"{file}: not an idx file: expected two zero bytes, a known type and a count of "
            f"dimensions, got {mark.hex(' ') or 'an empty file'}"
        )
    dtype, dimensions = np.dtype(_TYPES[mark[2]]), mark[3]
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise DatasetError(
            f"{file}: expected 1 to {_MOST_DIMENSIONS} dimensions, its header says {dimensions}"
        )
    header = content.read(4 * dimensions)
    if len(header) < 4 * dimensions:
        raise DatasetError(f"{file}: ends within its header; fetch it again")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    size_bytes = prod(shape) * dtype.itemsize
    if size_bytes > MAX_IDX_BYTES:
        raise DatasetError(
            f"{file}: its header asks for {size_bytes:,} bytes, over the limit {MAX_IDX_BYTES:,}"
        )
    values = content.read(size_bytes)
    if len(values) < size_bytes or content.read(1):
        got = "more" if len(values) == size_bytes else f"{len(values):,}"
        raise DatasetError(
            f"{file}: its header says {' x '.join(map(str, shape))} values, {size_bytes:,} bytes, "
            f"but {got} follow; fetch it again"
        )
    return np.frombuffer(values, dtype).reshape(shape).astype(dtype.newbyteorder("="))
