"""Settings from TOML, environment and flags into checked models.

Later sources win: defaults, then the TOML file, then the environment, then flags. An
unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from beltsight.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ASSETS = Path(__file__).parent / "assets"
# Of names that stand in topics, addresses and metrics.
NAME_PATTERN = r"^[\w.-]+$"
Settings = TypeVar("Settings", bound=BaseModel)
_SECRET = re.compile("password|secret|token")
_IN_ADDRESS = re.compile(r"//[^/\s]*@")


def load_config(
    kind: type[Settings],
    path: Path | None = None,
    *,
    base: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """Build settings of ``kind`` from a TOML file, the environment and flags.

    Args:
        kind: a pydantic model that forbids unknown keys.
        path: a TOML file, or None.
        base: values in place of the defaults; everything else wins over them, key by key.
        overrides: dotted keys to values, e.g. ``{"backbone_args.pad_type": "same"}``; None
            values are passed over.
        env_prefix: read ``PREFIX_KEY`` and ``PREFIX_TABLE__KEY`` from ``env``.
        env: the environment; ``os.environ`` by default.

    Raises:
        ConfigError: unreadable file, unknown key (the nearest is named), or a wrong value.
    """
    values = {**(base or {}), **(_read_toml(path) if path else {})}
    origins: dict[str, str] = {}
    if env_prefix:
        for key, text in (os.environ if env is None else env).items():
            if key.startswith(f"{env_prefix}_"):
                dotted = key.removeprefix(f"{env_prefix}_").lower().replace("__", ".")
                _put(values, dotted, parse_value(text))
                origins[dotted] = f"environment variable {key}"
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(values, key, value)
            origins[key] = "option"
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        default = str(path) if path else "settings"
        raise ConfigError(_explain(kind, error, origins, default)) from error


def parse_value(text: str) -> Any:
    """Read one value as TOML writes it; text that is no TOML value stands for itself.

    Text that looks like another value is quoted to stay text: ``'"2026"'``.

    Example:
        >>> parse_value("0.1"), parse_value("true"), parse_value("same"), parse_value("[1, 2]")
        (0.1, True, 'same', [1, 2])
    """
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # a number of thousands of digits is no TOMLDecodeError
        return text
    # More keys than one: the text holds line breaks and is no single value.
    return table["value"] if len(table) == 1 else text


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``["epochs=3", "backbone_args.pad_type=same"]`` -> overrides for :func:`load_config`.

    Raises:
        ConfigError: an assignment without ``=``.
    """
    pairs = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"expected KEY=VALUE, got {assignment!r}")
        pairs[key.strip()] = parse_value(text.strip())
    return pairs


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` or a list of what is known.

    Example:
        >>> nearest("epohcs", ["epochs", "rate"]), nearest("x", ["epochs", "rate"])
        ("did you mean 'epochs'?", 'known: epochs, rate')
    """
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "none is known"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors add a mark
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted}: {table!r} is a value, not a table")
        values = inner
    values[key] = value


def _explain(
    kind: type[BaseModel], error: ValidationError, origins: Mapping[str, str], default: str
) -> str:
    """One sentence per problem, led by where its key was set."""
    lines: dict[str, list[str]] = {}
    problems = error.errors()
    for problem in problems:
        location = problem["loc"]
        if problem["type"] == "too_short" and any(
            other["loc"][: len(location)] == location and other is not problem for other in problems
        ):
            continue  # it is short of those that are wrong
        where = _shown(location)
        if problem["type"] == "extra_forbidden":
            siblings = _known_keys(kind, location[:-1])
            hint = f"; {nearest(str(location[-1]), siblings)}" if siblings else ""
            line = f"unknown key {where!r}{hint}"
        else:
            line = f"{where}: {_message(problem)}" if where else _message(problem)
        lines.setdefault(_origin(location, origins, default), []).append(line)
    return "; ".join(f"{origin}: {'; '.join(group)}" for origin, group in lines.items())


def _shown(location: tuple[int | str, ...]) -> str:
    """``("rules", 0, "route")`` -> ``rules #1.route``: people count from one."""
    parts = [f" #{part + 1}" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(". ")


def _message(problem: ErrorDetails) -> str:
    """What is wrong with a value, and the value where it is short and no secret."""
    kind, value = problem["type"], problem["input"]
    if kind == "string_pattern_mismatch" and problem["ctx"]["pattern"] == NAME_PATTERN:
        message = "expected letters, digits, '_', '.' and '-' alone"
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        message = "expected a table"
    else:
        message = problem["msg"].removeprefix("Value error, ")
    is_secret = any(_SECRET.search(str(part)) for part in problem["loc"])
    if is_secret or kind == "missing" or _holds_table(value):
        return message
    try:
        shown = repr(value)
    except ValueError:  # Python prints no whole number of thousands of digits
        shown = "a number of thousands of digits"
    # Nor does what stands before the @ of an address belong into a message.
    return f"{message} (got {_IN_ADDRESS.sub('//***@', shown):.80})"


def _holds_table(value: Any) -> bool:
    """Too long to be shown, and it may hold a password."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, (Mapping, BaseModel)) for part in parts)


def _origin(location: tuple[int | str, ...], origins: Mapping[str, str], default: str) -> str:
    """Where the value at a location, or the nearest table around it, was set."""
    for length in range(len(location), 0, -1):
        dotted = ".".join(str(part) for part in location[:length])
        if dotted in origins:
            return origins[dotted]
    return default


def _known_keys(kind: Any, location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that ``location`` points into; none where it points elsewhere."""
    for part in location:
        kind = _bare(kind)
        if _is_model(kind):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:  # dict[str, X], list[X] or tuple[X, ...] -> X
            kind = next((a for a in reversed(get_args(kind)) if a is not Ellipsis), None)
    kind = _bare(kind)
    return list(kind.model_fields) if _is_model(kind) else []


def _bare(kind: Any) -> Any:
    """``Annotated[X, ...]`` and ``X | None`` -> ``X``."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(a for a in get_args(kind) if a is not NoneType)
    return kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
