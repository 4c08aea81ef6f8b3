"""Photos in a tar archive, read from its beginning to its end; nothing is ever unpacked to disk.

A WebDataset shard is such an archive: its photos are answered and its labels passed over. A photo
is named as fsspec does, ``tar://MEMBER::ARCHIVE``, so that ``fsspec.open`` finds it again.
"""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from beltsight.errors import DatasetError, DecodeError
from beltsight.image import MAX_BYTES, is_photo_path
from beltsight.sources.stored import StoredPhoto, failed_photo, held_photo

# Long names and the like; a real one has some hundred bytes. A chain of them is read as a whole.
_MAX_HEADER_BYTES = 65_536
_HEADER_TYPES = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_GZIP = b"\x1f\x8b"
# What a driver says of an archive around this one: it will be as damaged the next time.
_DAMAGE = (tarfile.TarError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile)


def read_shard(
    name: str,
    open_archive: Callable[[], IO[bytes]] | None = None,
    reason: Callable[[Exception], str] = str,
) -> Iterator[StoredPhoto]:
    """The photos of a tar archive, in its order, one at a time.

    Args:
        name: the archive; one that begins like gzip is decompressed on the way.
        open_archive: opens it in a store; by default it is a file of this machine.
        reason: what is told of an error; a store's may hold what must not be shown.

    Returns:
        An iterator. Links, devices, hidden files and what is no photo by its name are passed over.
        A photo over ``MAX_BYTES``, and an archive that is missing, damaged or cut off, are
        photos that raise when they are read: what is behind the damage is not known.

    Raises:
        DatasetError: the store fails in the middle.
    """
    try:
        with _opened(name, open_archive, reason) as tar:
            for member in _members(tar):
                if member.isreg() and _is_wanted(member.name):
                    yield _photo(tar, member, f"tar://{member.name}::{name}")
    except DatasetError:
        raise
    except DecodeError as error:
        yield failed_photo(name, str(error).removeprefix(f"{name}: "))
    except Exception as error:  # archives from strangers: zlib.error, ValueError, RecursionError
        told = _told(error, reason)
        yield failed_photo(
            name, f"damaged tar archive ({told}); photos behind the damage are not answered"
        )


def _told(error: Exception, reason: Callable[[Exception], str]) -> str:
    return f"{reason(error).strip() or type(error).__name__:.200}"


@contextmanager
def _opened(
    name: str, open_archive: Callable[[], IO[bytes]] | None, reason: Callable[[Exception], str]
) -> Iterator[tarfile.TarFile]:
    with _open_file(name) if open_archive is None else open_archive() as file:
        read = file.read if open_archive is None else partial(_read_stored, file, name, reason)
        begun = _Begun(read)
        whole = cast("IO[bytes]", begun)
        if begun.head == _GZIP:
            # tarfile's own decompression takes only the first part of a file that pigz wrote.
            whole = cast("IO[bytes]", gzip.GzipFile(fileobj=whole, mode="rb"))
        stream = _Stream(whole)
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:  # type: ignore[call-overload]
            yield tar


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (member := tar.next()) is not None:
        yield member
        tar.members = []  # type: ignore[attr-defined]  # it would keep them all
        if len(tar.pax_headers) > 1000:
            raise tarfile.ReadError("too many global headers")


def _is_wanted(member: str) -> bool:
    path = PurePosixPath(member)
    return is_photo_path(Path(path.name)) and not any(
        part.startswith(".") and part not in (".", "..") for part in path.parts
    )


def _photo(tar: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> StoredPhoto:
    if member.size > MAX_BYTES:
        return failed_photo(name, f"{member.size:,} bytes; the limit is {MAX_BYTES:,}")
    file = tar.extractfile(member)
    if file is None:
        return failed_photo(name, "is not a file; expected a photo")
    return held_photo(name, file.read())


def _open_file(name: str) -> IO[bytes]:
    if not os.path.isfile(name):  # a FIFO or device would block for ever
        kind = "is not a file" if os.path.exists(name) else "does not exist"
        raise DecodeError(f"{name}: {kind}; expected a tar archive")
    try:
        return open(name, "rb")
    except OSError as error:
        raise DecodeError(f"{name}: cannot be read: {error.strerror}") from error


def _read_stored(
    file: IO[bytes], name: str, reason: Callable[[Exception], str], size: int
) -> bytes:
    """A part of an archive in a store; where the store fails, the walk ends.

    Were the archive passed over, a run that is resumed when the store is well again would meet
    other photos than those it has answered.
    """
    try:
        return file.read(size)
    except _DAMAGE:
        raise
    except Exception as error:  # drivers raise what they like
        raise DatasetError(
            f"{name}: the store failed while this archive was read ({_told(error, reason)}); go on "
            "when it answers again"
        ) from error


class _Begun:
    """A file whose first two bytes are known before it is read.

    What it holds is told by them: a name may have a query or another archive behind it.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.head = read(len(_GZIP))
        if len(self.head) == 1:  # a store may give less than was asked for
            self.head += read(1)
        self._rest = self.head

    def read(self, size: int) -> bytes:
        first, self._rest = self._rest[:size], self._rest[size:]
        return first or self._read(size)


class _Stream:
    """A file that must not end: an archive says itself where it does.

    Without this, a size in a header that is a lie would have tarfile skip for years.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data:
            raise tarfile.ReadError("it ends in the middle")
        return data


def _refuse_sparse(*_: object) -> None:
    """A list of parts has no end but the archive's, and a photo has no holes."""
    raise tarfile.ReadError("a sparse file; make the archive without --sparse")


class _Member(tarfile.TarInfo):
    """A header of an archive; one that is damaged or huge is an error, not the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the proper end; not in tarfile's stubs
                raise
            raise tarfile.ReadError(f"a header is damaged: {error}") from error
        if header.type in _HEADER_TYPES and not 0 <= header.size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        if header.type == tarfile.GNUTYPE_SPARSE:
            _refuse_sparse()
        return header

    # Where tarfile reads the list of a sparse file's parts, in the forms with PAX headers.
    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse
