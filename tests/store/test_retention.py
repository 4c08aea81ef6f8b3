from __future__ import annotations

import json
import time
from pathlib import Path

from tests.store.making import KEY, NOON, decision, event

from beltsight.store import EventStore, StoreSettings, open_log, open_store, verify
from beltsight.store.retention import plan_removal

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
