"""Where frames come from, told from one text; and how it is shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from beltsight.errors import ConfigError

Kind = Literal["device", "url", "path", "genicam"]

# FFmpeg knows many more, among them some that read local files or join addresses.
SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "udp", "rtp")
_SECRET = re.compile(r"pass|pwd|token|secret|key|auth|sig|user", re.IGNORECASE)
_MASK = "***"
_ACCEPTED = (
    "a device number, an address (rtsp://, http://...), a video file, a folder of photos, "
    "'genicam' or 'genicam:SERIAL'"
)


@dataclass(frozen=True, slots=True, repr=False)
class Source:
    """Where frames come from. Its text and its repr show no password.

    Args:
        kind: ``path`` is a file or a folder.
        value: device number or path (``/dev/video0``), address with any password, path, or serial
            number (empty: the first camera).
    """

    kind: Kind
    value: str

    def __str__(self) -> str:
        return hide_secrets(self.value) if self.kind == "url" else f"{self._lead}{self.value}"

    def __repr__(self) -> str:
        return f"Source({str(self)!r})"

    @property
    def _lead(self) -> str:
        return {"device": "device ", "genicam": "genicam:"}.get(self.kind, "")

    def with_password(self, password: str) -> Source:
        """The address with this password for the user that it names.

        Raises:
            ConfigError: no address, or one without a user.
        """
        parts = urlsplit(self.value)
        if self.kind != "url" or not parts.username:
            raise ConfigError(
                f"{self}: a password needs an address that names its user, as in "
                "rtsp://user@camera/stream"
            )
        host = parts.netloc.rpartition("@")[2]
        user = f"{quote(parts.username, safe='%')}:{quote(password, safe='')}"
        return Source("url", urlunsplit(parts._replace(netloc=f"{user}@{host}")))


def parse_source(value: Any) -> Source:
    """Read a source as a person writes it.

    Args:
        value: a device number; or a text: a number, an address, a path, ``genicam`` or
            ``genicam:SERIAL``.

    Raises:
        ConfigError: anything else. The message never shows the value, which may hold a password.

    Example:
        >>> parse_source(0), parse_source("rtsp://me:word@cam/1"), parse_source("belt.mp4")
        (Source('device 0'), Source('rtsp://***@cam/1'), Source('belt.mp4'))
    """
    if isinstance(value, Source):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        kind = "an empty text" if isinstance(value, str) else type(value).__name__
        raise ConfigError(f"the camera's source is {kind}; expected {_ACCEPTED}")
    text = value.strip()
    if re.fullmatch(r"[+-]?\d+", text):
        if not 0 <= int(text) <= 1000:
            raise ConfigError(f"camera device {int(text)}: expected a number of 0 to 1000")
        return Source("device", str(int(text)))
    if re.fullmatch(r"genicam(:.*)?", text):
        return Source("genicam", text.partition(":")[2])
    if "://" in text:
        return Source("url", _checked(text))
    return Source("device" if text.startswith("/dev/video") else "path", text)


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        known, whole = parts.scheme.lower() in SCHEMES, bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = whole = False
    if not (known and whole):
        raise ConfigError(
            "the camera's address is not understood; expected "
            f"{', '.join(f'{name}://' for name in SCHEMES)} with host and path; special characters "
            "of a password are written as %40 and the like"
        )
    return address


def hide_secrets(address: str) -> str:
    """An address without user, password, and what looks like a secret in its query.

    Example:
        >>> hide_secrets("http://ann:pw@10.0.0.2:8080/mjpg?size=1&token=abc")
        'http://***@10.0.0.2:8080/mjpg?size=1&token=***'
    """
    try:
        parts = urlsplit(address)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "(an address that cannot be read)"
    _, at, host = parts.netloc.rpartition("@")
    shown = [(name, _MASK if _SECRET.search(name) else text) for name, text in pairs]
    # Dahua and others carry words of access in the path, too.
    path = re.sub(r"((?:pass\w*|pwd|user|token)=)[^/&;]*", rf"\1{_MASK}", parts.path, flags=re.I)
    query = urlencode(shown, safe="*")
    return urlunsplit(
        parts._replace(netloc=f"{_MASK}{at}{host}" if at else host, path=path, query=query)
    )
