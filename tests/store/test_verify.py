from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.store.making import KEY, decision, event, fill, tampering

from beltsight.errors import StoreError
from beltsight.store import (
    Chain,
    Head,
    StoreSettings,
    Verification,
    open_log,
    open_store,
    read_heads,
    verify,
)
from beltsight.store.heads import HeadFile
from beltsight.store.tables import derived_columns

Tamper = Callable[[sqlite3.Connection], object]
ROWS = 12


def verified(path: Path, key: bytes | None = KEY, heads: list[Head] | None = None) -> Verification:
    reader = open_log(path)
    try:
        return verify(reader, key, heads or [])
    finally:
        reader.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    fill(tmp_path / "a.db", ROWS)
    return tmp_path / "a.db"


def shift(connection: sqlite3.Connection, first: int, by: int) -> None:
    """Number all rows from one on anew."""
    order = "DESC" if by > 0 else "ASC"
    found = connection.execute(
        f"SELECT sequence FROM log WHERE sequence >= ? ORDER BY sequence {order}", (first,)
    ).fetchall()
    for (sequence,) in found:
        connection.execute("UPDATE log SET sequence=? WHERE sequence=?", (sequence + by, sequence))


def insert(connection: sqlite3.Connection, sequence: int, count: int = 1) -> None:
    """Copies of row 3 at a place, those after it numbered anew."""
    names = [row[1] for row in connection.execute("PRAGMA table_info(log)")]
    row = list(connection.execute("SELECT * FROM log WHERE sequence=3").fetchone())
    shift(connection, sequence, count)
    for number in range(sequence, sequence + count):
        row[names.index("sequence")] = number
        connection.execute(f"INSERT INTO log VALUES ({','.join('?' * len(row))})", row)


def swap(connection: sqlite3.Connection, one: int, other: int) -> None:
    for was, now in ((one, -1), (other, one), (-1, other)):
        connection.execute("UPDATE log SET sequence=? WHERE sequence=?", (now, was))


def change(column: str, value: Any, at: int = 5) -> Tamper:
    return lambda c: c.execute(f"UPDATE log SET {column}=? WHERE sequence=?", (value, at))


def body_with(**changes: Any) -> Tamper:
    """A changed body, and columns that agree with it."""

    def tamper(connection: sqlite3.Connection) -> None:
        (body,) = connection.execute("SELECT body FROM log WHERE sequence=5").fetchone()
        record = {**json.loads(body), **changes}
        text = json.dumps(record, sort_keys=True, separators=(",", ":"))
        for name, value in {**derived_columns(record), "body": text}.items():
            connection.execute(f"UPDATE log SET {name}=? WHERE sequence=5", (value,))

    return tamper


def delete(condition: str) -> Tamper:
    return lambda c: c.execute(f"DELETE FROM log WHERE {condition}")


def in_turn(*steps: Tamper) -> Tamper:
    return lambda connection: [step(connection) for step in steps]


def sly(at: int) -> Tamper:
    """A row is taken out and the rest moved up."""
    return in_turn(delete(f"sequence={at}"), lambda c: shift(c, at + 1, -1))


@pytest.mark.parametrize(
    ("tamper", "sequence", "damage"),
    [
        (body_with(route="metal"), 5, "changed"),
        (body_with(confidence=0.76), 5, "changed"),
        (change("body", "{}"), 5, "changed"),
        (change("body", b"\xff\xfe"), 5, "changed"),
        (change("mac", bytes(32)), 5, "changed"),
        (change("mac", "text"), 5, "changed"),
        (change("mac", bytes(32), ROWS), ROWS, "changed"),
        (change("route", "metal"), 5, "changed"),
        (change("wall_us", 0), 5, "changed"),
        (change("encoder_count", None), 5, "changed"),
        (change("kind", "event"), 5, "changed"),
        (change("run_id", "run-2", 1), 1, "changed"),
        (delete("sequence=5"), 5, "removed"),
        (delete("sequence=1"), 1, "removed"),
        (delete("sequence BETWEEN 5 AND 7"), 5, "removed"),
        (sly(5), 5, "removed"),
        (sly(1), 1, "removed"),
        (lambda c: insert(c, 5), 5, "inserted"),
        (lambda c: insert(c, 5, 3), 5, "inserted"),
        (lambda c: insert(c, 1), 1, "inserted"),
        (lambda c: insert(c, ROWS), ROWS, "inserted"),
        (lambda c: insert(c, ROWS + 1), ROWS + 1, "changed"),  # or put there: nothing follows
        (change("sequence", -3, 1), -3, "inserted"),
        (change("sequence", 0, ROWS), 0, "inserted"),
        (change("sequence", "text", ROWS), ROWS, "inserted"),
        (lambda c: swap(c, 5, 6), 5, "reordered"),
        (lambda c: swap(c, 5, 9), 5, "reordered"),
        (lambda c: swap(c, 1, ROWS), 1, "reordered"),
        (lambda c: swap(c, ROWS - 1, ROWS), ROWS - 1, "reordered"),
        (in_turn(change("route", "x", 9), delete("sequence=3")), 3, "removed"),
    ],
)
def test_the_first_bad_row_is_named(log: Path, tamper: Tamper, sequence: int, damage: str) -> None:
    assert verified(log).rows == ROWS
    with tampering(log) as connection:
        tamper(connection)
    found = verified(log)
    assert not found.ok
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (sequence, damage), found.bad
    assert found.rows == max(sequence - 1, 0)
    assert f"{abs(sequence)}" in found.bad.text


@pytest.mark.parametrize("bit", [0, 3, 6])
def test_a_flipped_bit_anywhere_in_a_row_is_found(log: Path, bit: int) -> None:
    content = bytearray(log.read_bytes())
    place = content.index(b'"item_id":7,') + 12
    content[place + 40] ^= 1 << bit
    log.write_bytes(content)
    found = verified(log)
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (7, "changed")


def test_an_end_cut_off_is_found_by_a_head_and_not_without(log: Path, tmp_path: Path) -> None:
    settings = StoreSettings(head_interval_s=3600)
    publish = HeadFile(tmp_path / "heads")
    with open_store(log, "north", KEY, publish=publish, settings=settings) as store:
        store.append([decision(13)])
    heads = read_heads(publish.path)
    assert [head.sequence for head in heads] == [13]
    with tampering(log) as connection:
        connection.execute("DELETE FROM log WHERE sequence > 10")
    alone = verified(log)
    assert alone.ok
    assert "any number of rows could be cut off" in alone.statements()[1]
    found = verified(log, heads=heads)
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (11, "truncated")
    assert "rows 11 to 13" in found.bad.text


def test_what_could_be_lost_is_stated(log: Path) -> None:
    reader = open_log(log)
    rows = list(reader.rows())
    heads = [Head("north", reader.chain_id.hex(), n, rows[n - 1].mac.hex(), 1.0) for n in (4, 9)]
    found = verified(log, heads=[*heads, Head("other", "00", 99, "00", 1.0)])
    assert (found.ok, found.heads, found.beyond_head) == (True, 2, 3)
    assert found.last_head == heads[1]
    assert "3 rows follow it; more could have followed" in found.statements()[1]


def test_a_chain_without_key_that_was_written_anew_is_found_by_a_head(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path, ROWS, None)
    reader = open_log(path)
    rows = list(reader.rows())
    heads = [Head("north", reader.chain_id.hex(), n, rows[n - 1].mac.hex(), 1.0) for n in (4, 9)]
    chain = Chain("north", reader.chain_id)
    with tampering(path) as connection:
        body_with(route="metal")(connection)
        before = rows[3].mac
        for sequence in range(5, ROWS + 1):
            (body,) = connection.execute(
                "SELECT body FROM log WHERE sequence=?", (sequence,)
            ).fetchone()
            before = chain.mac(sequence, before, body.encode())
            change("mac", before, sequence)(connection)
    unkeyed = verified(path, None)
    assert unkeyed.ok
    assert "accidental damage only" in unkeyed.statements()[0]
    found = verified(path, None, heads)
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (5, "rewritten")
    assert found.last_head == heads[0]


def test_a_log_in_place_of_another_is_found_by_a_head(log: Path, tmp_path: Path) -> None:
    fill(tmp_path / "b.db", 20)
    mac = list(open_log(log).rows())[3].mac
    head = Head("north", open_log(log).chain_id.hex(), 4, mac.hex(), 1.0)
    assert verified(log, heads=[head]).ok
    found = verified(tmp_path / "b.db", heads=[head])
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (1, "rewritten")


def test_another_key_is_not_taken_for_damage(log: Path) -> None:
    with pytest.raises(StoreError, match="not written with this key"):
        verified(log, KEY + b"!")
    with pytest.raises(StoreError, match="has a key; name its file"):
        verified(log, None)


def test_a_line_that_denies_its_key_is_not_believed(log: Path) -> None:
    """Who lacks the key writes all anew without one, and says that there never was one."""
    reader = open_log(log)
    chain, before = Chain("north", reader.chain_id), bytes(32)
    rows = list(reader.rows())
    with tampering(log) as connection:
        connection.execute("UPDATE lines SET keyed=0, key_check=?", (bytes(8),))
        for row in rows:
            before = chain.mac(row.sequence, before, row.body.encode())
            change("mac", before, row.sequence)(connection)
    with pytest.raises(StoreError, match="not written with this key"):
        verified(log, KEY)
    assert not verified(log, None).keyed


def test_only_the_check_of_the_key_was_changed(log: Path) -> None:
    with tampering(log) as connection:
        connection.execute("UPDATE lines SET key_check=?", (bytes(8),))
    assert verified(log, KEY).ok


def test_an_empty_log_is_as_written(tmp_path: Path) -> None:
    fill(tmp_path / "a.db", 0)
    assert verified(tmp_path / "a.db").rows == 0


def test_a_crop_that_was_changed_or_taken_away_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY) as store:
        for item in range(1, 5):
            store.append([decision(item, crop=b"\xff\xd8\xff" + bytes([item]) * 50), event()])
    assert verified(path).crops == 4
    with tampering(path) as connection:
        connection.execute("UPDATE crops SET jpeg=x'ffd8ff00' WHERE sequence=3")
        connection.execute("DELETE FROM crops WHERE sequence=7")
    found = verified(path)
    assert (found.bad, found.ok, found.crops, found.crops_missing) == (None, False, 2, (3, 7))
    assert "the first is of row 3" in found.statements()[2]


@pytest.mark.parametrize(
    "body", ["CAST(x'7b22ff227d' AS TEXT)", "x'7b7d'", "'{}'", "replace(body,'through','thruogh')"]
)
def test_a_damaged_row_on_removed_crops_is_named(tmp_path: Path, body: str) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY) as store:
        store.append([decision(1, crop=b"\xff\xd8\xff"), event()])
        store.append([event(kind="crops-removed", data={"older_than_us": 0, "through": 1})])
    with tampering(path) as connection:
        connection.execute("DELETE FROM crops")
    found = verified(path)
    assert (found.ok, found.crops_removed) == (True, 1)
    with tampering(path) as connection:
        connection.execute(f"UPDATE log SET body={body} WHERE sequence=3")
    found = verified(path)
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (3, "changed")
    assert (found.crops_removed, found.crops_missing) == (0, (1,))
    assert "no row before the bad one says that they were removed" in found.statements()[2]


@pytest.mark.parametrize(
    "data", [{}, {"through": "all"}, {"through": [9]}, {"older_than_us": None}]
)
def test_a_row_on_removed_crops_that_names_none_excuses_none(
    tmp_path: Path, data: dict[str, Any]
) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY) as store:
        store.append([decision(1, crop=b"\xff\xd8\xff"), event(kind="crops-removed", data=data)])
    with tampering(path) as connection:
        connection.execute("DELETE FROM crops")
    assert verified(path).crops_missing == (1,)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_log(tmp_path: Path, run_alone: Any) -> None:
    """10,000 rows more take no MB more; a million are verified by benchmarks/store.py."""
    code = """
import sys
from beltsight.store import open_log, verify
print(verify(open_log(sys.argv[1]), sys.argv[2].encode(), check_crops=False).rows)
"""
    peaks = []
    for rows in (2_500, 12_500):
        fill(tmp_path / f"{rows}.db", rows)
        run = run_alone(code, str(tmp_path / f"{rows}.db"), KEY.decode())
        assert run.stdout.strip() == str(rows)
        peaks.append(run.peak_mb)
    print(peaks)
    assert peaks[1] < peaks[0] + 4
