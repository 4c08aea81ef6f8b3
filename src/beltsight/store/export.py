"""A log as a table in a file: JSON lines, CSV or Parquet, a row at a time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from beltsight.answers import form_of
from beltsight.answers.columns import Column, Kind
from beltsight.answers.forms import Form
from beltsight.errors import StoreError
from beltsight.files import whole
from beltsight.store.reader import ALWAYS, LogReader, Span
from beltsight.store.rows import DecisionRow, damaged_row, parse_record, parse_row, stored_bytes
from beltsight.store.tables import log

_TEXT: Kind = "text"
# In the order of the table; data and lanes are JSON within their cell.
_COLUMNS: tuple[tuple[str, Kind], ...] = (
    ("sequence", "whole"), ("kind", _TEXT), ("run_id", _TEXT), ("time", _TEXT),
    ("wall_s", "number"), ("monotonic_s", "number"), ("item_id", "whole"),
    ("frame_time_s", "number"), ("belt_position_mm", "number"), ("encoder_count", "whole"),
    ("lateral_mm", "number"), ("length_mm", "number"), ("width_mm", "number"),
    ("label", _TEXT), ("confidence", "number"), ("route", _TEXT), ("reason", _TEXT),
    ("abstained", "truth"), ("novel", "truth"), ("touching", "truth"), ("views", "whole"),
    ("latency_ms", "number"), ("model_hash", _TEXT), ("policy_version", _TEXT),
    ("crop_sha256", _TEXT), ("command_id", _TEXT), ("actuator", _TEXT), ("outcome", _TEXT),
    ("lanes", _TEXT), ("end_count", "whole"), ("raw_fire_count", "whole"),
    ("raw_end_count", "whole"), ("event", _TEXT), ("severity", _TEXT), ("text", _TEXT),
    ("data", _TEXT), ("mac", _TEXT),
)  # fmt: skip


def export_log(reader: LogReader, out: Path, span: Span = ALWAYS, kinds: Sequence[str] = ()) -> int:
    """Write a log's rows into a file that is not there yet.

    Args:
        reader: of the line.
        out: ``.jsonl``, ``.csv`` or ``.parquet``, by its name.
        span: of wall time.
        kinds: ``decision``, ``command``, ``event``; all by default.

    Returns:
        The number of rows.

    Raises:
        StoreError: the file is there or cannot be written, or the database fails.
        ConfigError: another form.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    form = form_of(out, log_columns(reader, span))
    if out.exists():
        raise StoreError(f"{out}: is already there; delete it, or choose another name")
    try:
        with whole(out) as draft:
            rows = form.rows_path(draft)
            try:
                n = _write(form, rows, export_records(reader, span, kinds))
                form.finish(draft, {"line": reader.line, "chain": reader.chain_id.hex()})
            finally:
                if rows != draft:
                    rows.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{out}: cannot be written: {error.strerror}") from error
    return n


def export_records(
    reader: LogReader, span: Span = ALWAYS, kinds: Sequence[str] = (), **limits: Any
) -> Iterator[dict[str, Any]]:
    """Rows as plain values, with ``sequence``, ``mac`` and ``time`` (ISO 8601, UTC).

    Args:
        reader, span, kinds: as for :func:`export_log`.
        limits: further ones of :meth:`LogReader.rows`.

    Raises:
        StoreError: the database fails, or a row is damaged.
    """
    for row in reader.rows(span, kinds, **limits):
        record = parse_record(stored_bytes(row.body))
        try:
            time, mac = utc_text(record["wall_s"]), bytes(row.mac).hex()
        except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
            raise damaged_row() from error
        yield {"sequence": row.sequence, **record, "time": time, "mac": mac}


def log_columns(reader: LogReader, span: Span = ALWAYS) -> tuple[Column, ...]:
    """The columns of the table: fixed ones, and a probability per task and class that occurs.

    Tasks and classes are those of each model's first decision in the time.

    Raises:
        StoreError: the database fails, or one of these rows is damaged.
    """
    firsts = (
        sa.select(sa.func.min(log.c.sequence))
        .where(log.c.line_id == reader.line_id, log.c.kind == "decision", *span.conditions())
        .where(log.c.label.is_not(None))
        .group_by(log.c.model)
    )
    bodies = sa.select(log.c.body).where(
        log.c.line_id == reader.line_id, log.c.sequence.in_(firsts)
    ).order_by(log.c.sequence)  # fmt: skip
    names: dict[tuple[str, str], None] = {}
    for (body,) in reader.fetch(bodies):
        row = parse_row(stored_bytes(body))
        if not isinstance(row, DecisionRow):
            raise damaged_row()
        for task, classes in row.probabilities.items():
            names.update(dict.fromkeys((task, name) for name in classes))
    fixed = [Column((name,), kind) for name, kind in _COLUMNS]
    likely = [Column(("probabilities", *pair), "number") for pair in names]
    return (*fixed[:-1], *likely, fixed[-1])


def as_cells(record: dict[str, Any]) -> dict[str, Any]:
    """A record whose lists and free data are text, as a cell of a table holds them."""
    nested: dict[str, Any] = {
        key: json.dumps(record[key]) for key in ("lanes", "data") if key in record
    }
    return {**record, **nested}


def utc_text(wall_s: float) -> str:
    """A time as people and programs read it.

    Example:
        >>> utc_text(0.25)
        '1970-01-01T00:00:00.250000+00:00'
    """
    return datetime.fromtimestamp(wall_s, UTC).isoformat(timespec="microseconds")


def _write(form: Form, path: Path, records: Iterator[dict[str, Any]]) -> int:
    n = 0
    with path.open("xb", buffering=262_144) as file:
        file.write(form.head())
        for record in records:
            file.write(form.row(record if form.name == "jsonl" else as_cells(record)))
            n += 1
        file.flush()
        os.fsync(file.fileno())
    return n
