"""A simulated run whose commands are held or come too late."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.line.whole import draw_belt, settings_in

from beltsight.line.simulate import SimulatedBelt
from beltsight.line.simulate.play import Play, PlaySettings

SIMULATED = {"kind": "simulated"}


@pytest.fixture(scope="module")
def belt(tmp_path_factory: pytest.TempPathFactory) -> SimulatedBelt:
    return draw_belt(tmp_path_factory.mktemp("belt"), **{"simulation.length_m": 6})


def test_a_line_that_is_safe_does_not_hold_the_belt(belt: SimulatedBelt, tmp_path: Path) -> None:
    """No wait ends that state, and the commands that it holds are not waited for."""
    play = Play(settings_in(tmp_path, SIMULATED), PlaySettings(1.6), belt=belt)
    frames = play.frames()
    for seen in frames:
        if seen.frame.time_s > 0.8:
            break
    play.opened.odometer.resets += 1
    began_s = time.monotonic()
    states = [play.opened.links.line_state().name for _ in frames]
    assert play.close() is None
    assert len(states) > 15 and set(states) == {"safe"}
    assert time.monotonic() - began_s < 20.0  # a single wait would last for 30 s


def test_an_item_whose_command_was_dropped_on_its_way_is_not_on_time(
    belt: SimulatedBelt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(settings_in(tmp_path, SIMULATED), PlaySettings(3.0), belt=belt)
    monkeypatch.setattr(play.opened.scheduler, "has_passed", lambda *given: True)
    assert play.run() is None
    fired = [number for number, noted in play.noted.items() if noted.fire_counts]
    assert play.opened.figures.late_items() == set(fired)
    assert play.opened.line.figures.late == len(fired) > 0
    score = play.score().all
    assert score.on_time < score.decided
