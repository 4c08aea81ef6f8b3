"""The whole line on a simulated belt: all but camera, belt and PLC is what runs in a plant."""

from __future__ import annotations

import io
import re
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.line.actuators.peers import command

from beltsight.cli.line_view import line_view
from beltsight.errors import ConfigError, LineError
from beltsight.line.actuators import Acknowledgement
from beltsight.line.assemble import REMEMBERED_S
from beltsight.line.inference import Inference
from beltsight.line.items import ReadyItem
from beltsight.line.metrics import MetricsServer
from beltsight.line.runner import Line
from beltsight.line.settings import DEFAULT_LINE, LineSettings, load_line
from beltsight.line.simulate import Fault, Run, SimulatedBelt, Slip, SpeedChange
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.line.snapshot import Snapshot, take_snapshot
from beltsight.records import Frame
from beltsight.store import (
    CommandRow,
    DecisionRow,
    EventRow,
    LogReader,
    open_log,
    parse_row,
)

SMALL = {
    "simulation.length_m": 6, "simulation.items.rate_per_s": 8, "simulation.lead_in_mm": 800,
    "simulation.belt.loop_m": 3, "model.threads": 1,
}  # fmt: skip


def settings_in(folder: Path, **more: object) -> LineSettings:
    overrides = {"store.url": str(folder / "line.db"), **SMALL, **more}
    return load_line(DEFAULT_LINE, overrides)


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


def test_peers_that_are_never_told_that_the_line_runs_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each frame would wait for them, a quarter of an hour for a second of belt."""
    monkeypatch.setattr("beltsight.line.simulate.play._SETTLE_S", 0.5)
    slow = [{"kind": "simulated", "name": "plc", "answer_ms": 400.0}]
    play = Play(settings_in(tmp_path, links=slow), PlaySettings(seconds=3.0))
    try:
        with pytest.raises(LineError, match=r"plc: .* was not answered within .*answer_ms"):
            play.run()
    finally:
        play.close()


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


def test_items_are_hit_in_their_middle_through_stops_slip_and_changes_of_speed(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    """All errors together: of what was seen, of the encoder, of the PLC's scan, of the valves."""
    speeds = ((1.5, 1500.0), (2.5, 2500.0), (4.0, 0.0), (5.0, 2500.0), (6.5, 2000.0))
    changes = tuple(SpeedChange(at_s, speed_mm_s) for at_s, speed_mm_s in speeds)
    run = Run(changes=changes, slips=(Slip(2.0, 6.0, 0.004),))
    belt = played[0].simulation.belt
    play = Play(settings_in(tmp_path), PlaySettings(9.0, run=run), belt=belt)
    assert play.run() is None
    error_mm = play.score().fire_error_mm
    print(f"middle of the shot to middle of the item: {error_mm}")
    assert error_mm["n"] >= 20 and error_mm["p99"] < 5.0


def test_items_are_matched_where_they_really_lay_after_a_slip(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    run = Run(slips=(Slip(0.8, 1.8, 0.04),))  # 100 mm that the encoder never says
    play = Play(settings_in(tmp_path), PlaySettings(3.5, run=run), belt=played[0].simulation.belt)
    assert play.run() is None
    score = play.score()
    assert score.all.items >= 15 and score.all.found >= score.all.items - 1
    assert score.position_error_mm["p50"] < 10.0 and score.false <= 1


def test_in_real_time_the_line_begins_where_the_belt_is(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, **{"simulation.lead_in_mm": 800})
    belt = played[0].simulation.belt
    play = Play(settings, PlaySettings(2.0, real_time=True), belt=belt)
    time.sleep(0.1)  # frames before the first reading are gone
    assert play.run() is None
    score = play.score()
    assert score.all.items > 0 and score.all.found >= score.all.items / 2  # on a busy machine, too
    assert score.position_error_mm["p50"] < 10.0 and abs(score.offset_mm) < 10.0
    time.sleep(0.5)  # the belt's clock goes on, and the line is closed
    assert play.score().all == score.all


def test_pulses_that_this_machine_times_meet_the_items(
    tmp_path: Path,
) -> None:
    # A slow belt: a busy machine would decide everything too late on a fast one.
    slow = {"simulation.speed_mm_s": 1000, "simulation.frames_per_s": 12}
    settings = settings_in(tmp_path, **slow, **{"simulation.items.rate_per_s": 4})
    timed = [
        one.model_copy(update={"timing": "host", "latency_ms": 0.0})
        for one in settings.schedule.actuators
    ]
    schedule = settings.schedule.model_copy(update={"actuators": tuple(timed)})
    settings = settings.model_copy(update={"schedule": schedule})
    with pytest.raises(ConfigError, match="real time"):
        Play(settings, PlaySettings(5.0))
    play = Play(settings, PlaySettings(5.0, real_time=True))
    assert play.run() is None
    # Given at once instead, a pulse would lie 600 mm before its item.
    assert take_snapshot(play.opened).to_record()["host_pulses"]["pulses"] > 0
    assert play.score().shots["hit"] >= 1


def test_every_decision_is_in_the_log_before_its_command(
    played: tuple[Play, Snapshot, str],
) -> None:
    play, _, _ = played
    reader = read(play)
    rows = [parse_row(stored.body.encode()) for stored in reader.rows()]
    decisions = [row for row in rows if isinstance(row, DecisionRow)]
    commands = [row for row in rows if isinstance(row, CommandRow)]
    assert len(decisions) == len(play.noted)
    commands = [row for row in commands if row.command_id]
    planned = {count for noted in play.noted.values() for count in noted.fire_counts}
    assert {row.raw_fire_count for row in commands} == planned
    assert not [row for row in rows if isinstance(row, EventRow) and row.severity == "critical"]


def test_the_figures_are_told_in_every_form(played: tuple[Play, Snapshot, str]) -> None:
    play, snapshot, metrics = played
    items = snapshot.figures.items
    assert items >= len(play.noted) - 3 > 0
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


def test_no_count_is_told_that_no_encoder_gave(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    play = Play(settings_in(tmp_path), PlaySettings(1.0), belt=played[0].simulation.belt)
    view = play.opened.settings.view
    image = np.zeros((view.height_px, view.width_px, 3), np.uint8)
    play.opened.line.take(Frame(image, 1.0, None))
    assert play.opened.links.line_state().raw_count is None
    play.opened.line.take(Frame(image, 1.01, 77))
    assert play.opened.links.line_state().raw_count == 77
    assert play.close() is None


def take_frame(line: Line) -> None:
    while line.step() is None:
        pass


def set_anew(line: Line) -> None:
    line.parts.odometer.resets += 1


@pytest.mark.parametrize(
    ("name", "outcome", "took_ms"),
    [("queue", "planned", 0.0), ("decision_age_ms", "planned", 500.0), ("late", "late", 0.0)],
)
def test_a_line_that_cannot_keep_up_is_degraded(
    played: tuple[Play, Snapshot, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    outcome: str,
    took_ms: float,
) -> None:
    settings = settings_in(tmp_path, **{"link_times.safe": "stated", "health.hold_s": 0.001})
    play = Play(settings, PlaySettings(), belt=played[0].simulation.belt)
    line = play.opened.line
    take_frame(line)
    if name == "queue":
        monkeypatch.setattr(Inference, "waiting", property(lambda inference: inference.room))
    line.parts.figures.add_item("end", "", outcome, took_ms, took_ms, line.parts.clock(), False)
    for _ in range(2 * 8):  # it is looked at twice before it counts
        take_frame(line)
    state = play.opened.links.line_state()
    monkeypatch.undo()
    assert play.close() is None
    assert (state.name, state.reason) == ("degraded", f"{name} (fault)")


def test_what_a_peer_says_before_its_command_counts_as_sent_is_not_lost(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    play = Play(settings_in(tmp_path), PlaySettings(1.0), belt=played[0].simulation.belt)
    one = command(1)
    assert play.opened.submit(one)  # it waits: this line has not seen its belt
    reporter = play.opened.reporter
    reporter.acknowledged("plc", Acknowledgement(one.command_id, "fired", None), time.monotonic())
    reporter.outcome(one, "sent", time.monotonic())
    assert play.close() is None
    kept = [parse_row(stored.body.encode()) for stored in read(play).rows()]
    told = [row.outcome for row in kept if isinstance(row, CommandRow)]
    assert told[:2] == ["fired", "sent"]
    events = [row.event for row in kept if isinstance(row, EventRow)]
    assert "unknown-command" not in events


def test_what_cannot_be_used_or_decided_does_not_stop_the_line(
    played: tuple[Play, Snapshot, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(settings_in(tmp_path), PlaySettings(1.2), belt=played[0].simulation.belt)
    line = play.opened.line
    frames = play.frames()
    before = next(frames).frame
    with monkeypatch.context() as patch:
        small = Frame(np.zeros((100, 100, 3), np.uint8), before.time_s + 0.01, 1)
        patch.setattr(line.parts.supply, "read", lambda: small)
        assert line.step() is None and line.step() is None

    def fail(item: ReadyItem) -> None:
        raise LineError("no such item")

    monkeypatch.setattr(play.opened.deciding, "decide", fail)
    assert sum(1 for _ in frames) > 20
    assert play.close() is None
    reporter = play.opened.reporter
    assert reporter.refused_frames == 2 and reporter.failures > 0
    rows = [parse_row(stored.body.encode()) for stored in read(play).rows(kinds=["event"])]
    events = [row.event for row in rows if isinstance(row, EventRow)]
    assert events.count("frame-refused") == 1  # the same is told once
    assert events.count("decision-failed") == reporter.failures


def test_a_simulated_belt_begins_anew_with_each_run_on_one_log(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    belt = played[0].simulation.belt
    scores = []
    for _ in range(2):
        play = Play(settings_in(tmp_path), PlaySettings(1.2), belt=belt)
        play.run()
        assert play.opened.withheld == 0
        assert {noted.took for noted in play.noted.values()} <= {"route", "end"}
        scores.append(play.score().all)
    assert scores[0] == scores[1]


def test_a_second_run_on_one_log_does_not_command_again(
    played: tuple[Play, Snapshot, str], tmp_path: Path
) -> None:
    """The belt stands where it stood: the same items lie under the camera once more."""
    belt = played[0].simulation.belt
    stands = PlaySettings(1.2, counts_go_on=True)
    first = Play(settings_in(tmp_path), stands, belt=belt)
    first.run()
    rows = [parse_row(stored.body.encode()) for stored in read(first).rows(kinds=["command"])]
    commands = [row for row in rows if isinstance(row, CommandRow) and row.command_id]
    told = {row.command_id: row for row in commands}  # the last word
    fired = {row.raw_fire_count for row in told.values() if row.outcome == "fired"}
    # The PLC drops what it holds when the first run ends, and says so where there is time for it.
    assert fired and {row.outcome for row in told.values()} <= {"fired", "refused", "sent"}
    kept = {row.raw_fire_count for row in told.values() if row.outcome != "refused"}
    second = Play(settings_in(tmp_path), stands, belt=belt)
    second.run()
    # What was dropped for sure was never blown, and is commanded once more; nothing else is.
    again = {count for noted in second.noted.values() for count in noted.fire_counts}
    assert not again & kept
    took = [noted.took for noted in second.noted.values()]
    assert took.count("commanded-already") == len(kept) == second.opened.withheld
    # An encoder that began anew shows the same counts; by then the commands are of another time.
    # (A simulated run's clock may be ahead of this one by as long as the run lasts.)
    wall_s = time.time() + REMEMBERED_S + 60
    later = Play(settings_in(tmp_path), stands, belt=belt, wall=lambda: wall_s)
    later.run()
    assert later.opened.withheld == 0
    events = [parse_row(stored.body.encode()) for stored in read(later).rows(kinds=["event"])]
    runs = [row.run_id for row in events
            if isinstance(row, EventRow) and row.event == "commands-remembered"]  # fmt: skip
    assert runs == [second.opened.run_id]
