"""Settings from TOML, environment and flags into checked models.

Later sources win: defaults, then the TOML file, then the environment, then flags. An
unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from beltsight.errors import ConfigError

ASSETS = Path(__file__).parent / "assets"
Settings = TypeVar("Settings", bound=BaseModel)


def load_config(
    kind: type[Settings],
    path: Path | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Settings:
    """Build settings of ``kind`` from a TOML file, the environment and flags.

    Args:
        kind: a pydantic model that forbids unknown keys.
        path: a TOML file, or None.
        overrides: dotted keys to values, e.g. ``{"backbone_args.pad_type": "same"}``; None
            values are passed over.
        env_prefix: read ``PREFIX_KEY`` and ``PREFIX_TABLE__KEY`` from ``env``.
        env: the environment; ``os.environ`` by default.

    Raises:
        ConfigError: unreadable file, unknown key (the nearest is named), or a wrong value.
    """
    values = _read_toml(path) if path else {}
    if env_prefix:
        for key, text in (os.environ if env is None else env).items():
            if key.startswith(f"{env_prefix}_"):
                dotted = key.removeprefix(f"{env_prefix}_").lower().replace("__", ".")
                _put(values, dotted, parse_value(text))
    for key, value in (overrides or {}).items():
        if value is not None:
            _put(values, key, value)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(kind, error, path)) from error


def parse_value(text: str) -> Any:
    """Read one value as TOML writes it; text that is no TOML value stands for itself.

    Example:
        >>> parse_value("0.1"), parse_value("true"), parse_value("same"), parse_value("[1, 2]")
        (0.1, True, 'same', [1, 2])
    """
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


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
    """``did you mean 'x'?`` or a list of what is known."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not readable as TOML: {error}") from error


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, key = dotted.split(".")
    for table in tables:
        inner = values.setdefault(table, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{dotted}: {table!r} is a value, not a table")
        values = inner
    values[key] = value


def _explain(kind: type[BaseModel], error: ValidationError, path: Path | None) -> str:
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            siblings = _known_keys(kind, problem["loc"][:-1])
            lines.append(f"unknown key {where!r}; {nearest(str(problem['loc'][-1]), siblings)}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            got = "" if problem["type"] == "missing" else f" (got {problem['input']!r:.80})"
            lines.append(f"{where or 'settings'}: {message}{got}")
    return f"{path or 'settings'}: " + "; ".join(lines)


def _known_keys(kind: Any, location: tuple[int | str, ...]) -> list[str]:
    """Field names of the model that ``location`` points into."""
    for part in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[str(part)].annotation
        elif getattr(kind, "__args__", None):
            kind = kind.__args__[-1]
    while not isinstance(kind, type) and getattr(kind, "__args__", None):
        kind = kind.__args__[-1] if kind.__args__[-1] is not type(None) else kind.__args__[0]
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
