"""Connections to stores by their address, through fsspec.

What an address holds of credentials is used, and never shown.
"""

from __future__ import annotations

import re
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from beltsight.errors import DatasetError, MissingExtraError

# Settings of a store -> its file system in fsspec, and a lock where it needs one.
Connections: TypeAlias = dict[tuple[str, ...] | None, tuple[Any, Any]]
_MOST_CONNECTIONS = 8
_CONNECT_S, _READ_S = 30, 60
_MAX_REASON = 200
# Behind these stands a member of an archive, whose name may look like credentials and holds none.
_ARCHIVES = ("tar", "zip", "libarchive")
# What pip calls the drivers that fsspec does not bring.
_DRIVERS = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs",
    "abfss": "adlfs", "http": "aiohttp", "https": "aiohttp", "sftp": "paramiko", "ssh": "paramiko",
    "smb": "smbprotocol", "hf": "huggingface_hub", "webdav": "webdav4",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Store:
    """One file system of fsspec, and how to read it without telling its secrets.

    Args:
        files: the file system.
        around: links of a chained address behind the first.
        secrets: what must not be shown.
        logins: those of them that no query holds.
        host: where the driver's paths do not name it, as those of SFTP; else empty.
        lock: to be held while it is used, unless it is read by one thread alone.
    """

    files: Any
    around: str
    secrets: tuple[str, ...]
    logins: tuple[str, ...]
    host: str
    lock: Any

    @property
    def is_local(self) -> bool:
        """Whether it is this machine's own, where a name may stand for a pipe or a device."""
        return "file" in self.files.protocol

    @property
    def is_web(self) -> bool:
        """Whether a question mark begins a query, and makes no pattern."""
        return "http" in str(self.files.protocol)

    def name(self, path: str) -> str:
        """What stands for a photo, archive or folder in answers and messages."""
        own = str(self.files.unstrip_protocol(path))
        scheme, rootless, rest = own.partition(":///")
        if self.host and rootless:
            own = f"{scheme}://{self.host}/{rest}"
        if not self.is_web:
            return _without_secrets(f"{own}{self.around}", self.secrets)
        # A value of the query may stand in the path by chance, where it tells nothing.
        bare, mark, query = own.partition("?")
        hidden = _without_secrets(f"{mark}{query}{self.around}", self.secrets)
        return _without_secrets(bare, self.logins) + hidden

    def bare(self, path: str) -> str:
        """The path without the query of a web address."""
        return path.partition("?")[0] if self.is_web else path

    def reason(self, error: Exception) -> str:
        """What a driver says, short."""
        text = " ".join(str(error).split()) or type(error).__name__
        return _without_secrets(text, self.secrets)[:_MAX_REASON]

    def open(self, path: str) -> IO[bytes]:
        """A file for reading."""
        file: IO[bytes] = self.files.open(path, "rb")
        return file


def shown_address(address: str) -> str:
    """An address as messages name it, without what may open a store."""
    return _without_secrets(address, _secrets(address))


def open_store(address: str, connections: Connections) -> tuple[Store, str]:
    """The store of an address and the path in it; by a connection that there is, or a new one.

    Args:
        address: may be chained (``tar://a.jpg::s3://bucket/s.tar``).
        connections: by store; a new one is added, and the oldest dropped.

    Raises:
        MissingExtraError: fsspec is not installed.
        DatasetError: no such driver, or no address.
    """
    scheme, secrets = address.partition("://")[0], _secrets(address)
    logins = _secrets(address, queries=False)
    try:
        fsspec = import_module("fsspec.core")
    except ImportError as error:
        raise MissingExtraError(f"{scheme}://", "archive") from error
    first, link, rest = address.partition("::")
    # 'simplecache::s3://...' has the path of its inner link.
    around = link + rest if "://" in first else ""
    try:
        key = (scheme, _settings_in(first), rest) if "://" in first else None
        host = _host_in(first) if key else ""
        if key in connections:
            files, lock = connections[key]
            store = Store(files, around, secrets, logins, host, lock)
            return store, files._strip_protocol(first)
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
    return Store(files, around, secrets, logins, host, lock), path


def _settings_in(link: str) -> str:
    """What a link of an address says of its store, such as the host: the rest is the path."""
    return repr(sorted(_kwargs_in(link).items()))


def _kwargs_in(link: str) -> dict[str, Any]:
    registry = import_module("fsspec.registry")
    driver = registry.get_filesystem_class(link.partition("://")[0])
    return dict(driver._get_kwargs_from_urls(link))


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


def _host_in(link: str) -> str:
    """Host and port where the driver takes them for settings, so that its paths are without."""
    told = _kwargs_in(link)
    port = f":{told['port']}" if told.get("port") else ""
    return f"{told['host']}{port}" if told.get("host") else ""


def _secrets(address: str, *, queries: bool = True) -> tuple[str, ...]:
    """What an address holds that may open a store: user and password, and a query, which signs."""
    found = []
    for link in address.split("::"):
        if link.partition("://")[0] in _ARCHIVES:
            continue
        try:
            parts = urlsplit(link)
        except ValueError:  # as of a bracket in the host
            continue
        # A password with '/', '?' or '#' should have been escaped; it is hidden all the same.
        odd = re.match(r"[^/]*://([^@:/?#]*:(?!\d+/)[^@]*@)", link)
        cut = odd if "@" not in parts.netloc else None
        found += [cut[1]] if cut else []
        user, at, _ = parts.netloc.rpartition("@")
        password = parts.password or ""
        found += [user + at, password, unquote(password)]
        if queries and "=" in parts.query:  # else it is a pattern with a question mark
            found += [parts.query, *(value for _, value in parse_qsl(parts.query))]
    return tuple(sorted({text for text in found if len(text) > 2}, key=len, reverse=True))


def _without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "" if secret.endswith("@") else "...")
    return text
