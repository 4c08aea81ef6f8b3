"""Answers as a table: a column's name is its place in the JSON, joined by dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from beltsight.records import TaskSpec

Kind = Literal["text", "number", "whole", "truth"]
Value = str | float | bool | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        keys: where its value lies in a record.
        kind: of its values, ``whole`` for numbers of up to 64 bits; any may be None.
    """

    keys: tuple[str, ...]
    kind: Kind

    @property
    def name(self) -> str:
        """Such as ``tasks.material.label``."""
        return ".".join(self.keys)


def answer_columns(tasks: Sequence[TaskSpec]) -> tuple[Column, ...]:
    """The columns of a table of a model's answers.

    Example:
        >>> for column in answer_columns([TaskSpec("material", ("glass", "metal"))])[:5]:
        ...     print(column.name, column.kind)
        path text
        tasks.material.label text
        tasks.material.confidence number
        tasks.material.probabilities.glass number
        tasks.material.probabilities.metal number
    """
    columns = [Column(("path",), "text")]
    for task in tasks:
        columns.append(Column(("tasks", task.name, "label"), "text"))
        columns.append(Column(("tasks", task.name, "confidence"), "number"))
        columns += [
            Column(("tasks", task.name, "probabilities", name), "number") for name in task.classes
        ]
    columns += [Column(("abstain",), "truth"), Column(("why",), "text")]
    columns += [Column(("novel",), "truth"), Column(("novelty",), "number")]
    names = ("route", "reason", "policy", "model", "engine", "error")
    return (*columns, *(Column((name,), "text") for name in names))


def flat_row(record: Mapping[str, Any], columns: Sequence[Column]) -> list[Value]:
    """A record's values, column by column; None where the record has none."""
    return [_value(record, column.keys) for column in columns]


def as_text(value: str) -> str:
    """Text that is UTF-8: the lone bytes of a file name that is no text become escapes.

    Example:
        >>> print(as_text("caf\\udce9.jpg"))
        caf\\udce9.jpg
    """
    return value.encode("utf-8", "backslashreplace").decode()


def _value(record: Any, keys: Sequence[str]) -> Value:
    for key in keys:
        if record is None:
            return None
        record = record.get(key)
    value: Value = record
    return value
