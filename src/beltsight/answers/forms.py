"""The forms of an answer file, told apart by its suffix: JSON lines, CSV and Parquet."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from beltsight.answers.columns import Column, Value, as_text, flat_row
from beltsight.answers.record import json_line
from beltsight.errors import ConfigError, MissingExtraError

SUFFIXES = (".jsonl", ".csv", ".parquet")
# Rows of Parquet that are in memory at a time.
_GROUP_ROWS = 8192


class Form(Protocol):
    """How answers become bytes that can be appended, and what is made of them at the end."""

    @property
    def name(self) -> str:
        """The suffix, without its dot."""

    def rows_path(self, out: Path) -> Path:
        """Where the rows of an unfinished run are kept."""

    def head(self) -> bytes:
        """What stands before the first row."""

    def row(self, record: Mapping[str, Any]) -> bytes:
        """One answer, with its end."""

    def finish(self, out: Path, notes: Mapping[str, str]) -> None:
        """Turn the rows into the file; does nothing where they are the file."""


def form_of(out: Path, columns: Sequence[Column]) -> Form:
    """The form that a file's name asks for.

    Raises:
        ConfigError: another suffix.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    suffix = out.suffix.lower()
    if suffix == ".jsonl":
        return JsonLines()
    if suffix == ".csv":
        return Csv(columns)
    if suffix == ".parquet":
        try:
            import_module("pyarrow.parquet")  # now, not after hours of work
        except ImportError as error:
            raise MissingExtraError("writing Parquet", "archive") from error
        return Parquet(columns)
    raise ConfigError(f"{out}: answers are written as {', '.join(SUFFIXES)}; got {suffix!r}")


class JsonLines:
    """One JSON object per line, as ``predict --json`` prints."""

    name = "jsonl"

    def rows_path(self, out: Path) -> Path:
        """See :class:`Form`."""
        return out

    def head(self) -> bytes:
        """See :class:`Form`."""
        return b""

    def row(self, record: Mapping[str, Any]) -> bytes:
        """See :class:`Form`."""
        return json_line(dict(record)) + b"\n"

    def finish(self, out: Path, notes: Mapping[str, str]) -> None:
        """See :class:`Form`."""


class Csv:
    """CSV by RFC 4180 in UTF-8, with a head; empty where there is no value."""

    name = "csv"

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)

    def rows_path(self, out: Path) -> Path:
        """See :class:`Form`."""
        return out

    def head(self) -> bytes:
        """See :class:`Form`."""
        return _csv_line([column.name for column in self._columns])

    def row(self, record: Mapping[str, Any]) -> bytes:
        """See :class:`Form`."""
        return _csv_line([_cell(value) for value in flat_row(record, self._columns)])

    def finish(self, out: Path, notes: Mapping[str, str]) -> None:
        """See :class:`Form`."""


class Parquet(JsonLines):
    """Parquet, made at the end from JSON lines: its table of contents comes last, so that a file
    that is cut off anywhere cannot be read at all.
    """

    name = "parquet"

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)

    def rows_path(self, out: Path) -> Path:
        """See :class:`Form`."""
        return out.with_name(f"{out.name}.rows")

    def finish(self, out: Path, notes: Mapping[str, str]) -> None:
        """See :class:`Form`."""
        made = out.with_name(f"{out.name}.making")
        _write_parquet(self.rows_path(out), made, self._columns, notes)
        os.replace(made, out)


def _csv_line(cells: Sequence[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerow(cells)  # lines end with CR LF: a name that holds either is quoted
    return as_text(text.getvalue()).encode()


def _cell(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _write_parquet(
    rows: Path, out: Path, columns: Sequence[Column], notes: Mapping[str, str]
) -> None:
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    kinds = {
        "text": arrow.string(), "number": arrow.float64(), "whole": arrow.int64(),
        "truth": arrow.bool_(),
    }  # fmt: skip
    fields = [arrow.field(as_text(column.name), kinds[column.kind]) for column in columns]
    schema = arrow.schema(fields, metadata={f"beltsight.{k}": as_text(v) for k, v in notes.items()})
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(rows, columns):
            arrays = [
                arrow.array(values, field.type)
                for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
    with out.open("rb") as file:
        os.fsync(file.fileno())


def _groups(rows: Path, columns: Sequence[Column]) -> Iterator[list[list[Value]]]:
    group: list[list[Value]] = []
    with rows.open("rb") as lines:
        for line in lines:
            row = flat_row(json.loads(line), columns)
            group.append([as_text(cell) if isinstance(cell, str) else cell for cell in row])
            if len(group) == _GROUP_ROWS:
                yield group
                group = []
    if group:
        yield group
