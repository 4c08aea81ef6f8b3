"""A line's log, open for writing. What is acknowledged is on disk."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from beltsight.errors import StoreError
from beltsight.store.backlog import Backlog, OnCommitted, Ticket
from beltsight.store.chain import read_key
from beltsight.store.commanded import Commanded, recent_commands
from beltsight.store.database import (
    Database,
    check_line_name,
    find_database,
    prepare_database,
    translated,
)
from beltsight.store.heads import Head, HeadFile, Publish
from beltsight.store.lock import LineLock
from beltsight.store.publisher import HeadPublisher
from beltsight.store.reader import LogReader
from beltsight.store.rows import Row
from beltsight.store.session import LineEntry, Session, enter_line
from beltsight.store.settings import StoreSettings
from beltsight.store.writer import Clock, Failure, Writer


@dataclass(frozen=True, slots=True)
class StoreState:
    """How the store does.

    Args:
        failure: what is wrong and since when; None where all is well.
        waiting_rows, waiting_mb: not on disk yet.
        committed: sequence of the last row on disk.
        refused_rows: that were not taken because the queue was full.
        head: published last.
        head_problem: why the second place does not take heads, or None.
        callback_problem: what an ``on_committed`` raised last, or None.
    """

    failure: Failure | None
    waiting_rows: int
    waiting_mb: float
    committed: int
    refused_rows: int
    head: Head | None
    head_problem: str | None
    callback_problem: str | None

    @property
    def healthy(self) -> bool:
        """Whether the database takes rows."""
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Unkept:
    """Rows that were taken and never acknowledged.

    Args:
        ids: their sequence numbers.
        bodies: their canonical bytes, see :func:`beltsight.store.parse_row`.
        reason: why.
    """

    ids: range
    bodies: tuple[bytes, ...]
    reason: str


class EventStore:
    """A line's log, open for writing; made by :func:`open_store`. Any thread may use it."""

    def __init__(
        self,
        database: Database,
        line: LineEntry,
        lock: LineLock | None,
        settings: StoreSettings,
        publish: Publish | None,
        wall: Clock,
        monotonic: Clock,
    ) -> None:
        self.line = line.chain.line
        self._lock, self._entry, self._wall = lock, line, wall
        engine = database.engine("write")
        session = Session(database, engine, line)
        most_bytes = round(settings.queue_mb * 1e6)
        self._backlog = Backlog(session.end.sequence + 1, settings.queue_rows, most_bytes)
        self._writer = Writer(
            database, engine, line, session, self._backlog, settings, wall, monotonic
        )
        chain = line.chain
        self.reader = LogReader(
            database, database.engine("read"), chain.line, line.id, chain.chain_id,
            chain.key is not None, chain.key_check,
        )  # fmt: skip
        self._writer.start()
        self._heads = (
            HeadPublisher(publish, self.head, settings.head_interval_s) if publish else None
        )
        self._unkept: Unkept | None = None
        self._closed = False

    def append(self, rows: Sequence[Row], on_committed: OnCommitted | None = None) -> Ticket:
        """Take rows to be written; never waits for the disk.

        Args:
            rows: committed together, or not at all.
            on_committed: called with their sequence numbers, on the writing thread, when they are
                on disk. It must be quick; what it raises is kept in the state.

        Returns:
            A ticket that tells their numbers and when they are safe.

        Raises:
            StoreError: the queue is full or the store is closed: none of the rows is taken.
        """
        return self._backlog.put(rows, on_committed)

    def state(self) -> StoreState:
        """How the store does, now."""
        backlog, heads = self._backlog, self._heads
        return StoreState(
            failure=self._writer.trouble(),
            waiting_rows=backlog.rows,
            waiting_mb=backlog.size_bytes / 1e6,
            committed=self._writer.end.sequence,
            refused_rows=backlog.refused,
            head=heads.last if heads else None,
            head_problem=heads.problem if heads else None,
            callback_problem=self._writer.callback_problem,
        )

    def head(self) -> Head | None:
        """The head of what is on disk; None where nothing is."""
        end = self._writer.end
        if end.sequence == 0:
            return None
        chain = self._entry.chain
        return Head(self.line, chain.chain_id.hex(), end.sequence, end.mac.hex(), self._wall())

    def recent_commands(
        self, since_count: int | None = None, *, limit: int = 10_000
    ) -> tuple[Commanded, ...]:
        """See :func:`beltsight.store.recent_commands`."""
        return recent_commands(self.reader, since_count, limit=limit)

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was taken is on disk; whether it is."""
        return self._backlog.wait_empty(timeout_s)

    def close(self, timeout_s: float = 10.0) -> Unkept | None:
        """Write what waits and end; the last head is published.

        Args:
            timeout_s: how long the database may take.

        Returns:
            The rows that could not be written, or None.
        """
        if self._closed:
            return self._unkept
        self._closed = True
        ended = self._writer.stop(timeout_s)
        if self._heads is not None:
            self._heads.close(timeout_s)
        left = self._backlog.left()
        if left:
            bodies = tuple(body for entry in left for body in entry.bodies)
            first = left[0].ticket.ids.start
            failure = self._writer.trouble()
            reason = failure.reason if failure else "the database did not answer in time"
            if not ended:
                reason += "; the last transaction may still be committed"
            self._unkept = Unkept(range(first, first + len(bodies)), bodies, reason)
            for entry in left:
                entry.ticket.settle(kept=False)
        self.reader.close()
        if self._lock is not None and ended:
            self._lock.release()
        return self._unkept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close.

        Raises:
            StoreError: rows could not be written, and nothing else is wrong.
        """
        unkept = self.close()
        if unkept is not None and error is None:
            raise StoreError(f"{len(unkept.ids):,} rows were not stored: {unkept.reason}")


def open_store(
    url: str | Path,
    line: str,
    key: bytes | None = None,
    *,
    publish: Publish | None = None,
    settings: StoreSettings | None = None,
    wall: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> EventStore:
    """Open a line's log for writing; make it where there is none, bring an older one up to date.

    Args:
        url: a path, ``sqlite:///PATH``, or ``postgresql+psycopg://USER@HOST/DATABASE``.
        line: its name. One process writes a line; several lines may share a store.
        key: of the chain, at least 16 bytes; see :func:`beltsight.store.read_key`. Without it the
            chain shows accidental damage only.
        publish: takes heads: a :class:`beltsight.store.HeadFile` or any callable.
        settings: how it is written; ``url``, ``key_file`` and ``heads_file`` of it are not read.
        wall, monotonic: clocks, in seconds.

    Raises:
        StoreError: it cannot be reached or written, is of a newer schema, the line has another
            key, or another process writes it.
        MissingExtraError: PostgreSQL, and psycopg is not installed.

    Example:
        >>> import tempfile
        >>> from beltsight.store import EventRow
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open_store(f"{folder}/log.db", "north") as store:
        ...         row = EventRow(run_id="r1", wall_s=0, monotonic_s=0, event="line-up")
        ...         ticket = store.append([row])
        ...         ticket.wait(30), ticket.ids
        (True, range(1, 2))
    """
    settings = settings or StoreSettings()
    check_line_name(line)
    database = find_database(url, settings.synchronous)
    prepare_database(database)
    lock = LineLock(database.path, line) if database.path is not None else None
    try:
        with translated(database):
            entry = enter_line(database, line, key)
            return EventStore(database, entry, lock, settings, publish, wall, monotonic)
    except BaseException:
        if lock is not None:
            lock.release()
        raise


def open_with_settings(settings: StoreSettings, line: str) -> EventStore:
    """As :func:`open_store`, with where, key and second place from the settings.

    Raises:
        StoreError, MissingExtraError: as :func:`open_store`; or the key cannot be read.
    """
    heads = None if settings.heads_file is None else HeadFile(settings.heads_file)
    return open_store(
        settings.url, line, read_key(settings.key_file), publish=heads, settings=settings
    )
