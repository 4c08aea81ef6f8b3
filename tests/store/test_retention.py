from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.store.making import KEY, NOON, decision, event, tampering

from beltsight.store import (
    EventStore,
    LogReader,
    StoreSettings,
    canonical_bytes,
    open_log,
    open_store,
    verify,
    writer,
)
from beltsight.store.retention import Kept, Removal, plan_removal, read_kept

DAY_S = 86_400.0


class Clock:
    """Time that a test moves."""

    now_s = NOON

    def __call__(self) -> float:
        return self.now_s


def crop(size_bytes: int) -> bytes:
    return b"\xff\xd8\xff" + bytes(size_bytes - 3)


def prod(store: EventStore, clock: Clock) -> None:
    """Let half a minute of the store's time pass, with a row in it."""
    clock.now_s += 31.0
    assert store.append([event()]).wait(20)


def wait_removed(store: EventStore, first: int) -> None:
    end_s = time.monotonic() + 20
    while store.reader.crop(first) is not None:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    assert store.flush(20)


def test_old_crops_go_and_the_chain_still_holds(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "a.db"
    settings = StoreSettings(crops_days=10, crops_mb=None)
    with open_store(path, "north", KEY, settings=settings, wall=clock, monotonic=clock) as store:
        # The store's own rows on what it removed may come between.
        numbers = []
        for item, age_days in enumerate([12.0, 11.0, 9.0], 1):
            row = decision(item, wall_s=NOON - age_days * DAY_S, crop=crop(1000))
            ticket = store.append([row])
            assert ticket.wait(20)
            numbers.append(ticket.ids[0])
        prod(store, clock)
        wait_removed(store, numbers[1])
        assert store.reader.crop(numbers[0]) is None
        assert store.reader.crop(numbers[2]) == crop(1000)
    reader = open_log(path)
    found = verify(reader, KEY)
    assert (found.ok, found.crops, found.crops_removed) == (True, 1, 2)
    told = [
        json.loads(row.body)["data"]
        for row in reader.rows(kinds=["event"])
        if row.code == "crops-removed"
    ]
    assert sum(data["crops"] for data in told) == 2
    assert sum(data["bytes"] for data in told) == 2000


def test_over_so_many_mb_the_oldest_go(tmp_path: Path) -> None:
    clock = Clock()
    settings = StoreSettings(crops_days=0, crops_mb=0.0025)  # as TOML writes "no limit"
    assert settings.crops_days is None
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY, settings=settings, wall=clock, monotonic=clock) as store:
        tickets = [store.append([decision(item, crop=crop(1000))]) for item in range(1, 5)]
        numbers = [ticket.ids[0] for ticket in tickets]
        assert store.flush(20)
        prod(store, clock)
        wait_removed(store, numbers[1])
        assert [store.reader.crop(n) is None for n in numbers] == [True, True, False, False]
    found = verify(open_log(path), KEY)
    assert (found.ok, found.crops, found.crops_removed) == (True, 2, 2)


def test_nothing_is_planned_within_the_limits(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north", wall=lambda: NOON) as store:
        assert store.append([decision(1, crop=crop(1000))]).wait(20)
        with store.reader.engine.connect() as connection:
            assert plan_removal(connection, store.reader.line_id, NOON, 10, 0.002) is None
            assert plan_removal(connection, store.reader.line_id, NOON, None, None) is None
            planned = plan_removal(connection, store.reader.line_id, NOON + 11 * DAY_S, 10, 0.002)
            assert planned is not None
            assert (planned.sequences, planned.size_bytes) == ((1,), 1000)


def test_crops_that_go_while_the_log_is_verified_are_no_tampering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    settings = StoreSettings(crops_days=10, crops_mb=None)
    with open_store(
        tmp_path / "a.db", "north", KEY, settings=settings, wall=clock, monotonic=clock
    ) as store:
        rows = [decision(item, wall_s=NOON, crop=crop(1000)) for item in range(1, 31)]
        assert store.append(rows).wait(20)

        def remove() -> None:
            clock.now_s += 11 * DAY_S
            assert store.append([event()]).wait(20)
            wait_removed(store, 30)

        before_crops(monkeypatch, remove)
        found = verify(store.reader, KEY)
    assert (found.bad, found.rows, found.crops, found.crops_removed) == (None, 30, 0, 30)
    assert found.ok


def test_a_row_that_does_not_fit_excuses_no_crop_that_goes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.db"
    with open_store(path, "north", KEY, wall=lambda: NOON) as store:
        assert store.append([decision(1, crop=crop(1000)), event(kind="a")]).wait(20)

    def take() -> None:
        """By who has no key."""
        told = canonical_bytes(event(kind="crops-removed", data={"through": 9})).decode()
        with tampering(path) as connection:
            connection.execute("DELETE FROM crops")
            connection.execute(
                "INSERT INTO log SELECT line_id, 3, kind, run_id, wall_us, 'crops-removed', "
                "item_id, encoder_count, label, route, model, latency_ms, ?, mac "
                "FROM log WHERE sequence=2", (told,),
            )  # fmt: skip

    before_crops(monkeypatch, take)
    found = verify(open_log(path), KEY)
    assert (found.ok, found.rows, found.crops_missing) == (False, 2, (1,))


def before_crops(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Do something just before the crops are read."""
    fetch, done = LogReader.fetch, list[bool]()

    def late(reader: LogReader, query: sa.Select[Any]) -> Sequence[Any]:
        if "JOIN crops" in str(query) and not done:
            done.append(True)
            act()
        return fetch(reader, query)

    monkeypatch.setattr(LogReader, "fetch", late)


def test_the_database_is_not_asked_while_crops_are_within_their_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []

    def plan(*arguments: Any) -> Removal | None:
        found = plan_removal(*arguments)
        asked.append(None if found is None else len(found.sequences))
        return found

    monkeypatch.setattr(writer, "plan_removal", plan)
    clock, path = Clock(), tmp_path / "a.db"
    settings = StoreSettings(crops_days=10, crops_mb=0.0035)
    with open_store(path, "north", KEY, settings=settings, wall=clock, monotonic=clock) as store:
        assert store.append([decision(1, wall_s=clock.now_s, crop=crop(1000))]).wait(20)
        seen(asked, 1)  # what lies there already is counted once
        for item in (2, 3):
            clock.now_s += 31.0
            assert store.append([decision(item, wall_s=clock.now_s, crop=crop(1000))]).wait(20)
        clock.now_s += 31.0
        assert store.append([decision(4, wall_s=clock.now_s, crop=crop(1000))]).wait(20)
        seen(asked, 2)
        assert store.flush(20)
        clock.now_s += 10 * DAY_S - 30.5  # the last is not that old, nor is room short
        assert store.append([event()]).wait(20)
        seen(asked, 4)
        assert store.flush(20)
    # The fourth was too much, then the second and third too old; after each it is within.
    assert asked == [None, 1, 2, None]
    assert verify(open_log(path), KEY).crops_removed == 3


def seen(asked: list[int | None], times: int) -> None:
    end_s = time.monotonic() + 20
    while len(asked) < times:
        assert time.monotonic() < end_s, asked
        time.sleep(0.01)


def test_what_is_kept_is_counted_as_the_database_has_it(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north", wall=lambda: NOON) as store:
        line_id = store.reader.line_id
        with store.reader.engine.connect() as connection:
            assert read_kept(connection, line_id) == Kept()
        assert store.append([decision(n, crop=crop(100 * n)) for n in (3, 2, 5)]).wait(20)
        with store.reader.engine.connect() as connection:
            kept = read_kept(connection, line_id)
    counted = Kept()
    for n in (3, 2, 5):
        counted = counted.plus(100 * n, round((NOON + n) * 1e6))
    assert kept == counted == Kept(1000, round((NOON + 2) * 1e6))
    assert not kept.is_over(NOON, 10, 0.001)
    assert kept.is_over(NOON, 10, 0.000_999)
    assert kept.is_over(NOON + 10 * DAY_S + 3, 10, None)
    assert not kept.is_over(NOON + 11 * DAY_S, None, None)


def test_a_clock_that_leaps_ahead_removes_no_crops(tmp_path: Path) -> None:
    wall, monotonic = Clock(), Clock()
    settings = StoreSettings(crops_days=10, crops_mb=None)
    with open_store(
        tmp_path / "a.db", "north", KEY, settings=settings, wall=wall, monotonic=monotonic
    ) as store:
        ticket = store.append([decision(1, wall_s=NOON, crop=crop(1000))])
        assert ticket.wait(20)
        wall.now_s += 365 * DAY_S
        for _ in range(3):
            prod(store, monotonic)
        assert store.reader.crop(ticket.ids[0]) == crop(1000)
