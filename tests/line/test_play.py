"""The whole line on a simulated belt: all but camera, belt and PLC is what runs in a plant."""

from __future__ import annotations

import io
import re
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from beltsight.cli.line_view import line_view
from beltsight.config import ASSETS
from beltsight.line.metrics import MetricsServer
from beltsight.line.settings import LineSettings, load_line
from beltsight.line.simulate import Fault, Run, SimulatedBelt
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.line.snapshot import Snapshot, take_snapshot
from beltsight.store import CommandRow, DecisionRow, EventRow, LogReader, open_log, parse_row

SMALL = {
    "simulation.length_m": 6, "simulation.items.rate_per_s": 8, "simulation.lead_in_mm": 800,
    "simulation.belt.loop_m": 3, "model.threads": 1,
}  # fmt: skip


def settings_in(folder: Path, **more: object) -> LineSettings:
    overrides = {"store.url": str(folder / "line.db"), **SMALL, **more}
    return load_line(ASSETS / "line" / "line.toml", overrides)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Play, Snapshot, str]:
    """Three seconds of belt, the line's last state, and its metrics then."""
    folder = tmp_path_factory.mktemp("line")
    play = Play(settings_in(folder), PlaySettings(seconds=3.0))
    for _ in play.frames():
        pass
    snapshot = take_snapshot(play.opened)
    server = MetricsServer(lambda: snapshot, "127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        metrics = answer.read().decode()
    server.close()
    assert play.close() is None
    return play, snapshot, metrics


def read(play: Play) -> LogReader:
    store = play.opened.settings.store
    return open_log(store.url, play.opened.settings.name)


def test_items_are_found_decided_and_blown_where_they_were_sent(
    played: tuple[Play, Snapshot, str],
) -> None:
    score = played[0].score()
    assert score.all.items >= 8
    assert score.all.found >= score.all.items - 1
    assert score.false == 0
    assert score.all.on_time == score.all.decided
    assert score.all.as_decided >= score.all.decided - 1
    assert score.fire_error_mm["p50"] < 5.0


def test_every_decision_is_in_the_log_before_its_command(
    played: tuple[Play, Snapshot, str],
) -> None:
    play, _, _ = played
    reader = read(play)
    rows = [parse_row(stored.body.encode()) for stored in reader.rows()]
    decisions = [row for row in rows if isinstance(row, DecisionRow)]
    commands = [row for row in rows if isinstance(row, CommandRow)]
    assert len(decisions) == len(play.decided)
    planned = {c.command_id for d in play.decided.values() for c in d.planned.commands}
    assert {row.command_id for row in commands} == planned
    assert not [row for row in rows if isinstance(row, EventRow) and row.severity == "critical"]


def test_the_figures_are_told_in_every_form(played: tuple[Play, Snapshot, str]) -> None:
    play, snapshot, metrics = played
    items = snapshot.figures.items
    assert items >= len(play.decided) - 3 > 0
    counted = re.findall(r'beltsight_items_total{route="[\w-]+"} (\d+)', metrics)
    assert sum(map(int, counted)) == items
    assert 'beltsight_state{state="running"} 1.0' in metrics
    record = snapshot.to_record()
    assert (record["items"], record["state"]) == (items, "running")
    assert record["links"]["plc"]["state"] == "up"
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(line_view(snapshot, 65.0))
    text = console.export_text()
    assert "demo  running  00:01:05" in text and f"{items:,}" in text
    assert all(route in text for route in snapshot.figures.routes)


def test_a_camera_that_breaks_is_told_and_comes_back(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    belt: SimulatedBelt = played[0].simulation.belt
    run = Run(faults=(Fault("break", 0.5, 0.8),))
    play = Play(settings_in(tmp_path), PlaySettings(2.0, run=run), belt=belt)
    for _ in play.frames():
        pass
    losses = play.opened.line.parts.supply.losses
    assert play.close() is None
    assert losses >= 1 and play.opened.line.figures.items > 0


def test_a_second_run_on_one_log_does_not_command_again(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    """The belt stands where it stood: the same items lie under the camera once more."""
    belt = played[0].simulation.belt
    first = Play(settings_in(tmp_path), PlaySettings(1.2), belt=belt)
    for _ in first.frames():
        pass
    first.close()
    rows = [parse_row(stored.body.encode()) for stored in read(first).rows(kinds=["command"])]
    told = {row.command_id: row for row in rows if isinstance(row, CommandRow)}  # the last word
    fired = {row.raw_fire_count for row in told.values() if row.outcome == "fired"}
    assert fired and {row.outcome for row in told.values()} <= {"fired", "refused"}
    second = Play(settings_in(tmp_path), PlaySettings(1.2), belt=belt)
    for _ in second.frames():
        pass
    second.close()
    # What the PLC dropped when the first run ended was never blown, and is commanded once more.
    again = {c.raw_fire_count for d in second.decided.values() for c in d.planned.commands}
    assert not again & fired
    took = [d.planned.took for d in second.decided.values()]
    assert took.count("commanded-already") == len(fired)
