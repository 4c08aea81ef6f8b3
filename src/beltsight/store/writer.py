"""One thread brings rows to disk, however long the database is away; nobody else waits for it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from beltsight.errors import StoreError
from beltsight.store.backlog import Backlog, Entry
from beltsight.store.database import Database, explain
from beltsight.store.retention import Kept, Removal, plan_removal, read_kept
from beltsight.store.session import End, LineEntry, PreparedRow, Session, Work
from beltsight.store.settings import StoreSettings

Clock = Callable[[], float]
_IDLE_S = 1.0
# A database that says nothing for so long is in trouble, though it has not failed yet.
_SILENT_S = 2.0
# How often it is seen whether crops are over their limits.
_CROPS_EVERY_S = 30.0
# The run of rows that the store writes on its own.
_OWN_RUN = "store"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is wrong with the database, since when.

    Args:
        since_wall_s: seconds since 1970.
        reason: of the last try, and what to do.
        tries: so far.
    """

    since_wall_s: float
    reason: str
    tries: int


class Writer:
    """The writing thread. All attributes may be read by any thread.

    Args:
        database, engine, line: where to.
        session: open; the thread's from now on.
        backlog: what to write.
        settings: how.
        wall, monotonic: clocks, in seconds.
    """

    def __init__(
        self,
        database: Database,
        engine: sa.Engine,
        line: LineEntry,
        session: Session,
        backlog: Backlog,
        settings: StoreSettings,
        wall: Clock = time.time,
        monotonic: Clock = time.monotonic,
    ) -> None:
        self.end: End = session.end
        self.failure: Failure | None = None
        self.callback_problem: str | None = None
        self._database, self._engine, self._line = database, engine, line
        self._session: Session | None = session
        self._backlog, self._settings = backlog, settings
        self._wall, self._monotonic = wall, monotonic
        self._give_up = threading.Event()
        # Crops age by the clock that nobody sets: one that leaps ahead must not remove them all.
        self._began_wall_s = wall() - monotonic()
        self._crops_seen_s = -_CROPS_EVERY_S
        self._removing = False
        self._kept: Kept | None = None  # until the database was asked
        self._began_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def trouble(self) -> Failure | None:
        """What is wrong with the database, be it that it says nothing at all."""
        began_s, failure = self._began_s, self.failure
        if failure is not None or began_s is None:
            return failure
        waited_s = self._monotonic() - began_s
        if waited_s < _SILENT_S:
            return None
        reason = f"{self._database.name}: has not answered for {waited_s:.0f} s; see what holds it"
        return Failure(self._wall() - waited_s, reason, 1)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Write what waits, then end.

        Args:
            timeout_s: then it gives up.

        Returns:
            Whether the thread has ended; one that hangs inside the database has not.
        """
        self._backlog.close()
        self._thread.join(timeout_s)
        self._give_up.set()
        self._thread.join(2.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        settings = self._settings
        while not self._give_up.is_set():
            batch = self._backlog.take(settings.batch_rows, settings.batch_ms / 1000, _IDLE_S)
            if batch is None:
                break
            if batch and self._write(batch):
                self._acknowledge(batch)
            self._remove_crops()
        self._drop_session()

    def _write(self, batch: Sequence[Entry]) -> bool:
        """Try until it is on disk; whether it is."""
        rows, end = self._prepare(batch)
        work = [entry.work for entry in batch if entry.work]
        tries = 0
        while True:
            try:
                with self._asking():
                    self._add(rows, end, work)
            except Exception as error:  # the thread must outlive whatever a database raises
                tries += 1
                self._drop_session()
                self._note_failure(error, tries)
            else:
                self.end, self.failure = end, None
                self._count_crops(rows)
                return True
            if self._give_up.wait(self._pause_s(tries)):
                return False

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """While it lasts the database owes an answer: see :meth:`trouble`."""
        self._began_s = self._monotonic()
        try:
            yield
        finally:
            self._began_s = None

    def _prepare(self, batch: Sequence[Entry]) -> tuple[list[PreparedRow], End]:
        rows = []
        mac, sequence, line = self.end.mac, self.end.sequence, self._line
        for entry in batch:
            for body, columns, crop in zip(entry.bodies, entry.columns, entry.crops, strict=True):
                sequence += 1
                mac = line.chain.mac(sequence, mac, body)
                whole = {
                    "line_id": line.id,
                    "sequence": sequence,
                    **columns,
                    "body": body.decode("ascii"),
                    "mac": mac,
                }
                rows.append(PreparedRow(whole, crop))
        return rows, End(sequence, mac)

    def _add(self, rows: Sequence[PreparedRow], end: End, work: Sequence[Work]) -> None:
        if self._session is None:
            self._session = Session(self._database, self._engine, self._line)
        found = self._session.end
        if found == end:
            return  # the commit that seemed to fail did not
        if found != self.end:
            raise StoreError(
                f"{self._database.name}: the log of line {self._line.chain.line!r} ends at row "
                f"{found.sequence:,}, but this process wrote row {self.end.sequence:,} last: it "
                "was replaced, restored from a copy, or written by another; put it back, or begin "
                "again with another file"
            )
        self._session.add(rows, work)

    def _acknowledge(self, batch: Sequence[Entry]) -> None:
        self._backlog.done(batch)
        for entry in batch:
            entry.ticket.settle(kept=True)
            if entry.on_committed is not None:
                try:
                    entry.on_committed(entry.ticket.ids)
                except Exception as error:  # the rows are safe; the writer goes on
                    self.callback_problem = f"{type(error).__name__}: {error}"

    def _note_failure(self, error: Exception, tries: int) -> None:
        known = isinstance(error, StoreError)
        reason = str(error) if known else f"{self._database.name}: {explain(error, self._database)}"
        since_s = self.failure.since_wall_s if self.failure else self._wall()
        self.failure = Failure(since_s, reason, tries)

    def _pause_s(self, tries: int) -> float:
        first, most = self._settings.retry_first_ms, self._settings.retry_most_ms
        # Half of it by chance, so that several lines do not come all at once.
        return min(most, first * 2.0 ** min(tries - 1, 30)) / 1000 * random.uniform(0.5, 1.0)

    def _drop_session(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def _count_crops(self, rows: Sequence[PreparedRow]) -> None:
        for row in rows:
            if row.crop is not None and self._kept is not None:
                self._kept = self._kept.plus(len(row.crop), row.columns["wall_us"])

    def _remove_crops(self) -> None:
        """Bring crops under their limits, one go at a time, whenever it is time."""
        now_s = self._monotonic()
        if self._removing or now_s - self._crops_seen_s < _CROPS_EVERY_S:
            return
        self._crops_seen_s = now_s
        line_id, wall_s = self._line.id, self._began_wall_s + now_s
        days, limit_mb = self._settings.crops_days, self._settings.crops_mb
        if days is None and limit_mb is None:
            return
        # Commands wait for the next commit: the database is asked only where it must be.
        if self._kept is not None and not self._kept.is_over(wall_s, days, limit_mb):
            return
        try:
            with self._asking(), self._engine.connect() as connection, connection.begin():
                removal = plan_removal(connection, line_id, wall_s, days, limit_mb)
                if removal is None:
                    self._kept = read_kept(connection, line_id)
                    return
            event = removal.event(_OWN_RUN, self._wall(), now_s)
            done = partial(self._removed, removal)
            self._backlog.put([event], done, removal.carry_out_for(line_id))
            self._removing = True
        except Exception:  # crops can wait; a database that fails is told of by the next rows
            return

    def _removed(self, removal: Removal, _: range) -> None:
        self._removing = False
        if self._kept is not None:
            self._kept = self._kept.less(removal)
        self._crops_seen_s = self._monotonic() - _CROPS_EVERY_S  # perhaps there are more
