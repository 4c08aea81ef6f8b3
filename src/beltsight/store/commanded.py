"""What was commanded lately: read when a line starts again, so that nothing is actuated twice."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from beltsight.store.reader import LogReader
from beltsight.store.rows import CommandRow, DecisionRow, EventRow, parse_row, stored_bytes
from beltsight.store.tables import log


@dataclass(frozen=True, slots=True)
class Commanded:
    """A belt position that is taken.

    Args:
        sequence: of the row.
        run_id, item_id: whose it is.
        encoder_count: unwrapped; where the item is (a decision) or where the actuator fires.
        belt_position_mm: of the item.
        outcome: of the command's last row; None for a decision, whose command may have been sent
            without a word of it in the log.
        row: all that is known.
    """

    sequence: int
    run_id: str
    item_id: int
    encoder_count: int
    belt_position_mm: float | None
    outcome: str | None
    row: DecisionRow | CommandRow


def recent_commands(
    reader: LogReader, since_count: int | None = None, *, limit: int = 10_000
) -> tuple[Commanded, ...]:
    """Decisions and commands, from an encoder count on, among the newest rows, by sequence.

    A decision is committed before its command is sent, so a run that was killed between the two
    left the decision alone: it counts as commanded. A command that is told of several times stands
    here once, with its last row.

    Args:
        reader: of the line.
        since_count: unwrapped encoder count; None for all.
        limit: how many of the log's newest rows are looked at, which bounds the time it takes.

    Raises:
        StoreError: the database fails, or a row is damaged.
    """
    query = (
        sa.select(log.c.sequence, log.c.body)
        .where(
            log.c.line_id == reader.line_id,
            log.c.sequence > reader.last_sequence() - limit,
            log.c.encoder_count.is_not(None),
        )
        .order_by(log.c.sequence)
    )
    if since_count is not None:
        query = query.where(log.c.encoder_count >= since_count)
    found: dict[tuple[object, ...], Commanded] = {}
    for sequence, body in reader.fetch(query):
        row = parse_row(stored_bytes(body))
        if isinstance(row, EventRow) or row.encoder_count is None:
            continue
        known = row.command_id if isinstance(row, CommandRow) else None
        found[row.kind, row.run_id, row.item_id, known or sequence] = Commanded(
            int(sequence), row.run_id, row.item_id, row.encoder_count, row.belt_position_mm,
            row.outcome if isinstance(row, CommandRow) else None, row,
        )  # fmt: skip
    return tuple(sorted(found.values(), key=lambda one: one.sequence))
