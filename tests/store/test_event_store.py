from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.store.making import KEY, NOON, command, decision, event, fill, wait_for

from beltsight.errors import StoreError
from beltsight.store import (
    Head,
    Row,
    StoreSettings,
    open_log,
    open_store,
    open_with_settings,
    parse_row,
    recent_commands,
    verify,
)


def test_rows_come_back_as_they_were_in_order(tmp_path: Path) -> None:
    rows: list[Row] = [event(), decision(1), command(1), decision(2, label=None, confidence=None)]
    with open_store(tmp_path / "a.db", "north", KEY) as store:
        first = store.append(rows[:3])
        second = store.append(rows[3:])
        assert (first.ids, second.ids) == (range(1, 4), range(4, 5))
        assert second.wait(20)
        assert first.committed
    reader = open_log(tmp_path / "a.db")
    found = list(reader.rows())
    assert [parse_row(row.body.encode()) for row in found] == rows
    assert [row.sequence for row in found] == [1, 2, 3, 4]
    assert [row.kind for row in reader.rows(kinds=["command"])] == ["command"]
    assert [row.sequence for row in reader.rows(newest=2)] == [3, 4]
    assert [row.sequence for row in reader.rows(after=1, last=3)] == [2, 3]


def test_acknowledged_means_committed(tmp_path: Path) -> None:
    """When the callback comes, another connection already finds the rows."""
    seen: list[tuple[range, int]] = []
    with open_store(tmp_path / "a.db", "north") as store:
        reader = open_log(tmp_path / "a.db", "north")
        for item in range(5):
            ticket = store.append(
                [decision(item), event(item)],
                lambda ids: seen.append((ids, reader.last_sequence())),
            )
        assert ticket.wait(20)
    assert [ids for ids, _ in seen] == [range(2 * i + 1, 2 * i + 3) for i in range(5)]
    assert all(last >= ids[-1] for ids, last in seen)


def test_a_callback_that_fails_does_not_stop_the_writer(tmp_path: Path) -> None:
    def fail(ids: range) -> None:
        raise IndexError("of a caller")

    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event()], fail)
        assert store.append([event()]).wait(20)
        assert "IndexError" in str(store.state().callback_problem)
        assert store.state().healthy


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    fill(tmp_path / "a.db", 3)
    with open_store(tmp_path / "a.db", "north", KEY) as store:
        assert store.append([decision(4)]).ids == range(4, 5)
    assert verify(open_log(tmp_path / "a.db"), KEY).rows == 4


def test_lines_share_a_store_and_keep_apart(tmp_path: Path) -> None:
    with (
        open_store(tmp_path / "a.db", "north", KEY) as north,
        open_store(tmp_path / "a.db", "south") as south,
    ):
        tickets = [store.append([event()]) for store in (north, south) for _ in range(3)]
        assert all(ticket.wait(20) for ticket in tickets)
    assert verify(open_log(tmp_path / "a.db", "north"), KEY).rows == 3
    assert verify(open_log(tmp_path / "a.db", "south")).rows == 3
    with pytest.raises(StoreError, match="several lines; name one with --line; there are: north"):
        open_log(tmp_path / "a.db")
    with pytest.raises(StoreError, match="no line 'east'"):
        open_log(tmp_path / "a.db", "east")


@pytest.mark.parametrize(
    ("begun", "then", "said"),
    [
        (KEY, None, "with a key"),
        (None, KEY, "without a key"),
        (KEY, KEY + b"!", "another key"),
    ],
)
def test_a_line_keeps_its_key(
    tmp_path: Path, begun: bytes | None, then: bytes | None, said: str
) -> None:
    fill(tmp_path / "a.db", 1, begun)
    with pytest.raises(StoreError, match=said):
        open_store(tmp_path / "a.db", "north", then)
    fill(tmp_path / "a.db", 1, begun)  # the refusal let go of the line


@pytest.mark.parametrize("line", ["", "a/b", "a b", "x" * 65, "../a"])
def test_a_line_name_that_could_lead_out_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(StoreError, match="cannot be named"):
        open_store(tmp_path / "a.db", line)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u:secret@h/d", "expected a path"),
        ("sqlite://", "expected a path"),
        ("://", "cannot be read"),
    ],
)
def test_another_url_is_refused_without_its_password(url: str, said: str) -> None:
    with pytest.raises(StoreError, match=said) as caught:
        open_store(url, "north")
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    file.write_bytes(b"no database at all, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match="name another file"):
        open_store(file, "north")
    with pytest.raises(StoreError, match="folder exists"):
        open_store(tmp_path / "none" / "a.db", "north")
    with pytest.raises(StoreError, match="no such file"):
        open_log(tmp_path / "b.db")
    assert not (tmp_path / "b.db").exists()


def test_a_full_queue_refuses_at_once_and_takes_rows_again(tmp_path: Path) -> None:
    gate = threading.Event()

    def hold(ids: range) -> None:
        gate.wait(20)

    with open_store(tmp_path / "a.db", "north", settings=StoreSettings(queue_rows=4)) as store:
        store.append([event()], hold)
        while store.state().waiting_rows:
            pass
        for _ in range(4):
            store.append([event()])
        with pytest.raises(StoreError, match=r"4 rows .* wait for the database"):
            store.append([event()])
        assert store.state().refused_rows == 1
        gate.set()
        assert store.flush(20)
        assert store.append([event()]).ids == range(6, 7)


def test_the_queue_is_bounded_in_bytes(tmp_path: Path) -> None:
    settings = StoreSettings(queue_mb=0.1)
    with open_store(tmp_path / "a.db", "north", settings=settings) as store:
        picture = b"\xff\xd8\xff" + bytes(200_000)
        with pytest.raises(StoreError, match="store is full"):
            store.append([decision(1, crop=picture)])


def test_what_waits_is_counted_in_bytes_until_it_is_kept(tmp_path: Path) -> None:
    gate = threading.Event()

    def hold(ids: range) -> None:
        gate.wait(20)

    row = decision(1, crop=b"\xff\xd8\xff" + bytes(200_000))
    settings = StoreSettings(queue_mb=0.5)
    with open_store(tmp_path / "a.db", "north", settings=settings, wall=lambda: NOON) as store:
        store.append([event()], hold)
        while store.state().waiting_rows:
            pass
        store.append([row])
        store.append([row])
        with pytest.raises(StoreError, match=r"store is full: 2 rows \(0\.4 MB\) wait"):
            store.append([row])
        gate.set()
        assert store.flush(20)
        for _ in range(5):
            store.append([row])
            assert store.flush(20)


def test_nothing_is_taken_after_close_nor_without_rows(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        with pytest.raises(StoreError, match="at least one row"):
            store.append([])
        assert store.close() is None
        assert store.close() is None
        with pytest.raises(StoreError, match="closed"):
            store.append([event()])


def test_rows_that_come_together_are_committed_together(tmp_path: Path) -> None:
    """Within the time that the first row waits for more."""
    rows = 20
    settings = StoreSettings(batch_ms=500, batch_rows=rows)
    committed: list[int] = []
    with open_store(tmp_path / "a.db", "north", settings=settings) as store:
        for _ in range(rows):
            store.append([event()], lambda ids: committed.append(store.state().committed))
        assert store.flush(20)
    assert committed == [rows] * rows


def test_a_head_is_published_at_intervals_and_at_the_end(tmp_path: Path) -> None:
    heads: list[Head] = []
    came = threading.Event()

    def publish(head: Head) -> None:
        heads.append(head)
        came.set()

    settings = StoreSettings(head_interval_s=0.01)
    with open_store(
        tmp_path / "a.db", "north", KEY, publish=publish, settings=settings, wall=lambda: NOON
    ) as store:
        assert store.append([event()]).wait(20)
        assert came.wait(20)
        assert heads[0].sequence == 1
        store.append([event()] * 3)
    assert (heads[-1].sequence, heads[-1].wall_s, heads[-1].line) == (4, NOON, "north")
    sequences = [head.sequence for head in heads]
    assert sequences == sorted(set(sequences))
    assert verify(open_log(tmp_path / "a.db"), KEY, heads).beyond_head == 0


def test_a_second_place_that_fails_is_told_of(tmp_path: Path) -> None:
    def publish(head: Head) -> None:
        raise OSError("the share is gone")

    settings = StoreSettings(head_interval_s=0.01)
    store = open_store(tmp_path / "a.db", "north", publish=publish, settings=settings)
    assert store.append([event()]).wait(20)
    assert store.close() is None
    assert "the share is gone" in str(store.state().head_problem)


def test_settings_name_store_key_and_heads(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    settings = StoreSettings(
        url=f"sqlite:///{tmp_path}/a.db", key_file=tmp_path / "key", heads_file=tmp_path / "heads"
    )
    with open_with_settings(settings, "north") as store:
        store.append([event()])
    assert (tmp_path / "heads").read_text(encoding="utf-8").count('"sequence": 1,') == 1
    assert verify(open_log(tmp_path / "a.db"), KEY).keyed


def test_what_was_commanded_lately(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        for item in (1, 2, 3):
            store.append([decision(item), command(item, outcome="planned")])
        store.append([command(2, outcome="sent")])
        store.append([event(), decision(9, encoder_count=None)])
        assert store.flush(20)
        found = store.recent_commands(3000)
        told = [(one.sequence, one.item_id, one.encoder_count, one.outcome) for one in found]
        assert told == [
            (2, 1, 7000, "planned"),
            (5, 3, 3000, None),
            (6, 3, 9000, "planned"),
            (7, 2, 8000, "sent"),
        ]
        assert [one.sequence for one in recent_commands(store.reader, 0, limit=4)] == [6, 7]
        assert store.recent_commands(10_000) == ()


def test_order_is_by_sequence_when_the_wall_clock_steps_back_an_hour(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north", KEY) as store:
        for item, wall_s in enumerate([NOON, NOON + 1, NOON - 3599, NOON - 3598]):
            store.append([decision(item, wall_s=wall_s)])
    reader = open_log(tmp_path / "a.db")
    assert [row.item_id for row in reader.rows()] == [0, 1, 2, 3]
    assert verify(reader, KEY).ok


def test_the_log_is_append_only_to_whoever_errs(tmp_path: Path) -> None:
    import sqlite3

    fill(tmp_path / "a.db", 2)
    connection = sqlite3.connect(tmp_path / "a.db")
    for statement in ("UPDATE log SET route='x'", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
    with open_store(tmp_path / "a.db", "north", KEY) as store:
        wait_for(store, healthy=True)
