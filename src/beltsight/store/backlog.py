"""Rows between the line and the disk: a queue with a limit, numbered as they come."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from beltsight.errors import StoreError
from beltsight.store.rows import DecisionRow, Row, canonical_bytes
from beltsight.store.session import Work
from beltsight.store.tables import row_columns

OnCommitted = Callable[[range], None]


class Ticket:
    """What :meth:`EventStore.append` gives: which rows, and whether they are safe.

    Args:
        ids: sequence numbers of the rows in the line's log.
    """

    __slots__ = ("_done", "_kept", "ids")

    def __init__(self, ids: range) -> None:
        self.ids = ids
        self._done = threading.Event()
        self._kept = False

    @property
    def committed(self) -> bool:
        """Whether the rows are safely on disk."""
        return self._kept

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the rows are on disk, or will never be.

        Returns:
            Whether they are.
        """
        self._done.wait(timeout_s)
        return self._kept

    def settle(self, kept: bool) -> None:
        """Called by the store."""
        self._kept = kept
        self._done.set()


@dataclass(frozen=True, slots=True)
class Entry:
    """Rows that belong together: they are committed in one transaction."""

    ticket: Ticket
    bodies: tuple[bytes, ...]
    columns: tuple[dict[str, Any], ...]
    crops: tuple[bytes | None, ...]
    on_committed: OnCommitted | None = None
    work: Work | None = None
    size_bytes: int = field(default=0)


class Backlog:
    """Entries that wait to be committed. Any thread may put; one takes.

    Args:
        next_sequence: number of the first row.
        max_rows, max_bytes: more than these are refused.
    """

    def __init__(self, next_sequence: int, max_rows: int, max_bytes: int) -> None:
        self._entries: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._next = next_sequence
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self._closed = False
        self.rows = 0
        self.size_bytes = 0
        self.refused = 0

    def put(
        self,
        rows: Sequence[Row],
        on_committed: OnCommitted | None = None,
        work: Work | None = None,
    ) -> Ticket:
        """Add rows that are committed together.

        Args:
            rows: at least one.
            on_committed: called with the numbers when they are on disk.
            work: to be done in the same transaction; such rows are the store's own and are taken
                even where the queue is full.

        Raises:
            StoreError: no row, the queue is full or closed, or a row is too large.
        """
        if not rows:
            raise StoreError("expected at least one row to store, got none")
        bodies = tuple(canonical_bytes(row) for row in rows)
        columns = tuple(row_columns(row) for row in rows)
        crops = tuple(row.crop if isinstance(row, DecisionRow) else None for row in rows)
        size_bytes = sum(map(len, bodies)) + sum(len(crop) for crop in crops if crop)
        with self._changed:
            if self._closed:
                raise StoreError("the store is closed; nothing more can be stored")
            if work is None:
                self._check_room(len(rows), size_bytes)
            ticket = Ticket(range(self._next, self._next + len(rows)))
            entry = Entry(ticket, bodies, columns, crops, on_committed, work, size_bytes)
            self._entries.append(entry)
            self._next += len(rows)
            self.rows += len(rows)
            self.size_bytes += size_bytes
            self._changed.notify_all()
        return ticket

    def take(self, max_rows: int, linger_s: float, idle_s: float) -> list[Entry] | None:
        """The entries at the front, which stay counted until :meth:`done`.

        Args:
            max_rows: so many, but at least one entry.
            linger_s: how long to wait for more than the first.
            idle_s: how long to wait for the first.

        Returns:
            Nothing in it where none came in time; None where it is closed and empty.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closed, idle_s)
            if not self._entries:
                return None if self._closed else []
            if linger_s > 0:
                full = time.monotonic() + linger_s
                while self.rows < max_rows and not self._closed:
                    left_s = full - time.monotonic()
                    if left_s <= 0 or not self._changed.wait(left_s):
                        break
            batch: list[Entry] = []
            taken = 0
            for entry in self._entries:
                if batch and taken + len(entry.bodies) > max_rows:
                    break
                batch.append(entry)
                taken += len(entry.bodies)
            return batch

    def done(self, batch: Sequence[Entry]) -> None:
        """The entries at the front are committed."""
        with self._changed:
            for entry in batch:
                assert self._entries[0] is entry
                self._entries.popleft()
                self.rows -= len(entry.bodies)
                self.size_bytes -= entry.size_bytes
            self._changed.notify_all()

    def wait_empty(self, timeout_s: float | None) -> bool:
        """Wait until nothing waits to be committed; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._entries, timeout_s)

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def left(self) -> tuple[Entry, ...]:
        """What still waits."""
        with self._changed:
            return tuple(self._entries)

    def _check_room(self, rows: int, size_bytes: int) -> None:
        if self.rows + rows > self._max_rows or self.size_bytes + size_bytes > self._max_bytes:
            self.refused += rows
            raise StoreError(
                f"the store is full: {self.rows:,} rows ({self.size_bytes / 1e6:.1f} MB) wait for "
                f"the database, at most {self._max_rows:,} ({self._max_bytes / 1e6:.1f} MB) may; "
                "see its state for what is wrong"
            )
