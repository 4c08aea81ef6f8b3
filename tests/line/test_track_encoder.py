"""Items are followed through a silent encoder, and tell of one that counts the wrong way."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from tests.line.test_track import Belt, state

from beltsight.line.belt import BeltSettings, Odometer


def silent_belt(speeds_mm_s: Iterable[tuple[float, bool]]) -> tuple[Belt, set[int]]:
    """A belt at speeds, each for a frame, with or without a count; the ids of whole items."""
    belt = Belt([(float(s), 100.0 + s % 300, 90.0, 60.0) for s in range(600, 20_000, 230)])
    odometer = Odometer(BeltSettings(mm_per_count=0.1))
    way_mm, ids = 0.0, set()
    for number, (speed_mm_s, counts) in enumerate(speeds_mm_s):
        way_mm += speed_mm_s / 30
        told = odometer.update(number / 30, round(way_mm * 10) if counts else None)
        tracks = belt.tracker.update(told, belt.regions(way_mm)).tracks
        ids |= {track.item_id for track in tracks if track.whole}
    return belt, ids


@pytest.mark.parametrize("then_mm_s", [0.0, 1250.0])
def test_a_silent_encoder_is_no_slipping_one(then_mm_s: float) -> None:
    before, after = [(2500.0, True)] * 60, [(2500.0, True)] * 30
    belt, ids = silent_belt([*before, *[(then_mm_s, False)] * 15, *after])
    assert belt.tracker.slip.ratio == pytest.approx(1.0, abs=0.002)
    assert not belt.tracker.slip.alarm
    # By its way back to the count the odometer leaps; what is in view stays what it was.
    assert max(ids) == len(ids) and belt.tracker.dropped == 0


@pytest.mark.parametrize("speed_mm_s", [1000.0, 2500.0])
def test_an_encoder_that_counts_against_the_items_is_found(speed_mm_s: float) -> None:
    belt = Belt([(float(s), 100.0 + s % 300, 90.0, 60.0) for s in range(600, 20_000, 230)])
    for number in range(60):
        way_mm = number * speed_mm_s / 30
        moved = replace(state(-way_mm, number / 30, -speed_mm_s), moving="reverse")
        belt.tracker.update(moved, belt.regions(way_mm))
    slow = speed_mm_s == 1000.0
    assert belt.tracker.slip.against is slow
    assert belt.tracker.loses_all_in_reverse is not slow
    belt.tracker.update(state(0.0, 3.0), [])
    assert not belt.tracker.loses_all_in_reverse


def test_a_belt_that_does_go_back_loses_nothing() -> None:
    belt = Belt([(float(s), 100.0 + s % 300, 90.0, 60.0) for s in range(600, 4000, 230)])
    belt.run(0, 3000)
    for number, way_mm in enumerate(range(3000, 1000, -80)):
        back = replace(state(way_mm, 10 + number / 30, -2400.0), moving="reverse")
        belt.tracker.update(back, belt.regions(way_mm))
        assert not belt.tracker.loses_all_in_reverse
    assert not belt.tracker.slip.against
