"""How well the line did per shift: availability x performance x quality.

Source: S. Nakajima, Introduction to TPM (1988); ISO 22400-2:2014, where performance is called
effectiveness. Availability is the share of the shift that the line was up, performance the items
per second of that time over the ideal rate, quality the share of items decided in time and sent
where they belong, corrected by the confusion matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

import sqlalchemy as sa

from beltsight.store.misclassification import Confusion
from beltsight.store.reader import LogReader, Span
from beltsight.store.rows import (
    LINE_DOWN,
    LINE_UP,
    EventRow,
    Row,
    damaged_row,
    parse_row,
    stored_bytes,
)
from beltsight.store.shifts import Shifts, ShiftTime, shift_times
from beltsight.store.stream import (
    StreamFigures,
    Targets,
    count_answers,
    stream_figures,
)
from beltsight.store.tables import IS_EVENT, log
from beltsight.store.throughput import late_share


@dataclass(frozen=True, slots=True)
class ShiftFigures:
    """One shift of one day; None of nothing.

    Args:
        name, day, start_s, end_s: of the shift; one that goes on ends now.
        up_s: how long the line was up in it.
        items: decided.
        late: of them, too late.
        not_sent: of them, those with a command that was refused or in conflict.
        availability: 0 to 1.
        performance: over 1 where the line was faster than ``ideal_items_s``.
        quality: 0 to 1.
        oee: their product.
        corrected: whether quality is corrected by confusion matrices.
    """

    name: str
    day: date
    start_s: float
    end_s: float
    up_s: float
    items: int
    late: int
    not_sent: int
    availability: float
    performance: float | None
    quality: float | None
    oee: float | None
    corrected: bool


@dataclass(frozen=True, slots=True)
class UpTime:
    """A time that the line was up, in seconds since 1970."""

    start_s: float
    end_s: float


def oee_per_shift(
    reader: LogReader,
    shifts: Shifts,
    span: Span,
    now_s: float,
    confusions: Mapping[str, Confusion | str] | None = None,
    targets: Targets | None = None,
) -> tuple[ShiftFigures, ...]:
    """The figures of each shift that a time touches; a shift counts whole.

    Args:
        reader: of the line.
        shifts: of the plant.
        span: of wall time; where it is open, from the log's first row to now.
        now_s: seconds since 1970; no shift is counted beyond.
        confusions, targets: see :func:`beltsight.store.stream_figures`.

    Raises:
        ConfigError: more than ten years.
        StoreError: the database fails.
    """
    start_s = span.start_s if span.start_s is not None else _first_wall_s(reader)
    if start_s is None:
        return ()
    end_s = min(now_s, span.end_s if span.end_s is not None else now_s)
    ups = up_times(reader)
    return tuple(
        _shift_figures(reader, shift, shifts.ideal_items_s, ups, now_s, confusions or {}, targets)
        for shift in shift_times(shifts, start_s, end_s)
    )


def up_times(reader: LogReader) -> tuple[UpTime, ...]:
    """When the line was up: from each ``line-up`` to the next ``line-down`` of its run.

    A run that was killed says no ``line-down``: it was up till its last row, and so is one that
    goes on, however long its belt has been empty. How long is told by the monotonic clock, so that
    a step of the wall clock makes it neither longer nor shorter; the wall clock's later word says
    when.

    Raises:
        StoreError: the database fails, or a row is damaged.
    """
    found: list[UpTime] = []
    up: EventRow | None = None
    for sequence, row in _ups_and_downs(reader):
        if up is not None and (row.event == LINE_UP or row.run_id != up.run_id):
            found.append(_between(up, _last_of_run(reader, up.run_id, sequence)))
            up = None
        elif up is not None:
            found.append(_between(up, row))
            up = None
        if row.event == LINE_UP:
            up = row
    if up is not None:
        found.append(_between(up, _last_of_run(reader, up.run_id, None)))
    return tuple(found)


def simulated_runs(reader: LogReader, span: Span) -> tuple[int, int]:
    """How many runs of a time had a simulation's clock, and how many there were.

    Raises:
        StoreError: the database fails, or a row is damaged.
    """
    start_s = -math.inf if span.start_s is None else span.start_s
    end_s = math.inf if span.end_s is None else span.end_s
    runs: list[bool] = []
    # The end is not asked of the database: given a time, SQLite reads all rows before it.
    for _, row in _ups_and_downs(reader):
        if row.wall_s >= end_s:
            continue
        if row.wall_s < start_s:
            runs.clear()  # but the last run that has not ended by then reaches into it
        if row.event == LINE_UP:
            runs.append(row.data.get("real_time") is False)
    return sum(runs), len(runs)


def _ups_and_downs(reader: LogReader) -> Iterator[tuple[int, EventRow]]:
    """Each ``line-up`` and ``line-down`` with its sequence, in their order."""
    # Sorted here: asked to sort, SQLite would rather read the whole log than the index of events.
    query = sa.select(log.c.sequence, log.c.body).where(
        log.c.line_id == reader.line_id, IS_EVENT, log.c.code.in_((LINE_UP, LINE_DOWN))
    )
    for sequence, body in sorted((row[0], row[1]) for row in reader.fetch(query)):
        row = parse_row(stored_bytes(body))
        if not isinstance(row, EventRow):
            raise damaged_row()
        yield sequence, row


def _between(up: EventRow, end: Row | None) -> UpTime:
    if end is None:
        return UpTime(up.wall_s, up.wall_s)
    length_s = max(0.0, end.monotonic_s - up.monotonic_s)
    return UpTime(end.wall_s - length_s, end.wall_s)


def _last_of_run(reader: LogReader, run_id: str, before: int | None) -> Row | None:
    """The run's last row before a sequence: the store's own rows may stand between."""
    conditions = [log.c.line_id == reader.line_id, log.c.run_id == run_id]
    if before is not None:
        conditions.append(log.c.sequence < before)
    query = sa.select(log.c.body).where(*conditions).order_by(log.c.sequence.desc()).limit(1)
    found = reader.fetch(query)
    return parse_row(stored_bytes(found[0][0])) if found else None


def _shift_figures(
    reader: LogReader,
    shift: ShiftTime,
    ideal_items_s: float | None,
    ups: tuple[UpTime, ...],
    now_s: float,
    confusions: Mapping[str, Confusion | str],
    targets: Targets | None,
) -> ShiftFigures:
    end_s = min(shift.end_s, now_s)
    span = Span(shift.start_s, end_s)
    up_s = sum(max(0.0, min(up.end_s, end_s) - max(up.start_s, shift.start_s)) for up in ups)
    stream = stream_figures(count_answers(reader, span), confusions, targets, draws=2)
    late = late_share(reader, span)
    availability = up_s / (end_s - shift.start_s)
    performance = late.items / up_s / ideal_items_s if ideal_items_s and up_s > 0 else None
    quality = _quality(stream, late.items, late.failed)
    whole = None if performance is None or quality is None else availability * performance * quality
    return ShiftFigures(
        shift.name, shift.day, shift.start_s, end_s, up_s, late.items, late.late, late.not_sent,
        availability, performance, quality, whole, stream.corrected,
    )  # fmt: skip


def _quality(stream: StreamFigures, items: int, failed: int) -> float | None:
    """Items in time, sent, and sent rightly, of all; one without an answer went nowhere right."""
    if not items or (stream.items and stream.right.value is None):
        return None
    answered = stream.items / items
    return (1 - failed / items) * answered * (stream.right.value or 0.0)


def _first_wall_s(reader: LogReader) -> float | None:
    mine = sa.select(sa.func.min(log.c.wall_us)).where(log.c.line_id == reader.line_id)
    found = reader.fetch(mine)[0][0]
    return None if found is None else int(found) / 1e6
