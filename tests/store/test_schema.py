from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.store.making import KEY, decision, fill

from beltsight.errors import StoreError
from beltsight.store import Chain, canonical_bytes, open_log, open_store, parse_row, verify
from beltsight.store.database import find_database
from beltsight.store.schema import SCHEMA_VERSION, schema_version, upgrade
from beltsight.store.tables import metadata, row_columns


def older(path: Path, rows: int, version: int = 1) -> None:
    """A store as an older version left it."""
    with find_database(path).engine("create").connect() as connection, connection.begin():
        upgrade(connection, str(path), to=version)
    chain, before = Chain("north", bytes(range(16)), KEY), bytes(32)
    old = sqlite3.connect(path)
    old.execute("INSERT INTO lines VALUES (1, 'north', ?, 1, ?)", (chain.chain_id, chain.key_check))
    for number in range(1, rows + 1):
        row = decision(number)
        body = canonical_bytes(row)
        before = chain.mac(number, before, body)
        values = {
            "line_id": 1, "sequence": number, **row_columns(row), "body": body.decode(),
            "mac": before,
        }  # fmt: skip
        old.execute(
            f"INSERT INTO log ({','.join(values)}) VALUES ({','.join('?' * len(values))})",
            list(values.values()),
        )
    old.commit()
    old.close()


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    return found


def test_a_store_of_version_1_is_brought_up_to_date_and_verifies(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    older(path, 5)
    assert "crops" not in tables(path)
    with open_store(path, "north", KEY) as store:
        store.append([decision(6, crop=b"\xff\xd8\xff")])
    assert {"crops", "log_events"} <= tables(path)
    reader = open_log(path)
    assert (verify(reader, KEY).ok, reader.last_sequence(), reader.crop(6)) == (
        True, 6, b"\xff\xd8\xff",
    )  # fmt: skip
    assert parse_row(next(reader.rows()).body.encode()) == decision(1)


def test_a_store_of_version_2_keeps_its_crops_and_finds_its_totals_by_an_index(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.db"
    older(path, 3, version=2)
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO crops SELECT line_id, 2, wall_us, 3, x'ffd8ff' FROM log "
                       "WHERE sequence=2")  # fmt: skip
    connection.commit()
    connection.close()
    assert "crops_limits" not in tables(path)
    reader = open_log(path)
    assert (reader.crop(2), reader.last_sequence()) == (b"\xff\xd8\xff", 3)
    connection = sqlite3.connect(path)
    for query in (
        "SELECT sum(size_bytes), min(wall_us) FROM crops WHERE line_id=1",
        "SELECT sequence, size_bytes FROM crops WHERE line_id=1 AND wall_us<5 ORDER BY sequence",
    ):
        (step,) = connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "USING COVERING INDEX crops_limits" in step[3]
    connection.close()


def test_reading_brings_it_up_to_date_too(tmp_path: Path) -> None:
    older(tmp_path / "a.db", 3)
    assert verify(open_log(tmp_path / "a.db"), KEY).rows == 3


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    fill(path, 1)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE beltsight_schema SET version_num='0099'")
    connection.commit()
    connection.close()
    for opened in (lambda: open_store(path, "north", KEY), lambda: open_log(path)):
        with pytest.raises(StoreError, match=r"schema 99 is newer .* pip install -U beltsight"):
            opened()


def test_tables_of_another_program_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE log (x)")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="tables of another program"):
        open_store(path, "north")
    assert tables(path) == {"log"}
    with pytest.raises(StoreError, match="tables of another program"):
        open_log(path)


def test_a_database_without_a_log_cannot_be_read(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "a.db").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(StoreError, match="holds no log"):
        open_log(tmp_path / "a.db")


def test_migrations_make_the_tables_that_queries_see(tmp_path: Path) -> None:
    fill(tmp_path / "a.db", 0)
    engine = find_database(tmp_path / "a.db").engine("read")
    with engine.connect() as connection:
        assert schema_version(connection, "a") == SCHEMA_VERSION
        inspector = sa.inspect(connection)
        assert set(metadata.tables) == {"lines", "log", "crops"}
        for name, table in metadata.tables.items():
            made = {column["name"]: column for column in inspector.get_columns(name)}
            assert list(made) == list(table.columns.keys())
            for column in table.columns:
                assert made[column.name]["nullable"] == column.nullable or column.primary_key
                assert str(made[column.name]["type"]) == str(
                    column.type.compile(dialect=engine.dialect)
                )
