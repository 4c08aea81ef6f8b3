from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from tests.store.making import MODEL, NOON, command, decision, event

from beltsight.errors import ConfigError
from beltsight.store import (
    Confusion,
    Shifts,
    Span,
    load_shifts,
    oee_per_shift,
    open_log,
    open_store,
    report_log,
    shift_times,
    up_times,
)
from beltsight.store.oee import simulated_runs

HOUR_S = 3600.0
PERFECT = Confusion(("glass", "metal"), np.array([[10**9, 0], [0, 10**9]]))


def utc(*parts: int) -> float:
    return datetime(*parts, tzinfo=UTC).timestamp()  # type: ignore[arg-type,misc]


def shifts(**changes: Any) -> Shifts:
    day = {"name": "day", "start": "12:00", "end": "14:00"}
    return Shifts.model_validate({"time_zone": "UTC", "shifts": [day], **changes})


THREE = [
    {"name": "early", "start": "06:00", "end": "14:00"},
    {"name": "late", "start": "14:00", "end": "22:00"},
    {"name": "night", "start": "22:00", "end": "06:00"},
]


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        (date(2026, 3, 28), [8, 8, 7]),  # clocks go forward in that night
        (date(2026, 10, 24), [8, 8, 9]),  # and back in this one
        (date(2026, 6, 1), [8, 8, 8]),
    ],
)
def test_shifts_follow_the_clock_of_the_plant(day: date, hours: list[int]) -> None:
    known = shifts(time_zone="Europe/Berlin", shifts=THREE)
    found = [
        one
        for one in shift_times(known, utc(day.year, day.month, day.day), utc(2026, 12, 31))
        if one.day == day
    ]
    assert [one.name for one in found] == ["early", "late", "night"]
    assert [(one.end_s - one.start_s) / HOUR_S for one in found] == hours
    assert [one.end_s for one in found[:2]] == [one.start_s for one in found[1:]]


def test_a_border_within_the_hour_that_comes_twice_leaves_no_gap() -> None:
    halves = [
        {"name": "a", "start": "00:00", "end": "02:30"},
        {"name": "b", "start": "02:30", "end": "05:00"},
    ]
    known = shifts(time_zone="Europe/Berlin", shifts=halves)
    for start_s in (utc(2026, 10, 25), utc(2026, 3, 29)):
        a, b = list(shift_times(known, start_s, start_s + HOUR_S * 2))
        assert a.end_s == b.start_s


def test_a_shift_is_on_its_days_and_within_the_time_asked_for() -> None:
    known = shifts(shifts=[{"name": "n", "start": "22:00", "end": "06:00", "days": ["fri"]}])
    found = list(shift_times(known, utc(2026, 11, 16), utc(2026, 11, 23)))
    assert [(one.day, one.start_s) for one in found] == [
        (date(2026, 11, 20), utc(2026, 11, 20, 22))
    ]
    # A night that began before the time asked for.
    assert len(list(shift_times(known, utc(2026, 11, 21, 5), utc(2026, 11, 21, 6)))) == 1
    assert not list(shift_times(known, utc(2026, 11, 21, 6), utc(2026, 11, 21, 7)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('time_zone = "Mars/Base"\n[[shifts]]\nname="a"\nstart="06:00"\nend="14:00"', "time zone"),
        ('time_zone = "../UTC"\n[[shifts]]\nname="a"\nstart="06:00"\nend="14:00"', "time zone"),
        ('time_zone = "UTC"\n[[shifts]]\nname="a"\nstart="6 am"\nend="14:00"', "start"),
        ('time_zone = "UTC"\n[[shifts]]\nname="a"\nstart="06:00Z"\nend="14:00"', "offset"),
        (
            'time_zone = "UTC"\n[[shifts]]\nname="a"\nstart=6\nend="14:00"',
            'such as "06:00", without',
        ),
        ('time_zone = "UTC"\n[[shifts]]\nname="a"\nstart="06:00"\nend="14:00"\nday="x"', "days"),
        ('time_zone = "UTC"\nshifts = []', "shifts"),
        ('time_zone = "UTC"\nideal_items_s = 0', "ideal_items_s"),
    ],
)
def test_wrong_shifts_are_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "shifts.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        load_shifts(tmp_path / "shifts.toml")


def test_shifts_of_a_lifetime_are_refused() -> None:
    with pytest.raises(ConfigError, match="shorter time"):
        list(shift_times(shifts(), 0, utc(2026, 1, 1)))


def test_up_from_line_up_to_line_down_to_the_last_row_of_a_killed_run(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event(0), event(600, "line-down"), event(900), decision(1000)])
        # Killed after its decision; the next run's clock begins anew.
        store.append([event(1500, run_id="run-2", monotonic_s=3.0)])
        store.append([event(1800, "line-down", run_id="run-2", monotonic_s=303.0)])
        store.append([event(2000, run_id="run-3")])
    found = [(up.start_s - NOON, up.end_s - NOON) for up in up_times(open_log(tmp_path / "a.db"))]
    assert found == [(0, 600), (900, 1000), (1500, 1800), (2000, 2000)]


def test_a_wall_clock_stepped_back_an_hour_makes_no_time_up(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event(0), event(600, "line-down", wall_s=NOON + 600 - HOUR_S)])
    (up,) = up_times(open_log(tmp_path / "a.db"))
    assert (up.start_s, up.end_s) == (NOON - HOUR_S, NOON + 600 - HOUR_S)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Up for one of two hours; 1,800 items, of which 90 are late and 18 have no answer."""
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event(0)])
        rows = []
        for item in range(1800):
            label = None if item >= 1782 else "glass"
            rows.append(decision(item, wall_s=NOON + item, label=label, route=label or "hand-sort"))
        store.append(rows)
        store.append([command(item, outcome="late", wall_s=NOON + item) for item in range(90)])
        store.append([event(HOUR_S, "line-down")])
    return tmp_path / "a.db"


def test_oee_by_hand(log: Path) -> None:
    (found,) = oee_per_shift(
        open_log(log), shifts(ideal_items_s=0.625), Span(), NOON + 9 * HOUR_S, {MODEL: PERFECT}
    )
    assert (found.name, found.items, found.late, found.up_s) == ("day", 1800, 90, HOUR_S)
    assert found.availability == pytest.approx(0.5)
    assert found.performance == pytest.approx(1800 / 3600 / 0.625)
    assert found.quality == pytest.approx((1 - 0.05) * 0.99, abs=1e-6)
    assert found.oee == pytest.approx(0.5 * 0.8 * 0.95 * 0.99, abs=1e-6)
    assert found.corrected


def test_a_shift_that_goes_on_ends_now(log: Path) -> None:
    (found,) = oee_per_shift(open_log(log), shifts(), Span(), NOON + 0.5 * HOUR_S)
    assert found.availability == pytest.approx(1.0)
    assert (found.performance, found.oee, found.corrected) == (None, None, False)


def test_an_empty_log_has_no_shifts(tmp_path: Path) -> None:
    open_store(tmp_path / "a.db", "north").close()
    assert oee_per_shift(open_log(tmp_path / "a.db"), shifts(), Span(), NOON) == ()


def test_items_whose_command_was_not_sent_lower_quality_once_each(tmp_path: Path) -> None:
    outcomes = {0: ["late", "refused"], 1: ["refused", "conflict"], 2: ["conflict", "sent"],
                3: ["unknown"], 4: ["sent", "fired"]}  # fmt: skip
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event(0)])
        store.append([decision(item, wall_s=NOON + item) for item in range(10)])
        for item, all_of_it in outcomes.items():
            rows = [command(item, outcome=one, wall_s=NOON + item) for one in all_of_it]
            store.append(rows)
        store.append([event(HOUR_S, "line-down")])
    reader = open_log(tmp_path / "a.db")
    (found,) = oee_per_shift(reader, shifts(), Span(), NOON + 9 * HOUR_S, {MODEL: PERFECT})
    assert (found.items, found.late, found.not_sent) == (10, 1, 3)
    assert found.quality == pytest.approx(0.7, abs=1e-6)
    record = report_log(reader, Span(), NOON + HOUR_S, shifts=shifts()).to_record()
    assert (record["late"]["items"], record["not_sent"]) == (1, 3)
    assert record["shifts"][0]["not_sent"] == 3


def test_simulated_runs_are_found_by_the_index_of_events(tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([event(0, data={"real_time": False}), decision(1), event(9, "line-down")])
        store.append([event(20, run_id="run-2"), event(30, "camera-lost", run_id="run-2")])
    reader = open_log(tmp_path / "a.db")
    asked: list[tuple[str, Any]] = []
    sa.event.listen(
        reader.engine, "before_cursor_execute",
        lambda connection, cursor, query, values, *_: asked.append((query, values)),
    )  # fmt: skip
    assert simulated_runs(reader, Span()) == (1, 2)
    assert simulated_runs(reader, Span(NOON + 5, NOON + 15)) == (1, 1)
    assert simulated_runs(reader, Span(NOON + 15, NOON + 25)) == (0, 1)
    connection = sqlite3.connect(tmp_path / "a.db")
    log_queries = [one for one in asked if "FROM log" in one[0]]
    assert len(log_queries) == 3
    for query, values in log_queries:
        (step,) = connection.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
        assert "USING INDEX log_events" in step[3]
    connection.close()
