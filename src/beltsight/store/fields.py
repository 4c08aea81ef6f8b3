"""What a field of a row may hold, and its plain form.

A checker takes what came and gives the value to keep, or raises ValueError that says what it should
be. Text that a database or a terminal cannot hold is refused here, not met in the writer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from operator import index
from typing import Any

import numpy as np

Check = Callable[[Any], Any]

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 4_000
MAX_CLASSES = 1_000
MAX_CROP_BYTES = 2_000_000
_MAX_DEPTH = 6
_INT64 = 2**63
_JPEG = b"\xff\xd8\xff"


def text(most_chars: int, *, empty: bool = False) -> Check:
    """Text of bounded length that is UTF-8 and holds no NUL."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {type(value).__name__}")
        if len(value) > most_chars:
            raise ValueError(f"expected at most {most_chars:,} characters, got {len(value):,}")
        if not value and not empty:
            raise ValueError("expected text, got none")
        if "\0" in value:
            raise ValueError("holds a NUL, which no database keeps")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError("is no text in UTF-8 (a lone surrogate)") from error
        return str(value)

    return check


name = text(MAX_NAME_CHARS)
long_text = text(MAX_TEXT_CHARS, empty=True)


def whole(value: Any) -> int:
    """A whole number of 64 bits."""
    if isinstance(value, bool | np.bool_):
        raise ValueError("expected a whole number, got a truth value")
    try:
        number = index(value)
    except TypeError as error:
        raise ValueError(f"expected a whole number, got {type(value).__name__}") from error
    if not -_INT64 <= number < _INT64:
        raise ValueError("expected a whole number of 64 bits")
    return number


def count(value: Any) -> int:
    """A whole number from 0."""
    number = whole(value)
    if number < 0:
        raise ValueError(f"expected 0 or more, got {number}")
    return number


def real(value: Any) -> float:
    """A number that is one: not NaN, not infinite."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise ValueError(f"expected a number, got {type(value).__name__}")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"expected a number, got {type(value).__name__}") from error
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {number}")
    return number


def wall_time(value: Any) -> float:
    """Seconds since 1970 whose microseconds fit a whole number of 64 bits, till the year 9999."""
    number = real(value)
    if not 0 <= number < 253_402_300_800:
        raise ValueError(f"expected seconds since 1970, got {number}")
    return number


def share(value: Any) -> float:
    """A number from 0 to 1."""
    number = real(value)
    if not 0 <= number <= 1:
        raise ValueError(f"expected 0 to 1, got {number}")
    return number


def truth(value: Any) -> bool:
    """True or False."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"expected true or false, got {type(value).__name__}")
    return bool(value)


def optional(check: Check) -> Check:
    """What ``check`` takes, or None."""
    return lambda value: None if value is None else check(value)


def one_of(*known: str) -> Check:
    """One of a few words."""

    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}; got {value!r:.80}")
        return str(value)

    return check


def whole_numbers(value: Any) -> tuple[int, ...]:
    """A few whole numbers."""
    if isinstance(value, str | bytes) or not isinstance(value, tuple | list):
        raise ValueError(f"expected a list of whole numbers, got {type(value).__name__}")
    if len(value) > MAX_CLASSES:
        raise ValueError(f"expected at most {MAX_CLASSES} numbers, got {len(value)}")
    return tuple(whole(number) for number in value)


def probabilities(value: Any) -> dict[str, dict[str, float]]:
    """Per task the probability of each class."""
    found = {}
    for task, classes in _mapping(value).items():
        found[name(task)] = {name(k): share(p) for k, p in _mapping(classes).items()}
    return found


def crop_jpeg(value: Any) -> bytes:
    """A JPEG of bounded size, as bytes."""
    if not isinstance(value, bytes) or not value.startswith(_JPEG):
        raise ValueError("expected the bytes of a JPEG")
    if len(value) > MAX_CROP_BYTES:
        raise ValueError(f"expected at most {MAX_CROP_BYTES:,} bytes, got {len(value):,}")
    return value


def sha256_hex(value: Any) -> str:
    """64 hexadecimal digits, in small letters."""
    digest = str(name(value))
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return digest


def plain_data(value: Any) -> dict[str, Any]:
    """A mapping that JSON holds, of bounded depth; lists for tuples, plain numbers for numpy's."""
    plain = _plain(_mapping(value), _MAX_DEPTH)
    assert isinstance(plain, dict)
    return plain


def _mapping(value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a mapping, got {type(value).__name__}")
    if len(value) > MAX_CLASSES:
        raise ValueError(f"expected at most {MAX_CLASSES} entries, got {len(value)}")
    return value


def _plain(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {name(key): _plain(inner, depth - 1) for key, inner in _mapping(value).items()}
    if isinstance(value, list | tuple):
        if len(value) > MAX_CLASSES:
            raise ValueError(f"expected at most {MAX_CLASSES} entries, got {len(value)}")
        return [_plain(inner, depth - 1) for inner in value]
    for kinds, check in _SCALARS:
        if isinstance(value, kinds):
            return check(value)
    raise ValueError(f"expected what JSON holds, got {type(value).__name__}")


# In this order: a truth value is a whole number to Python.
_SCALARS: tuple[tuple[Any, Check], ...] = (
    (type(None), lambda value: None),
    (str, long_text),
    (bool | np.bool_, truth),
    (int | np.integer, whole),
    (float | np.floating, real),
)
