"""A photo that is no file of its own: in an archive, or behind an address."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, TypeVar, Union

from beltsight.errors import DecodeError, ImageError

SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
T = TypeVar("T")
# How image.py calls bytes, which have no name.
_NAMELESS = "image bytes: "


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo by its name and a way to its content. Any thread may read it, any number of times.

    Args:
        name: stands for the photo in answers and messages; holds no password.
        read: gives the encoded photo, bounded like a file, or raises an ImageError.
        held_bytes: what it keeps in memory until it is dropped.
    """

    name: str
    read: Callable[[], bytes]
    held_bytes: int = 0

    def decoded(self, decode: Callable[[bytes], T]) -> T:
        """What a decoder makes of the content.

        Raises:
            ImageError: it cannot be read or decoded; the message has the photo's name.
        """
        content = self.read()
        try:
            return decode(content)
        except ImageError as error:
            text = str(error).removeprefix(_NAMELESS)
            raise type(error)(f"{self.name}: {text}") from error


# A path of this machine, or a stored photo.
FoundPhoto: TypeAlias = Union[str, StoredPhoto]


def is_shard(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name ends like a tar archive's that can be read.

    Example:
        >>> is_shard("train-000.tar"), is_shard("A.TGZ"), is_shard("tar.jpg")
        (True, True, False)
    """
    return os.fspath(path).lower().endswith(SHARD_SUFFIXES)


def name_of(source: object) -> str | None:
    """The path or name of a photo; None for one that came as an array or bytes.

    Example:
        >>> name_of("in/a.jpg"), name_of(StoredPhoto("tar://b.jpg::c.tar", bytes)), name_of(b"")
        ('in/a.jpg', 'tar://b.jpg::c.tar', None)
    """
    if isinstance(source, StoredPhoto):
        return source.name
    return os.fspath(source) if isinstance(source, str | os.PathLike) else None


def held_photo(name: str, content: bytes) -> StoredPhoto:
    """A photo whose content is in memory."""
    return StoredPhoto(name, lambda: content, len(content))


def failed_photo(name: str, problem: str) -> StoredPhoto:
    """A place where a photo should be, and why there is none; reading it says so."""

    def fail() -> bytes:
        raise DecodeError(f"{name}: {problem}")

    return StoredPhoto(name, fail)
