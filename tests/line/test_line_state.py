"""What a line says of itself where the encoder or the camera is not what it seems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from tests.line.test_play import set_anew, take_frame
from tests.line.whole import draw_belt, settings_in

from beltsight.line.belt import BeltSettings
from beltsight.line.deciding import Decided
from beltsight.line.items import ItemPlace, ViewKey
from beltsight.line.runner import Line
from beltsight.line.simulate import SimulatedBelt
from beltsight.line.simulate.play import Play, PlaySettings
from beltsight.records import Frame

SIMULATED = {"kind": "simulated"}


@pytest.fixture(scope="module")
def belt(tmp_path_factory: pytest.TempPathFactory) -> SimulatedBelt:
    return draw_belt(tmp_path_factory.mktemp("belt"), **{"simulation.length_m": 6})


def stand(line: Line) -> None:
    for _ in range(10):
        line.parts.tracker.slip.add(0.0, 80.0)


def slip(line: Line) -> None:
    for _ in range(10):
        line.parts.tracker.slip.add(100.0, 103.0)


def leap(line: Line) -> None:
    """Whatever the encoder counts now, this belt cannot have gone so far."""
    line.parts.odometer.settings = BeltSettings(mm_per_count=0.1, fastest_mm_s=0.001)


def go_against(line: Line) -> None:
    for _ in range(10):
        line.parts.tracker.slip.add(-80.0, 80.0)


def go_silent(line: Line) -> None:
    """A second goes by with each look at the clock."""
    line.parts = replace(line.parts, clock=count(line.parts.clock(), 1.0).__next__)


def lose_log(line: Line) -> None:
    line.parts = replace(line.parts, log_is_healthy=lambda: False)


@pytest.mark.parametrize(
    ("spoil", "name", "reason"),
    [
        (set_anew, "safe", "the encoder's counter was set anew"),
        (stand, "safe", "the encoder stands while items move"),
        (go_against, "safe", "the encoder counts against the items: see belt.reversed"),
        (go_silent, "degraded", "the camera gives no frames"),
        (lose_log, "degraded", "the log takes no rows"),
        (leap, "degraded", "the belt's position is doubtful"),
        (slip, "degraded", "the encoder slips"),
    ],
)
def test_what_is_wrong_with_the_line_is_its_state(
    belt: SimulatedBelt,
    tmp_path: Path,
    spoil: Callable[[Line], None],
    name: str,
    reason: str,
) -> None:
    settings = settings_in(tmp_path, SIMULATED, **{"link_times.safe": "stated"})
    play = Play(settings, PlaySettings(), belt=belt)
    line, states = play.opened.line, []
    for change in (lambda line: None, spoil):
        change(line)
        take_frame(line)
        states.append(play.opened.links.line_state())
    assert play.close() is None
    assert (states[0].name, states[0].reason) == ("running", "")
    assert (states[1].name, states[1].reason[: len(reason)]) == (name, reason)


def test_a_line_without_encoder_is_told_that_its_speed_is_wrong(
    belt: SimulatedBelt, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, SIMULATED, **{"link_times.safe": "stated"})
    play = Play(settings, PlaySettings(), belt=belt)
    line = play.opened.line
    image = np.zeros((settings.view.height_px, settings.view.width_px, 3), np.uint8)
    slip(line)
    line.take(Frame(image, line.parts.clock(), None))
    state = play.opened.links.line_state()
    assert play.close() is None
    reason = "the belt runs otherwise than belt.speed_mm_s says"
    assert (state.name, state.reason) == ("degraded", reason)


def test_an_encoder_that_counts_back_on_a_fast_belt_is_named(
    belt: SimulatedBelt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, SIMULATED, **{"link_times.safe": "stated"})
    play = Play(settings, PlaySettings(2.5), belt=belt)
    supply = play.opened.line.parts.supply
    read_frame = supply.read

    def read_back() -> Frame | None:
        frame = read_frame()
        if frame is None or frame.encoder_count is None:
            return frame
        return replace(frame, encoder_count=-frame.encoder_count)

    monkeypatch.setattr(supply, "read", read_back)
    for _ in play.frames():
        pass
    state = play.opened.links.line_state()
    assert play.close() is None
    reason = "the encoder counts against the items: see belt.reversed"
    assert (state.name, state.reason) == ("degraded", reason)


def test_a_slow_belt_is_no_slow_model(tmp_path: Path) -> None:
    """A touching item waits 100 mm of belt for a better view: that is no age."""
    slow = {"simulation.speed_mm_s": 400, "belt.speed_mm_s": 400, "simulation.length_m": 4,
            "simulation.lead_in_mm": 200, "simulation.items.rate_per_s": 2,
            "simulation.items.touching": 0.5}  # fmt: skip
    decided: list[Decided] = []
    play = Play(settings_in(tmp_path, SIMULATED, **slow), PlaySettings(6.5), watch=decided.append)
    for _ in play.frames():
        pass
    health = play.opened.line.health
    assert play.close() is None
    late = [one for one in decided if one.decision_ms > 240]
    assert any(one.item.place.touching for one in late)  # the log has it as it is
    assert health.readings["decision_age_ms"].value < 120, health.why  # type: ignore[operator]
    assert health.readings["decision_age_ms"].level == "good"


def test_a_place_is_of_its_frame_also_where_that_does_not_show_the_item(
    belt: SimulatedBelt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = Play(settings_in(tmp_path, SIMULATED), PlaySettings(2.0), belt=belt)
    parts, unseen = play.opened.line.parts, 0
    places: dict[int, ItemPlace] = {}
    monkeypatch.setattr(
        parts.book, "see", lambda place, when_s: places.update({place.item_id: place})
    )
    monkeypatch.setattr(parts.book, "ask", lambda item_id, *view: ViewKey(item_id, 0))
    find, frames = parts.finder.find, count()
    monkeypatch.setattr(parts.finder, "find", lambda *what: find(*what) if next(frames) % 3 else [])
    for seen in play.frames():
        tracks = {track.item_id: track for track in seen.tracked.tracks}
        for item_id in places.keys() & tracks.keys():
            track, place = tracks[item_id], places[item_id]
            unseen += track.region is None
            # By this the scheduler knows which way is left, and divides it by the slip.
            assert place.seen_mm - place.belt_position_mm == pytest.approx(track.u_mm, abs=1e-6)
        places.clear()
    play.close()
    assert unseen > 3


def test_frames_of_no_use_are_not_called_a_silent_camera(
    belt: SimulatedBelt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path, SIMULATED, **{"link_times.safe": "stated"})
    play = Play(settings, PlaySettings(), belt=belt)
    line = play.opened.line
    take_frame(line)
    now_s, small = line.parts.clock(), np.zeros((100, 100, 3), np.uint8)
    reasons = []
    monkeypatch.setattr(line, "parts", replace(line.parts, clock=lambda: now_s))
    with monkeypatch.context() as patch:
        patch.setattr(line.parts.supply, "read", lambda: Frame(small, now_s, 1))
        for passed_s in (0.1, 0.2):
            now_s += passed_s
            assert line.step() is None
            reasons.append(play.opened.links.line_state().reason)
        patch.setattr(line.parts.supply, "read", lambda: None)
        now_s += 0.3
        assert line.step() is None
        reasons.append(play.opened.links.line_state().reason)
    assert play.close() is None
    assert reasons[0] == "" and "100" in reasons[1]
    assert reasons[2] == "the camera gives no frames"
