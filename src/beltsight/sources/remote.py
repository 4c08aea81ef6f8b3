"""Photos behind an address: object storage, web servers, and whatever else fsspec reaches.

Folders are listed when the walk comes to them, and photos are read where they are decoded, in
parallel where the driver can. What an address holds of credentials is never shown.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from beltsight.errors import DatasetError, DecodeError, MissingExtraError, TooLargeError
from beltsight.image import MAX_BYTES, is_photo_path
from beltsight.photos import Entry, descend, walk
from beltsight.sources.shard import read_shard
from beltsight.sources.stored import FoundPhoto, StoredPhoto, is_shard

_CHUNK_BYTES = 1_000_000
_MAX_REASON = 200
# Settings of a store -> its file system in fsspec, and a lock where it needs one.
Connections: TypeAlias = dict[tuple[str, ...] | None, tuple[Any, Any]]
_CONNECT_S, _READ_S = 30, 60
_MOST_CONNECTIONS = 8
_MOST_PARTS = 256
# What pip calls the drivers that fsspec does not bring.
_DRIVERS = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "abfss": "adlfs", "http": "aiohttp", "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko",
    "smb": "smbprotocol", "hf": "huggingface_hub", "webdav": "webdav4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Store:
    """One file system of fsspec, and how to read it without telling its secrets."""

    files: Any
    around: str  # links of a chained address (tar://a.jpg::s3://bucket/s.tar) behind the first
    secrets: tuple[str, ...]
    lock: Any

    @property
    def is_web(self) -> bool:
        return "http" in str(self.files.protocol)

    def name(self, path: str) -> str:
        name = f"{self.files.unstrip_protocol(path)}{self.around}"
        return _without_secrets(name, self.secrets)

    def bare(self, path: str) -> str:
        """The path without the query of a web address."""
        return path.partition("?")[0] if self.is_web else path

    def reason(self, error: Exception) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        return _without_secrets(text, self.secrets)[:_MAX_REASON]

    def open(self, path: str) -> IO[bytes]:
        file: IO[bytes] = self.files.open(path, "rb")
        return file


def find_remote(address: str, patterns: bool, connections: Connections) -> Iterator[FoundPhoto]:
    """The photos that an address stands for.

    Args:
        address: of a photo, a tar archive, a folder (by its listing), or a pattern of these.
        patterns: whether ``*``, ``[`` and, except on the web, ``?`` make a pattern.
        connections: of this walk, by store: a list may name a million photos of one. A new one is
            added, and the oldest dropped.

    Raises:
        MissingExtraError: fsspec is not installed.
        DatasetError: no such driver; the store cannot be reached or listed.
    """
    # An archive is read for long, and by this thread: its connection must be its own.
    is_photo = is_photo_path(Path(address.partition("::")[0].partition("?")[0]))
    store, path = _open_store(address, connections if is_photo else {})
    wanted = is_shard if is_shard(store.bare(path)) else is_photo_path
    for found in _paths(store, path, wanted, patterns):
        name = store.name(found)
        if is_shard(store.bare(found)):
            yield from read_shard(name, partial(_open_archive, store, found, name))
        else:
            yield StoredPhoto(name, partial(_read, store, found, name))


def _paths(
    store: _Store, path: str, wanted: Callable[[Path], bool], patterns: bool
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


def _open_store(address: str, connections: Connections) -> tuple[_Store, str]:
    """The store of an address and the path in it; by a connection that there is, or a new one."""
    scheme, secrets = address.partition("://")[0], _secrets(address)
    try:
        fsspec = import_module("fsspec.core")
    except ImportError as error:
        raise MissingExtraError(f"{scheme}://", "archive") from error
    first, link, rest = address.partition("::")
    # 'simplecache::s3://...' has the path of its inner link.
    around = link + rest if "://" in first else ""
    try:
        key = (scheme, _settings_in(first), rest) if "://" in first else None
        if key in connections:
            files, lock = connections[key]
            return _Store(files, around, secrets, lock), files._strip_protocol(first)
        files, path = fsspec.url_to_fs(address, skip_instance_cache=True, **_options(scheme))
    except Exception as error:  # drivers raise what they like
        raise _no_store(address, scheme, secrets, error) from error
    # A listing is used once; kept, those of a large archive would fill the memory.
    files.dircache.use_listings_cache = False
    lock = nullcontext() if files.async_impl else threading.Lock()
    if key is not None:
        connections[key] = files, lock
        while len(connections) > _MOST_CONNECTIONS:
            del connections[next(iter(connections))]
    return _Store(files, around, secrets, lock), path


def _settings_in(link: str) -> str:
    """What a link of an address says of its store, such as the host: the rest is the path."""
    registry = import_module("fsspec.registry")
    driver = registry.get_filesystem_class(link.partition("://")[0])
    return repr(sorted(driver._get_kwargs_from_urls(link).items()))


def _no_store(
    address: str, scheme: str, secrets: tuple[str, ...], error: Exception
) -> DatasetError:
    shown = _without_secrets(address, secrets)
    reason = _without_secrets(" ".join(str(error).split()), secrets)[:_MAX_REASON]
    if isinstance(error, ImportError):
        driver = _DRIVERS.get(scheme.rpartition("::")[2])
        remedy = f"install it with: pip install {driver}" if driver else reason
        return DatasetError(f"{shown}: {scheme}:// needs a driver; {remedy}")
    return DatasetError(f"{shown}: no address that can be used ({reason or type(error).__name__})")


def _options(scheme: str) -> dict[str, Any]:
    """A web server may hang; the drivers of object stores have time limits of their own."""
    if scheme not in ("http", "https"):
        return {}
    aiohttp = import_module("aiohttp")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_READ_S)
    return {"client_kwargs": {"timeout": timeout}}


def _entries(store: _Store, folder: str) -> list[Entry]:
    if folder.count("/") > _MOST_PARTS:  # a server may make up folders for ever
        raise DatasetError(
            f"{store.name(folder)[:_MAX_REASON]}...: over {_MOST_PARTS} folders deep"
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


def _is_folder(store: _Store, path: str) -> bool:
    try:
        with store.lock:
            return bool(store.files.isdir(path))
    except Exception as error:
        raise DatasetError(
            f"{store.name(path)}: cannot be reached ({store.reason(error)})"
        ) from error


def _read(store: _Store, path: str, name: str) -> bytes:
    parts, size = [], 0
    try:
        with store.lock, store.open(path) as file:
            while size <= MAX_BYTES and (part := file.read(_CHUNK_BYTES)):
                parts.append(part)
                size += len(part)
    except FileNotFoundError as error:
        raise DecodeError(f"{name}: does not exist; expected a photo") from error
    except Exception as error:
        raise DecodeError(f"{name}: cannot be read ({store.reason(error)})") from error
    if size > MAX_BYTES:
        raise TooLargeError(f"{name}: over {MAX_BYTES:,} bytes; the limit is {MAX_BYTES:,}")
    return b"".join(parts)


def _open_archive(store: _Store, path: str, name: str) -> IO[bytes]:
    try:
        return store.open(path)
    except FileNotFoundError as error:
        raise DecodeError(f"{name}: does not exist; expected a tar archive") from error
    except Exception as error:
        raise DecodeError(f"{name}: cannot be read ({store.reason(error)})") from error


def _secrets(address: str) -> tuple[str, ...]:
    """What an address holds that may open a store: user and password, and a query, which signs."""
    found = []
    for link in address.split("::"):
        try:
            parts = urlsplit(link)
        except ValueError:  # as of a bracket in the host
            continue
        user, at, _ = parts.netloc.rpartition("@")
        password = parts.password or ""
        found += [user + at, password, unquote(password)]
        if "=" in parts.query:  # else it is a pattern with a question mark
            found += [parts.query, *(value for _, value in parse_qsl(parts.query))]
    return tuple(sorted({text for text in found if len(text) > 2}, key=len, reverse=True))


def _without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "" if secret.endswith("@") else "...")
    return text
