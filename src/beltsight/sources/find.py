"""Every kind of PATH that ``beltsight predict`` takes, told apart by how it looks."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from beltsight.errors import ConfigError
from beltsight.image import is_photo_path
from beltsight.photos import files_of, find_photos
from beltsight.sources.listed import read_list
from beltsight.sources.stored import FoundPhoto, failed_photo, is_shard

if TYPE_CHECKING:
    from beltsight.sources.connect import Connections

LIST = "-"
# Two letters at least: C:\ is a drive.
_ADDRESS = re.compile(r"[a-zA-Z][\w+.-]+(::[a-zA-Z][\w+.-]+)*://")


def find_sources(
    paths: Iterable[str | os.PathLike[str]],
    listed: io.BufferedIOBase | None = None,
    *,
    null: bool = False,
) -> Iterator[FoundPhoto]:
    """Photos of all kinds, lazily and in order.

    Args:
        paths: a file, a folder or a pattern, as :func:`beltsight.photos.find_photos` takes them;
            a tar archive or a pattern of archives (``'shards/*.tar'``); an address that fsspec
            knows (``s3://bucket/folder``), of any of these; ``-`` for the entries of ``listed``,
            each of them any of these but a pattern.
        listed: the list that ``-`` stands for.
        null: its entries end with NUL.

    Returns:
        An iterator of paths and of photos that are no file. One thread may use it.

    Raises:
        ConfigError: ``-`` without a list.
        DatasetError: a list that is none; a store that cannot be reached or listed, or that fails
            while an archive is read.
        MissingExtraError: an address, and fsspec is not installed.
    """
    connections: Connections = {}
    for path in paths:
        text = os.fspath(path)
        if text != LIST:
            yield from _sources_of(text, True, connections)
        elif listed is None:
            raise ConfigError("'-' stands for a list on standard input, and there is none")
        else:
            for entry in read_list(listed, null=null):
                yield from _sources_of(entry, False, connections)


def count_files(
    paths: Iterable[str | os.PathLike[str]],
    seconds: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
) -> int | None:
    """How many photos :func:`find_sources` will give, where that is soon found out.

    Returns:
        None where it would take longer, or where archives, lists or addresses must be read for it.
    """
    texts = [os.fspath(path) for path in paths]
    if any(text == LIST or is_shard(text) or is_address(text) for text in texts):
        return None
    end_s = clock() + seconds
    count = 0
    for count, _ in enumerate(find_photos(texts), 1):
        if count % 256 == 0 and clock() > end_s:
            return None
    return count


def is_address(path: str) -> bool:
    """Whether a path is an address for fsspec.

    Example:
        >>> is_address("s3://bucket/a.jpg"), is_address("in/a.jpg"), is_address("C:/a.jpg")
        (True, False, False)
    """
    return _ADDRESS.match(path) is not None and not os.path.exists(path)


def shown_path(path: str) -> str:
    """A PATH as messages name it: an address without its credentials.

    Example:
        >>> shown_path("sftp://me:secret@plant/in"), shown_path("in/me@home?a=bcd.jpg")
        ('sftp://plant/in', 'in/me@home?a=bcd.jpg')
    """
    if not is_address(path):
        return path
    from beltsight.sources.connect import shown_address

    return shown_address(path)


def _sources_of(path: str, patterns: bool, connections: Connections) -> Iterator[FoundPhoto]:
    if is_address(path):
        from beltsight.sources.remote import find_remote

        yield from find_remote(path, patterns, connections)
        return
    # A folder gives its photos, whatever its name; archives are only opened where they are named.
    wanted = is_shard if is_shard(path) and not os.path.isdir(path) else is_photo_path
    for file in files_of(path, wanted, patterns):
        if is_shard(file):
            from beltsight.sources.shard import read_shard

            yield from read_shard(file)
        elif file.endswith(os.sep) and os.path.isdir(file):
            yield failed_photo(file, "this folder cannot be listed; check its owner and mode")
        else:
            yield file
