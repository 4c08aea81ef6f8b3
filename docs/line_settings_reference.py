"""Writes ``line-settings.md`` from the settings' classes, so that the page cannot drift.

Run: ``python docs/line_settings_reference.py``; ``tests/test_docs.py`` compares.
"""

import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from beltsight.line.actuators import KINDS
from beltsight.line.health import Limits
from beltsight.line.schedule_settings import ActuatorSettings
from beltsight.line.settings import LineSettings

PAGE = Path(__file__).with_name("line-settings.md")
HEAD = """# All settings of line.toml

Each table with its keys, their values, and what stands where a key is left out.
[The line](line.md) says which of them a line needs; an unknown key is refused, with the nearest
one named. A key may also be set as the environment variable `BELTSIGHT_LINE_TABLE__KEY`, and for a
simulated run with `beltsight line simulate --set TABLE.KEY=VALUE`. The files of the model, the
policy, the taxonomy and `[store]` are looked for beside `line.toml`, others where the program is
started.
`[links.broker]` is of `mqtt` and `mqtt-sparkplug`.

This page is written by `docs/line_settings_reference.py` from the settings' classes.
"""
_BOUNDS = (("ge", "from {}"), ("gt", "over {}"), ("le", "up to {}"), ("lt", "under {}"))
_KINDS = {bool: "`true` or `false`", int: "whole number", float: "number", Path: "file"}
_INLINE = (Limits,)
# Tables that a field holds several of, or one of several forms.
_LISTED: dict[str, tuple[tuple[str, type[BaseModel]], ...]] = {
    "schedule.actuators": (("`[[schedule.actuators]]`", ActuatorSettings),),
    "links": tuple(
        (
            f'`[[links]]` of `kind = "{kind}"`',
            getattr(importlib.import_module(f"beltsight.line.actuators.{where.module}"),
                    where.settings),
        )
        for kind, where in KINDS.items()
    ),
}  # fmt: skip


def meanings(settings: type[BaseModel]) -> dict[str, str]:
    """What each field means, from the ``Args`` of its class and those above it."""
    found: dict[str, str] = {}
    for one in reversed(settings.__mro__):
        own = one.__dict__.get("__doc__") or ""
        _, _, args = inspect.cleandoc(own).partition("Args:\n")
        block = inspect.cleandoc(re.split(r"\n\S", "\n" + args, maxsplit=1)[0])
        for names, text in re.findall(r"(?ms)^([a-z][\w, ]*): (.*?)(?=^[a-z]|\Z)", block):
            for name in names.split(", "):
                found[name] = _as_markdown(text)
    return found


def page() -> str:
    """The whole page, in Markdown."""
    tables = _tables("", "Before all tables", LineSettings)
    return "\n".join([HEAD, *dict.fromkeys(tables)])  # both forms of MQTT have one broker


def _tables(path: str, title: str, settings: type[BaseModel]) -> Iterator[str]:
    """A table of Markdown for one of TOML, and those within it."""
    texts, rows, within = meanings(settings), [], []
    for name, field in settings.model_fields.items():
        here = f"{path}.{name}" if path else name
        if here == "links.kind":
            continue  # the heading says it
        inner = _model_of(field.annotation)
        if here in _LISTED:
            within += [part for head, one in _LISTED[here] for part in _tables(here, head, one)]
        elif inner is not None and inner not in _INLINE:
            within += _tables(here, f"`[{here}]`", inner)
        else:
            cells = (f"`{name}`", _values(field), _default(field), texts[name])
            rows.append("| " + " | ".join(cells) + " |")
    head = f"## {title}\n\n{_purpose(settings)}\n" if path else f"## {title}\n"
    if rows:
        yield f"{head}\n| key | value | left out | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n"
    yield from within


def _purpose(settings: type[BaseModel]) -> str:
    text = inspect.cleandoc(settings.__doc__ or "").split("\n\nArgs:")[0]
    return _as_markdown(re.split(r"\n\n(?:Example|Raises|Source):", text)[0])


def _as_markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", " ".join(text.split()))
    return text.replace("``", "`").replace("|", "\\|").rstrip(" ;")


def _parts(annotation: Any) -> list[Any]:
    """The types of a union but None; of another type itself."""
    if get_origin(annotation) in (Union, UnionType):
        return [one for one in get_args(annotation) if one is not NoneType]
    return [annotation]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for one in _parts(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _values(field: FieldInfo) -> str:
    """What a key may be, in words."""
    (one, *_) = _parts(field.annotation)
    if get_origin(one) is Literal:
        return " or ".join(f"`{json.dumps(value)}`" for value in get_args(one))
    if _model_of(one) is not None:
        return "{" + ", ".join(f"{name} = number" for name in one.model_fields) + "}"
    if one not in _KINDS:
        return {tuple: "list", dict: "table"}.get(get_origin(one), "text")
    bounds = [
        text.format(f"{getattr(part, name):,}".removesuffix(".0"))
        for name, text in _BOUNDS
        for part in field.metadata
        if getattr(part, name, None) is not None
    ]
    return " ".join([_KINDS[one], *bounds])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Limits):
        return f"`{{warning = {value.warning:g}, fault = {value.fault:g}}}`"
    if value is None or value in ("", {}):
        return "none"
    if isinstance(value, float):
        return f"`{value:.12g}`"
    return f"`{json.dumps(value)}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
