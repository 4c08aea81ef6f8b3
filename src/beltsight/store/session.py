"""The writer's connection: it holds the line, knows where the log ends, and adds to that end."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from beltsight.errors import StoreError
from beltsight.store.chain import START, Chain
from beltsight.store.database import Database, lock_in_postgres
from beltsight.store.lock import busy_line
from beltsight.store.tables import crops, lines, log

Work = Callable[[sa.Connection], None]


@dataclass(frozen=True, slots=True)
class End:
    """The last row of a log: its number, 0 where there is none, and its mac."""

    sequence: int = 0
    mac: bytes = START


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """A row as it goes into the database, and its crop."""

    columns: dict[str, Any]
    crop: bytes | None = None


@dataclass(frozen=True, slots=True)
class LineEntry:
    """A line's entry in the store: under which number its rows stand, and their chain."""

    id: int
    chain: Chain


def enter_line(database: Database, name: str, key: bytes | None) -> LineEntry:
    """The line's entry, made where it is new.

    Raises:
        StoreError: it is written with another key, or with none, or with one that is not given.
    """
    with database.engine("write").connect() as connection, connection.begin():
        if not database.is_sqlite:
            connection.exec_driver_sql("LOCK TABLE lines IN SHARE ROW EXCLUSIVE MODE")
        found = connection.execute(sa.select(lines).where(lines.c.name == name)).one_or_none()
        if found is None:
            chain = Chain(name, os.urandom(16), key)
            values = {
                "name": name,
                "chain_id": chain.chain_id,
                "keyed": key is not None,
                "key_check": chain.key_check,
            }
            made = connection.execute(lines.insert().values(**values))
            assert made.inserted_primary_key is not None
            return LineEntry(int(made.inserted_primary_key[0]), chain)
    chain = Chain(name, bytes(found.chain_id), key)
    if bool(found.keyed) != (key is not None) or bytes(found.key_check) != chain.key_check:
        was = "with another key" if found.keyed and key else (
            "with a key; name its file" if found.keyed else "without a key; leave it away"
        )  # fmt: skip
        raise StoreError(
            f"{database.name}: the log of line {name!r} was begun {was}, or begin a log under "
            "another line name"
        )
    return LineEntry(int(found.id), chain)


class Session:
    """One connection that writes a line's log.

    Args:
        database: the store.
        engine: that makes its connections.
        line: whose log it is.

    Raises:
        StoreError: another process writes the line.
        SQLAlchemyError, OSError: the database cannot be reached.
    """

    def __init__(self, database: Database, engine: sa.Engine, line: LineEntry) -> None:
        self._database = database
        self._connection = engine.connect()
        try:
            locks = not database.is_sqlite  # SQLite's line is locked by a file
            if locks and not lock_in_postgres(self._connection, line.id):
                raise busy_line(database.name, line.chain.line)
            self._file = self._identity()
            with self._connection.begin():
                self.end = last_row(self._connection, line.id)
        except BaseException:
            self.close()
            raise

    def add(self, rows: Sequence[PreparedRow], work: Sequence[Work] = ()) -> None:
        """Add rows in one transaction, which is safely on disk on return.

        Args:
            rows: in order, numbered from the end.
            work: to be done in the same transaction.

        Raises:
            StoreError: the file is no longer the one that was opened.
            SQLAlchemyError, OSError: whatever the database does. Whether the rows are in it is
                then open: a new session's ``end`` tells.
        """
        if self._identity() != self._file:
            raise StoreError(f"{self._database.name}: the file was moved, deleted or replaced")
        with self._connection.begin():
            for task in work:
                task(self._connection)
            self._connection.execute(log.insert(), [row.columns for row in rows])
            pictures = [_crop_columns(row) for row in rows if row.crop is not None]
            if pictures:
                self._connection.execute(crops.insert(), pictures)
        last = rows[-1].columns
        self.end = End(last["sequence"], last["mac"])

    def close(self) -> None:
        """End it; never fails."""
        try:
            self._connection.close()
        except Exception:  # a broken connection breaks again
            self._connection.invalidate()

    def _identity(self) -> tuple[int, int] | None:
        """What tells SQLite's file from another of its name: a deleted one can still be written."""
        if self._database.path is None:
            return None
        found = os.stat(self._database.path)
        return found.st_dev, found.st_ino


def last_row(connection: sa.Connection, line_id: int) -> End:
    """Where a line's log ends."""
    found = connection.execute(
        sa.select(log.c.sequence, log.c.mac)
        .where(log.c.line_id == line_id)
        .order_by(log.c.sequence.desc())
        .limit(1)
    ).one_or_none()
    return End() if found is None else End(int(found.sequence), bytes(found.mac))


def _crop_columns(row: PreparedRow) -> dict[str, Any]:
    columns, jpeg = row.columns, row.crop or b""
    return {
        "line_id": columns["line_id"],
        "sequence": columns["sequence"],
        "wall_us": columns["wall_us"],
        "size_bytes": len(jpeg),
        "jpeg": jpeg,
    }
