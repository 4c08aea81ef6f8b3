"""Photos behind an address: object storage, web servers, and whatever else fsspec reaches.

Folders are listed when the walk comes to them, and photos are read where they are decoded, in
parallel where the driver can.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

from beltsight.errors import DatasetError, DecodeError, TooLargeError
from beltsight.image import MAX_BYTES, is_photo_path
from beltsight.photos import Entry, descend, walk
from beltsight.sources.connect import Connections, Store, open_store
from beltsight.sources.shard import read_shard
from beltsight.sources.stored import FoundPhoto, StoredPhoto, is_shard

_CHUNK_BYTES = 1_000_000
_MOST_PARTS = 256
_MOST_SHOWN = 200
_GONE = (404, 410)


def find_remote(address: str, patterns: bool, connections: Connections) -> Iterator[FoundPhoto]:
    """The photos that an address stands for.

    Args:
        address: of a photo, a tar archive, a folder (by its listing), or a pattern of these.
        patterns: whether ``*``, ``[`` and, except on the web, ``?`` make a pattern.
        connections: of this walk, by store: a list may name a million photos of one. A new one is
            added, and the oldest dropped.

    Raises:
        MissingExtraError: fsspec is not installed.
        DatasetError: no such driver; the store cannot be reached or listed, or fails while an
            archive is read.
    """
    # An archive is read for long, and by this thread: its connection must be its own.
    is_photo = is_photo_path(Path(address.partition("::")[0].partition("?")[0]))
    store, path = open_store(address, connections if is_photo else {})
    wanted = is_shard if is_shard(store.bare(path)) else is_photo_path
    for found in _paths(store, path, wanted, patterns):
        name = store.name(found)
        if is_shard(store.bare(found)):
            yield from read_shard(name, partial(_open_archive, store, found, name), store.reason)
        else:
            yield StoredPhoto(name, partial(_read, store, found, name))


def _paths(
    store: Store, path: str, wanted: Callable[[Path], bool], patterns: bool
) -> Iterator[str]:
    parts = path.split("/")
    magic = (n for n, part in enumerate(parts) if glob.has_magic(store.bare(part)))
    first = next(magic, None) if patterns else None
    list_folder = partial(_entries, store)
    if first is not None:
        yield from descend("/".join(parts[:first]), tuple(parts[first:]), list_folder, wanted)
    elif wanted(Path(store.bare(path))) or not _is_folder(store, path):
        yield path
    else:
        yield from walk(path, list_folder, wanted)


def _entries(store: Store, folder: str) -> list[Entry]:
    if folder.count("/") > _MOST_PARTS:  # a server may make up folders for ever
        raise DatasetError(
            f"{store.name(folder)[:_MOST_SHOWN]}...: over {_MOST_PARTS} folders deep"
        )
    try:
        with store.lock:
            listing = store.files.ls(folder, detail=True)
    except FileNotFoundError:
        return []
    except Exception as error:
        # Not passed over: what is below would be missing without a word.
        raise DatasetError(
            f"{store.name(folder)}: cannot be listed ({store.reason(error)})"
        ) from error
    own = folder.rstrip("/")
    found = [
        Entry(
            info["name"].rstrip("/").rpartition("/")[2],
            info["name"],
            info["type"] == "directory",
            bool(info.get("islink")),
        )
        for info in listing
        if info["name"].rstrip("/") != own  # an object store's mark of an empty folder
    ]
    return sorted(found, key=lambda entry: entry.name)


def _is_folder(store: Store, path: str) -> bool:
    try:
        with store.lock:
            return bool(store.files.isdir(path))
    except Exception as error:
        raise DatasetError(
            f"{store.name(path)}: cannot be reached ({store.reason(error)})"
        ) from error


def _read(store: Store, path: str, name: str) -> bytes:
    parts, size = [], 0
    if store.is_local and os.path.exists(path) and not os.path.isfile(path):
        raise DecodeError(f"{name}: is not a file; expected a photo")
    try:
        with store.lock, store.open(path) as file:
            while size <= MAX_BYTES and (part := file.read(_CHUNK_BYTES)):
                parts.append(part)
                size += len(part)
    except FileNotFoundError as error:
        raise DecodeError(f"{name}: {_absence(store, error)}; expected a photo") from error
    except Exception as error:
        raise DecodeError(f"{name}: cannot be read ({store.reason(error)})") from error
    if size > MAX_BYTES:
        raise TooLargeError(f"{name}: over {MAX_BYTES:,} bytes; the limit is {MAX_BYTES:,}")
    return b"".join(parts)


def _open_archive(store: Store, path: str, name: str) -> IO[bytes]:
    """An archive that is not there is one photo that failed; a store that fails ends the walk.

    Were the archive passed over then, a resumed run would meet others than it has answered.
    """
    if store.is_local and os.path.exists(path) and not os.path.isfile(path):
        raise DecodeError(f"{name}: is not a file; expected a tar archive")
    try:
        return store.open(path)
    except FileNotFoundError as error:
        if _failure(error) is None:
            raise DecodeError(f"{name}: does not exist; expected a tar archive") from error
        raise _out_of_reach(store, name, error) from error
    except PermissionError as error:
        raise DecodeError(f"{name}: cannot be read ({store.reason(error)})") from error
    except Exception as error:
        raise _out_of_reach(store, name, error) from error


def _out_of_reach(store: Store, name: str, error: Exception) -> DatasetError:
    why = store.reason(_failure(error) or error)
    return DatasetError(f"{name}: cannot be read ({why}); go on when the store is well again")


def _failure(error: BaseException) -> Exception | None:
    """What a web server answered that the driver takes for 'not found'; None where it was that."""
    cause = error.__cause__
    if not isinstance(cause, Exception) or isinstance(cause, FileNotFoundError):
        return None
    return None if getattr(cause, "status", None) in _GONE else cause


def _absence(store: Store, error: FileNotFoundError) -> str:
    failed = _failure(error)
    return "does not exist" if failed is None else f"cannot be read ({store.reason(failed)})"
