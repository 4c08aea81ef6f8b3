from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from tests.store.making import (
    KEY,
    NOON,
    append_at_once,
    command,
    decision,
    event,
    fill,
    wait_for,
)
from tests.store.postgres import Postgres

from beltsight.errors import MissingExtraError, StoreError
from beltsight.store import (
    Row,
    count_answers,
    late_share,
    latency,
    open_log,
    open_store,
    parse_row,
    throughput,
    verify,
)
from beltsight.store.database import find_database
from beltsight.store.retention import Kept, read_kept
from beltsight.store.schema import SCHEMA_VERSION, schema_version, upgrade


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def url(server: Postgres) -> Iterator[str]:
    """The server without a log."""
    server.execute(
        "DROP TABLE IF EXISTS crops, log, lines, beltsight_schema CASCADE;"
        "DROP FUNCTION IF EXISTS beltsight_append_only"
    )
    yield server.url


def test_a_log_is_kept_and_verified(url: str) -> None:
    crop = b"\xff\xd8\xff\0"
    strange = event(5, "é\n\\'", text="ü")
    rows: list[Row] = [event(), decision(1, crop=crop), command(1), strange]
    # By today's clock the crop grows too old, and its removal is a row more.
    with open_store(url, "north", KEY, wall=lambda: NOON) as store:
        ticket = store.append(rows)
        assert ticket.wait(30)
        assert [one.sequence for one in store.recent_commands(0)] == [2, 3]
    reader = open_log(url)
    told = [parse_row(row.body.encode()) for row in reader.rows()]
    assert [row.kind for row in told] == ["event", "decision", "command", "event"]
    assert told[3] == rows[3]
    found = verify(reader, KEY)
    assert (found.ok, found.rows, found.crops) == (True, 4, 1)
    assert reader.crop(2) == crop


def test_a_store_of_an_older_version_is_brought_up_to_date(url: str) -> None:
    engine = find_database(url).engine("write")
    with engine.connect() as connection, connection.begin():
        upgrade(connection, url, to=1)
    with open_store(url, "north", KEY, wall=lambda: NOON) as store:
        assert store.append([decision(1, crop=b"\xff\xd8\xff")]).wait(30)
    with engine.connect() as connection:
        assert schema_version(connection, url) == SCHEMA_VERSION
        (made,) = sa.inspect(connection).get_indexes("crops")
        assert (made["name"], made["column_names"]) == (
            "crops_limits", ["line_id", "sequence", "wall_us", "size_bytes"],
        )  # fmt: skip
        assert read_kept(connection, 1) == Kept(3, round((NOON + 1) * 1e6))
    assert verify(open_log(url), KEY).crops == 1


def test_queries_say_what_they_say_of_sqlite(url: str) -> None:
    with open_store(url, "north") as store:
        for item in range(1, 41):
            store.append([decision(item, latency_ms=float(item)), command(item, outcome="sent")])
        store.append([command(3, outcome="late"), command(3, outcome="late")])
    reader = open_log(url)
    assert [bucket.items for bucket in throughput(reader, bucket_s=20)] == [19, 20, 1]
    assert latency(reader).percentiles == {50: 20.0, 95: 38.0, 99: 40.0}
    assert (late_share(reader).late, late_share(reader).items) == (1, 40)
    assert sum(count_answers(reader).counts.values()) == 40


def test_a_changed_row_is_found_and_the_log_refuses_changes(server: Postgres, url: str) -> None:
    import psycopg

    fill(url, 5)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        server.execute("UPDATE log SET route='x'")
    server.execute("DROP TRIGGER log_append_only ON log")
    server.execute("UPDATE log SET body=replace(body,'glass','metal') WHERE sequence=4")
    found = verify(open_log(url), KEY)
    assert found.bad is not None
    assert (found.bad.sequence, found.bad.damage) == (4, "changed")


def test_a_second_writer_is_refused_until_the_first_ends(url: str) -> None:
    first = open_store(url, "north", KEY)
    with pytest.raises(StoreError, match="being written by another process; end that one"):
        open_store(url, "north", KEY)
    with open_store(url, "south"):
        pass
    assert first.close() is None
    open_store(url, "north", KEY).close()


def test_nothing_is_lost_when_the_server_is_killed_and_comes_back(
    server: Postgres, url: str
) -> None:
    committed: list[range] = []
    with open_store(url, "north", KEY) as store:
        for item in range(300):
            store.append([decision(item)], committed.append)
        while len(committed) < 20:
            time.sleep(0.001)
        server.kill()
        before = len(committed)
        store.append([event(kind="after")], committed.append)
        wait_for(store, healthy=False)
        state = store.state()
        assert state.waiting_rows >= 1
        assert state.failure is not None
        assert "see that PostgreSQL runs" in state.failure.reason
        server.start()
        assert store.flush(60)
        assert store.state().healthy
    assert before <= len(committed) == 301
    assert [row for ids in committed for row in ids] == list(range(1, 302))
    reader = open_log(url)
    assert verify(reader, KEY).rows == 301
    kept = [row.item_id for row in reader.rows(kinds=["decision"])]
    assert kept == list(range(300))


def test_a_server_that_hangs_makes_nobody_wait_and_is_told_of(server: Postgres, url: str) -> None:
    with open_store(url, "north", KEY) as store:
        assert store.append([event()]).wait(30)
        server.signal_all(signal.SIGSTOP)
        try:
            ticket = append_at_once(store, event())
            wait_for(store, healthy=False)
            assert "has not answered for" in str(store.state().failure)
            assert not ticket.committed
        finally:
            server.signal_all(signal.SIGCONT)
        assert ticket.wait(60)
        assert store.state().healthy
    assert verify(open_log(url), KEY).rows == 2


def test_a_server_that_hangs_while_crops_are_looked_at_is_told_of_too(
    server: Postgres, url: str
) -> None:
    now_s = [100.0]
    with (
        open_store(url, "north", KEY, wall=lambda: NOON, monotonic=lambda: now_s[0]) as store,
        sa.create_engine(url, poolclass=sa.NullPool).connect() as other,
        other.begin(),
    ):
        assert store.append([decision(1, crop=b"\xff\xd8\xff")]).wait(30)
        other.exec_driver_sql("LOCK TABLE crops IN ACCESS EXCLUSIVE MODE")
        now_s[0] += 31 * 86_400.0  # the crop is too old
        assert store.append([event()]).wait(30)
        end_s = time.monotonic() + 20
        while (failure := store.state().failure) is None:
            assert time.monotonic() < end_s, store.state()
            now_s[0] += 1
            time.sleep(0.01)
        assert "has not answered for" in failure.reason


def test_a_server_that_is_not_there_is_said_so_without_the_password(server: Postgres) -> None:
    url = server.url.replace("belt@", "belt:secret@").replace(str(server.port), "1")
    with pytest.raises(StoreError, match="see that PostgreSQL runs") as caught:
        open_store(url, "north")
    assert "secret" not in str(caught.value)


def test_without_psycopg_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtraError, match=r"beltsight\[postgres\]"):
        open_store("postgresql://h/d", "north")
