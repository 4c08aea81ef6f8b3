"""Old crops go, and the log says which: a crop that is missing otherwise was taken away."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from beltsight.store.rows import CROPS_REMOVED, EventRow
from beltsight.store.tables import crops, microseconds

# Of one go, so that it never holds the database for long.
MAX_REMOVED = 2_000
_NEVER_US = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Removal:
    """Crops to be removed.

    Args:
        older_than_us: those of an earlier wall time are removed for their age; 0 for none.
        through: those with at most this sequence are removed for room; 0 for none.
        sequences: of the crops.
        size_bytes: of all of them.
    """

    older_than_us: int
    through: int
    sequences: tuple[int, ...]
    size_bytes: int

    def event(self, run_id: str, wall_s: float, monotonic_s: float) -> EventRow:
        """The row that says so."""
        return EventRow(
            run_id=run_id,
            wall_s=wall_s,
            monotonic_s=monotonic_s,
            event=CROPS_REMOVED,
            text=f"{len(self.sequences):,} crops of {self.size_bytes / 1e6:.1f} MB removed",
            data={
                "older_than_us": self.older_than_us,
                "through": self.through,
                "crops": len(self.sequences),
                "bytes": self.size_bytes,
            },
        )

    def carry_out_for(self, line_id: int) -> Callable[[sa.Connection], None]:
        """What removes them, in the transaction of a connection."""

        def carry_out(connection: sa.Connection) -> None:
            mine = crops.c.line_id == line_id
            for first in range(0, len(self.sequences), 500):  # few enough for any database
                some = self.sequences[first : first + 500]
                connection.execute(crops.delete().where(mine, crops.c.sequence.in_(some)))

        return carry_out


@dataclass(frozen=True, slots=True)
class Kept:
    """What crops a line has: its only writer keeps count, so that it need not ask time and again.

    Args:
        size_bytes: of all of them.
        oldest_us: none is of an earlier wall time.
    """

    size_bytes: int = 0
    oldest_us: int = _NEVER_US

    def plus(self, size_bytes: int, wall_us: int) -> Kept:
        """With a crop more."""
        return Kept(self.size_bytes + size_bytes, min(self.oldest_us, wall_us))

    def less(self, removal: Removal) -> Kept:
        """Without those that were removed."""
        return Kept(self.size_bytes - removal.size_bytes, self.oldest_us)

    def is_over(self, wall_s: float, days: float | None, limit_mb: float | None) -> bool:
        """Whether some may be over the limits, which are those of :func:`plan_removal`."""
        return self.oldest_us < _older_than_us(wall_s, days) or (
            limit_mb is not None and self.size_bytes > _limit_bytes(limit_mb)
        )


def read_kept(connection: sa.Connection, line_id: int) -> Kept:
    """What crops a line has, as the database knows: it takes long where they are many."""
    totals = sa.select(sa.func.sum(crops.c.size_bytes), sa.func.min(crops.c.wall_us))
    size, oldest = connection.execute(totals.where(crops.c.line_id == line_id)).one()
    return Kept() if oldest is None else Kept(int(size), int(oldest))


def plan_removal(
    connection: sa.Connection,
    line_id: int,
    wall_s: float,
    days: float | None,
    limit_mb: float | None,
) -> Removal | None:
    """What is over the limits now; None where nothing is.

    Args:
        connection: to read from.
        line_id: whose crops.
        wall_s: now, seconds since 1970.
        days, limit_mb: the limits; None for none.
    """
    mine = crops.c.line_id == line_id
    older_than_us = _older_than_us(wall_s, days)
    columns = sa.select(crops.c.sequence, crops.c.size_bytes)
    old = connection.execute(
        columns.where(mine, crops.c.wall_us < older_than_us)
        .order_by(crops.c.sequence)
        .limit(MAX_REMOVED)
    ).all()
    if old:
        return Removal(older_than_us, 0, *_totals(old))
    if limit_mb is None:
        return None
    size = connection.execute(sa.select(sa.func.sum(crops.c.size_bytes)).where(mine)).scalar() or 0
    over_bytes = int(size) - _limit_bytes(limit_mb)
    if over_bytes <= 0:
        return None
    taken, freed = [], 0
    for row in connection.execute(
        columns.where(mine).order_by(crops.c.sequence).limit(MAX_REMOVED)
    ):
        taken.append(row)
        freed += row.size_bytes
        if freed >= over_bytes:
            break
    return Removal(0, taken[-1].sequence, *_totals(taken))


def _older_than_us(wall_s: float, days: float | None) -> int:
    return 0 if days is None else max(0, microseconds(wall_s - days * 86_400))


def _limit_bytes(limit_mb: float) -> int:
    return int(limit_mb * 1e6)


def _totals(rows: Iterable[Any]) -> tuple[tuple[int, ...], int]:
    found = [(int(sequence), int(size)) for sequence, size in rows]
    return tuple(sequence for sequence, _ in found), sum(size for _, size in found)
