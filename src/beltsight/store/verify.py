"""Whether a log is what was written: the first bad row, and what could be missing without trace."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import sqlalchemy as sa

from beltsight.errors import StoreError
from beltsight.store.chain import KEY_VARIABLE, START, Chain
from beltsight.store.heads import Head, heads_of
from beltsight.store.reader import LogReader
from beltsight.store.rows import CROPS_REMOVED, parse_record, stored_bytes
from beltsight.store.session import End
from beltsight.store.tables import DERIVED, IS_EVENT, crops, derived_columns, log

Damage = Literal["changed", "removed", "inserted", "reordered", "truncated", "rewritten"]
# How far around a bad row is looked to tell what was done to it.
_WINDOW = 500
_CROPS_PAGE = 20


@dataclass(frozen=True, slots=True)
class BadRow:
    """The first row that is not as written.

    Args:
        sequence: its number.
        damage: what was done, as far as can be told.
        text: the same in words.
    """

    sequence: int
    damage: Damage
    text: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Args:
        line: whose log.
        keyed: whether the chain has a key: without, it proves only accidental damage.
        rows: that were read and fit, from the first.
        bad: the first that does not, or None.
        last_head: the newest head that the log agrees with, or None.
        beyond_head: rows after it, which could be cut off without trace.
        heads: of this line that were compared.
        crops: that were compared with their decisions.
        crops_removed: decisions whose crop was removed as the log itself says.
        crops_missing: sequences of decisions whose crop is gone or changed otherwise; at most 100.
    """

    line: str
    keyed: bool
    rows: int
    bad: BadRow | None
    last_head: Head | None
    beyond_head: int
    heads: int
    crops: int = 0
    crops_removed: int = 0
    crops_missing: tuple[int, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every row, head and crop is as written."""
        return self.bad is None and not self.crops_missing

    def statements(self) -> tuple[str, ...]:
        """What this proves and what not, in words."""
        said = [
            "The chain has a key: who does not have it could change nothing unseen."
            if self.keyed
            else "The chain has no key: this shows accidental damage only; anyone could have "
            "written it anew."
        ]
        if self.last_head is None:
            said.append(
                "No published head was compared: any number of rows could be cut off at the end "
                "without trace."
            )
        else:
            said.append(
                f"The last published head names row {self.last_head.sequence:,}: no row up to it "
                f"is missing. {self.beyond_head:,} rows follow it; more could have followed and be "
                "cut off without trace."
            )
        if self.crops_missing:
            fits = self.bad is None
            says = "the log does not say" if fits else "no row before the bad one says"
            said.append(
                f"{len(self.crops_missing):,} crops are gone or changed, though {says} that they "
                f"were removed; the first is of row {self.crops_missing[0]:,}."
            )
        return tuple(said)


def verify(
    reader: LogReader,
    key: bytes | None = None,
    heads: Iterable[Head] = (),
    *,
    check_crops: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Read a whole log and compare each row with the chain, and the chain with the heads.

    Memory does not grow with the log. Rows that come meanwhile are verified, too.

    Args:
        reader: of the line.
        key: of the chain.
        heads: published ones, read before; other lines' are passed over.
        check_crops: also compare crops with their SHA-256.
        progress: called with the number of rows that fit, now and then.

    Raises:
        StoreError: the database fails, or the key is not the chain's.
    """
    chain = _chain(reader, key)
    mine = heads_of(heads, reader.line)
    bad = _foreign_head(chain, mine)
    end = End()
    if bad is None:
        end, bad = _walk(reader, chain, mine, progress)
    rows = end.sequence
    agreed = [head for head in mine if head.sequence <= rows]
    if bad is None:
        bad = _missing_end(mine, rows)
    elif bad.damage == "rewritten":
        agreed = [head for head in agreed if head.sequence < bad.sequence]
    last = agreed[-1] if agreed else None
    counts: tuple[int, int, tuple[int, ...]] = (0, 0, ())
    if check_crops:
        counts = _check_crops(reader, rows, _Removals(reader, chain, end, goes_on=bad is None))
    return Verification(
        reader.line, key is not None, rows, bad, last, rows - (last.sequence if last else 0),
        len(mine), *counts,
    )  # fmt: skip


def _chain(reader: LogReader, key: bytes | None) -> Chain:
    """The chain to verify by; a row that says otherwise of the key must not talk us out of it."""
    chain = Chain(reader.line, reader.chain_id, key)
    if reader.keyed and key is None:
        raise StoreError(
            f"{reader.database.name}: the log of line {reader.line!r} has a key; name its file, or "
            "set BELTSIGHT_LOG_KEY"
        )
    if chain.key_check == reader.key_check and reader.keyed == (key is not None):
        return chain
    first = next(reader.rows(last=1), None)
    if first is None or not _fits(chain, 1, START, first):
        raise StoreError(
            f"{reader.database.name}: the log of line {reader.line!r} was not written with this "
            f"key, or its first row and its entry were both changed{_unkeyed(reader, key)}"
        )
    return chain


def _unkeyed(reader: LogReader, key: bytes | None) -> str:
    if reader.keyed or key is None:
        return ""
    return (
        ". Its entry says that it has no key: only if you know that to be so, leave --key away "
        f"and unset {KEY_VARIABLE}"
    )


def _walk(
    reader: LogReader,
    chain: Chain,
    heads: list[Head],
    progress: Callable[[int], None] | None,
) -> tuple[End, BadRow | None]:
    """The last of the rows that fit from the first, and the first that does not."""
    waiting = deque(heads)
    agreed, before, done = 0, START, 0
    rows: Iterator[Any] = reader.rows()
    for row in rows:
        sequence, mac = done + 1, row.mac
        if row.sequence != sequence or not _fits(chain, sequence, before, row):
            around = [row, *islice(rows, _WINDOW)]
            return End(done, before), _diagnose(chain, sequence, before, around)
        problem = _contradiction(row)
        if problem is not None:
            text = f"row {sequence:,} was changed: {problem}"
            return End(done, before), BadRow(sequence, "changed", text)
        while waiting and waiting[0].sequence == sequence:
            head = waiting.popleft()
            if head.mac != mac.hex():
                return End(done, before), _rewritten(agreed, head)
            agreed = sequence
        before, done = mac, sequence
        if progress is not None and done % 10_000 == 0:
            progress(done)
    return End(done, before), None


def _contradiction(row: Any) -> str | None:
    """Where a row's columns say something else than its body, which the chain covers."""
    try:
        columns = derived_columns(parse_record(stored_bytes(row.body)))
    except (StoreError, KeyError, TypeError, ValueError):  # fits a chain that anyone can make
        return "its body is no row"
    values = row._mapping
    for name in DERIVED:
        if values[name] != columns[name]:
            return f"its column {name} says {values[name]!r:.60}, written was {columns[name]!r:.60}"
    return None


def _diagnose(chain: Chain, expected: int, before: bytes, around: list[Any]) -> BadRow:
    """What was done to the first row that does not fit."""
    row = around[0]
    if not isinstance(row.sequence, int):  # which SQLite does not refuse
        return BadRow(expected, "inserted", f"a row without a number was inserted at {expected:,}")
    if row.sequence < 1:
        return BadRow(row.sequence, "inserted", f"row {row.sequence:,} was inserted before row 1")
    if row.sequence > expected:
        last = row.sequence - 1
        which = (
            f"row {expected:,} was" if last == expected else f"rows {expected:,} to {last:,} were"
        )
        return BadRow(expected, "removed", f"{which} removed")
    return (
        _found_later(chain, expected, before, around)
        or _moved_up(chain, expected, around)
        or _changed(chain, expected, around)
    )


def _found_later(chain: Chain, expected: int, before: bytes, around: list[Any]) -> BadRow | None:
    """The row that belongs here stands further down: others were put before it, or it was moved."""
    for place, row in enumerate(around[1:], 1):
        if not _fits(chain, expected, before, row):
            continue
        if any(_fits(chain, expected + 1, row.mac, other) for other in around[:place]):
            what = f"row {expected:,} stands at {row.sequence:,}"
            return BadRow(expected, "reordered", f"rows were reordered: {what}")
        many = "a row was" if place == 1 else f"{place:,} rows were"
        return BadRow(expected, "inserted", f"{many} inserted at row {expected:,}")
    return None


def _moved_up(chain: Chain, expected: int, around: list[Any]) -> BadRow | None:
    """Rows were taken out here and those after them numbered anew."""
    if len(around) < 2:
        return None
    for gone in range(1, _WINDOW):
        if _fits(chain, expected + gone + 1, around[0].mac, around[1]):
            which = "row" if gone == 1 else f"{gone:,} rows from"
            text = f"{which} {expected:,} removed, and those after it numbered anew"
            return BadRow(expected, "removed", text)
    return None


def _changed(chain: Chain, expected: int, around: list[Any]) -> BadRow:
    text = f"row {expected:,} was changed"
    if len(around) == 1 or not _fits(chain, expected + 1, around[0].mac, around[1]):
        text += ", or put in place of another"
    return BadRow(expected, "changed", text)


def _fits(chain: Chain, sequence: int, before: Any, row: Any) -> bool:
    """Whether a row, were it the one of this number, carries the mac that it must."""
    if not (isinstance(before, bytes) and isinstance(row.body, str)):  # SQLite keeps any type
        return False
    # A flipped bit may have made the text none; the reader keeps its bytes.
    body = row.body.encode("utf-8", "surrogateescape")
    return bool(chain.mac(sequence, before, body) == row.mac)


def _rewritten(agreed: int, head: Head) -> BadRow:
    which = f"a row from {agreed + 1:,} to {head.sequence:,}"
    text = f"{which} is another than when the head of row {head.sequence:,} was published"
    return BadRow(agreed + 1, "rewritten", text)


def _foreign_head(chain: Chain, heads: list[Head]) -> BadRow | None:
    """A head of another log of this line: this one stands in its place."""
    for head in heads:
        if head.chain != chain.chain_id.hex():
            text = (
                f"a published head names row {head.sequence:,} of another log of line "
                f"{chain.line!r}: this one was begun anew, or put in its place. Begin a new file "
                "of heads with each log"
            )
            return BadRow(1, "rewritten", text)
    return None


def _missing_end(heads: list[Head], rows: int) -> BadRow | None:
    if not heads or heads[-1].sequence <= rows:
        return None
    last = heads[-1].sequence
    text = f"rows {rows + 1:,} to {last:,} were cut off: a published head names row {last:,}"
    return BadRow(rows + 1, "truncated", text)


def _check_crops(
    reader: LogReader, rows: int, removals: _Removals
) -> tuple[int, int, tuple[int, ...]]:
    """Crops compared, crops removed by rule, and decisions whose crop is gone otherwise."""
    missing: list[int] = []
    compared = removed = 0
    mine = crops.c.line_id == reader.line_id
    decided = sa.and_(log.c.line_id == crops.c.line_id, log.c.sequence == crops.c.sequence)
    place = 0
    while True:
        page = reader.fetch(
            sa.select(log.c.sequence, log.c.wall_us, log.c.body, crops.c.jpeg)
            .select_from(log.outerjoin(crops, sa.and_(decided, mine)))
            .where(
                log.c.line_id == reader.line_id,
                log.c.sequence > place,
                log.c.sequence <= rows,
                log.c.kind == "decision",
                log.c.body.like('%"crop_sha256":"%'),
            )
            .order_by(log.c.sequence)
            .limit(_CROPS_PAGE)
        )
        if any(row.jpeg is None and not removals.tell_of(row) for row in page):
            removals.read_on()  # the line may have removed them just now
        for row in page:
            wanted = parse_record(stored_bytes(row.body)).get("crop_sha256")
            if row.jpeg is not None and hashlib.sha256(bytes(row.jpeg)).hexdigest() == wanted:
                compared += 1
            elif row.jpeg is None and removals.tell_of(row):
                removed += 1
            elif len(missing) < 100:
                missing.append(int(row.sequence))
        if len(page) < _CROPS_PAGE:
            return compared, removed, tuple(missing)
        place = page[-1].sequence


class _Removals:
    """The widest limits by which crops were removed, as those rows say that fit the chain.

    Args:
        reader, chain: of the log.
        end: the last row that fits.
        goes_on: whether rows may follow it that fit, too: what is behind a bad one proves nothing.
    """

    def __init__(self, reader: LogReader, chain: Chain, end: End, *, goes_on: bool) -> None:
        self._reader, self._chain, self._end, self._goes_on = reader, chain, end, goes_on
        self._older_than_us = self._through = 0
        query = sa.select(log.c.body).where(
            log.c.line_id == reader.line_id,
            IS_EVENT,
            log.c.code == CROPS_REMOVED,
            log.c.sequence <= end.sequence,
        )
        for (body,) in reader.fetch(query):
            self._widen(body)

    def tell_of(self, row: Any) -> bool:
        """Whether a decision's crop is within the limits."""
        return bool(row.wall_us < self._older_than_us or row.sequence <= self._through)

    def read_on(self) -> None:
        """Also read what the line has written since."""
        if not self._goes_on:
            return
        for row in self._reader.rows(after=self._end.sequence):
            sequence = self._end.sequence + 1
            if row.sequence != sequence or not _fits(self._chain, sequence, self._end.mac, row):
                self._goes_on = False
                return
            self._end = End(sequence, row.mac)
            if row.code == CROPS_REMOVED:
                self._widen(row.body)

    def _widen(self, body: Any) -> None:
        try:
            record = parse_record(stored_bytes(body))
        except StoreError:  # fits a chain that anyone can make
            return
        data = record.get("data")
        if record.get("event") == CROPS_REMOVED and isinstance(data, dict):
            limits = [data.get(name) for name in ("older_than_us", "through")]
            older_than_us, through = (one if isinstance(one, int) else 0 for one in limits)
            self._older_than_us = max(self._older_than_us, older_than_us)
            self._through = max(self._through, through)
