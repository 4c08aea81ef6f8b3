"""The chain over a line's rows: each mac covers the row, its number and the mac before.

With a key it is HMAC-SHA256: who has no key cannot make a row that fits. Without one it is plain
SHA-256, which anyone can compute again: it shows accidental damage only.

Source: H. Krawczyk and others, RFC 2104 (HMAC); B. Schneier and J. Kelsey, Secure audit logs to
support computer forensics, 1999 (the chain, and why its end needs a second place).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from beltsight.errors import StoreError

KEY_VARIABLE = "BELTSIGHT_LOG_KEY"
MIN_KEY_BYTES = 16
_MAX_KEY_BYTES = 4096
START = bytes(32)
_FORM = b"beltsight log 1\0"


@dataclass(frozen=True, slots=True)
class Chain:
    """What makes a line's macs.

    Args:
        line: the line's name.
        chain_id: 16 random bytes of this chain.
        key: secret, or None for plain SHA-256.

    Example:
        >>> chain = Chain("a", bytes(16), b"a key of 16 bytes")
        >>> first = chain.mac(1, START, b"{}")
        >>> len(first), chain.mac(2, START, b"{}") == first
        (32, False)
    """

    line: str
    chain_id: bytes
    key: bytes | None = field(default=None, repr=False)
    _lead: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        name = self.line.encode()
        lead = _FORM + self.chain_id + len(name).to_bytes(2, "big") + name
        object.__setattr__(self, "_lead", lead)

    def mac(self, sequence: int, before: bytes, body: bytes) -> bytes:
        """The mac of one row.

        Args:
            sequence: of the row, from 1.
            before: mac of the row before, 32 bytes; ``START`` for the first.
            body: the row's canonical bytes.
        """
        message = self._lead + sequence.to_bytes(8, "big") + before + body
        if self.key is None:
            return hashlib.sha256(message).digest()
        return hmac.digest(self.key, message, "sha256")

    @property
    def key_check(self) -> bytes:
        """8 bytes that tell whether a key is the one, and nothing else of it."""
        if self.key is None:
            return bytes(8)
        return hmac.digest(self.key, b"beltsight log key\0" + self.chain_id, "sha256")[:8]


def read_key(path: Path | None = None) -> bytes | None:
    """The key of a file, else of the environment variable ``BELTSIGHT_LOG_KEY``, else None.

    White space around it does not count.

    Raises:
        StoreError: no such file, or a key of fewer than 16 bytes.
    """
    to = "KEYFILE" if path is None else shlex.quote(str(path))
    make = f"make one, and keep a copy: openssl rand -hex 32 > {to}; chmod 400 {to}"
    if path is None:
        found = os.environb.get(KEY_VARIABLE.encode()) if os.supports_bytes_environ else None
        if found is None:
            text = os.environ.get(KEY_VARIABLE)
            found = None if text is None else text.encode()
        where = f"the environment variable {KEY_VARIABLE}"
    else:
        where = str(path)
        try:
            with path.open("rb") as file:
                found = file.read(_MAX_KEY_BYTES + 1)
        except OSError as error:
            raise StoreError(f"{path}: the key cannot be read: {error.strerror}; {make}") from error
    if found is None:
        return None
    key = found.strip()
    if not MIN_KEY_BYTES <= len(key) <= _MAX_KEY_BYTES:
        raise StoreError(
            f"{where}: expected a key of {MIN_KEY_BYTES} to {_MAX_KEY_BYTES:,} bytes, got "
            f"{len(key):,}; {make}"
        )
    return key
