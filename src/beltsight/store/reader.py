"""Reading a line's log, in pieces, while it may be written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from beltsight.errors import StoreError
from beltsight.store.database import (
    Database,
    find_database,
    prepare_for_reading,
    translated,
)
from beltsight.store.rows import KINDS
from beltsight.store.tables import crops, lines, log, microseconds

_PAGE_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Span:
    """A time, start within, end without; None is open.

    Args:
        start_s, end_s: seconds since 1970.
    """

    start_s: float | None = None
    end_s: float | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """On the log's wall time."""
        found = []
        if self.start_s is not None:
            found.append(log.c.wall_us >= microseconds(self.start_s))
        if self.end_s is not None:
            found.append(log.c.wall_us < microseconds(self.end_s))
        return found


ALWAYS = Span()


@dataclass(frozen=True, slots=True)
class LogReader:
    """A line's log, to be read; made by :func:`open_log`.

    Args:
        database, engine: where it lies.
        line: its name.
        line_id: in the database.
        chain_id: of its chain.
        keyed: whether the chain has a key.
        key_check: tells whether a key is the one.
    """

    database: Database
    engine: sa.Engine
    line: str
    line_id: int
    chain_id: bytes
    keyed: bool
    key_check: bytes

    def rows(
        self,
        span: Span = ALWAYS,
        kinds: Sequence[str] = (),
        *,
        after: int | None = None,
        last: int | None = None,
        newest: int | None = None,
    ) -> Iterator[Any]:
        """Rows by sequence, read a page at a time.

        Args:
            span: of wall time.
            kinds: ``decision``, ``command``, ``event``; all by default.
            after: only rows of a higher sequence.
            last: only rows up to this sequence.
            newest: only so many, the newest.

        Raises:
            StoreError: the database fails, or an unknown kind.
        """
        conditions = [log.c.line_id == self.line_id, *span.conditions(), *_of_kinds(kinds)]
        if span != ALWAYS:
            # A time is found by its index, its rows by theirs: sequence.
            after, last = self._within(span, after, last)
        if last is not None:
            conditions.append(log.c.sequence <= last)
        if newest is not None:
            after = max(after or 0, self._before_newest(conditions, newest))
        place = after
        while True:
            beyond = [] if place is None else [log.c.sequence > place]
            page = self.fetch(
                sa.select(log).where(*conditions, *beyond)
                .order_by(log.c.sequence).limit(_PAGE_ROWS)
            )  # fmt: skip
            yield from page
            if len(page) < _PAGE_ROWS:
                return
            place = page[-1].sequence

    def fetch(self, query: sa.Select[Any]) -> Sequence[Any]:
        """All rows of a query whose answer is small.

        Raises:
            StoreError: the database fails.
        """
        with translated(self.database), self.engine.connect() as connection:
            return connection.execute(query).all()

    def stream(self, query: sa.Select[Any], chunk_rows: int = 10_000) -> Iterator[Sequence[Any]]:
        """The rows of a query in chunks.

        Raises:
            StoreError: the database fails.
        """
        with translated(self.database), self.engine.connect() as connection:
            found = connection.execution_options(yield_per=chunk_rows).execute(query)
            yield from found.partitions()

    def last_sequence(self) -> int:
        """Number of the last row; 0 where there is none."""
        mine = sa.select(sa.func.max(log.c.sequence)).where(log.c.line_id == self.line_id)
        return int(self.fetch(mine)[0][0] or 0)

    def crop(self, sequence: int) -> bytes | None:
        """The JPEG of a decision; None where it has none or it was removed."""
        mine = sa.select(crops.c.jpeg).where(
            crops.c.line_id == self.line_id, crops.c.sequence == sequence
        )
        found = self.fetch(mine)
        return bytes(found[0][0]) if found else None

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def _within(self, span: Span, after: int | None, last: int | None) -> tuple[int, int]:
        """Narrower bounds of sequence, between which all rows of a time lie."""
        ends = sa.select(sa.func.min(log.c.sequence), sa.func.max(log.c.sequence)).where(
            log.c.line_id == self.line_id, *span.conditions()
        )
        first, final = self.fetch(ends)[0]
        if first is None:
            return 0, 0
        return max(first - 1, after or 0), final if last is None else min(final, last)

    def _before_newest(self, conditions: list[sa.ColumnElement[bool]], newest: int) -> int:
        query = (
            sa.select(log.c.sequence).where(*conditions)
            .order_by(log.c.sequence.desc()).offset(newest).limit(1)
        )  # fmt: skip
        found = self.fetch(query)
        return int(found[0][0]) if found else 0


def open_log(url: str | Path, line: str | None = None) -> LogReader:
    """A line's log for reading.

    Args:
        url: a path, ``sqlite:///PATH``, or ``postgresql+psycopg://USER@HOST/DATABASE``.
        line: its name; may be left out where the store has one line.

    Raises:
        StoreError: no store, no such line, or several and none was named.
        MissingExtraError: PostgreSQL, and psycopg is not installed.
    """
    database = find_database(url)
    if database.path is not None and not database.path.is_file():
        raise StoreError(
            f"{database.name}: no such file; a line's log is where its line.toml says (store.url), "
            "and 'beltsight line run' or 'line simulate line.toml' makes it"
        )
    prepare_for_reading(database)
    engine = database.engine("read")
    with translated(database), engine.connect() as connection:
        found = connection.execute(sa.select(lines).order_by(lines.c.name)).all()
    names = [entry.name for entry in found]
    if line is None and len(names) == 1:
        line = names[0]
    if line is None or line not in names:
        asked = f"no line {line!r}" if line is not None else "several lines; name one with --line"
        asked = asked if names else "no line has written anything"
        listed = f"; there are: {', '.join(names[:20])}" if names else ""
        raise StoreError(f"{database.name}: {asked}{listed}")
    entry = found[names.index(line)]
    return LogReader(
        database, engine, line, int(entry.id), bytes(entry.chain_id), bool(entry.keyed),
        bytes(entry.key_check),
    )  # fmt: skip


def _of_kinds(kinds: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    for kind in kinds:
        if kind not in KINDS:
            raise StoreError(f"no row is a {kind!r:.40}; expected {', '.join(KINDS)}")
    return [log.c.kind.in_(kinds)] if kinds else []
