"""Following items: by hand with drawn boxes, and on the painted belt of benchmarks/find.py."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from benchmarks.belt_scene import Scene, Strip, paint
from benchmarks.find import (
    CASES,
    Motion,
    follow,
    score,
    unchanged,
    with_double_frames,
    with_lost_frames,
    with_reverse,
    with_stop,
)

from beltsight.line.associate import associate, find_shift
from beltsight.line.belt import BeltState, Moving
from beltsight.line.segment import Region
from beltsight.line.track import Track, Tracked, Tracker, TrackSettings
from beltsight.line.view import BeltBox, Box, View
from beltsight.line.views import Taken, ViewSettings, is_good_view, take, wants_view

VIEW = View(width_px=1000, height_px=560, width_mm=1000, height_mm=560)
STEP_MM = 80.0


def state(position_mm: float, time_s: float, speed_mm_s: float = 2400.0) -> BeltState:
    moving: Moving = "forward" if speed_mm_s > 0 else "stopped"
    return BeltState(time_s, round(position_mm * 10), position_mm, speed_mm_s, moving, False)


def region(box: Box, *, touching: bool = False, sharpness: float = 1.0) -> Region:
    x0, y0, x1, y1 = box
    mask = np.ones((y1 - y0, x1 - x0), bool)
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    cut = VIEW.edges_cut(box)
    return Region(box, mask.size, centre, mask, touching, cut, sharpness, 20.0)


class Belt:
    """Boxes lying on a belt, given to a tracker frame by frame."""

    def __init__(self, items: Iterable[tuple[float, float, float, float]], **settings: int) -> None:
        self.items = list(items)  # s of the middle, lateral of the middle, length, width
        self.tracker = Tracker(VIEW, TrackSettings(**settings))
        self.frame = 0
        self.ended: list[Track] = []

    def regions(self, way_mm: float) -> list[Region]:
        found = []
        for s, lateral, length, width in self.items:
            u = way_mm - s
            box = BeltBox(u - length / 2, u + length / 2, lateral - width / 2, lateral + width / 2)
            x0, y0, x1, y1 = VIEW.box_to_pixel(box)
            if x1 - x0 > 10:
                found.append(region((x0, y0, x1, y1)))
        return found

    def show(
        self, way_mm: float, counted_mm: float | None = None, regions: list[Region] | None = None
    ) -> Tracked:
        """A frame of the belt after a way; ``counted_mm`` is what the encoder says of it."""
        self.frame += 1
        seen = self.regions(way_mm) if regions is None else regions
        position = way_mm if counted_mm is None else counted_mm
        tracked = self.tracker.update(state(position, self.frame / 30), seen)
        self.ended += tracked.ended
        return tracked

    def run(self, start_mm: float, stop_mm: float, step_mm: float = STEP_MM) -> Tracked:
        for way in np.arange(start_mm, stop_mm, step_mm):
            tracked = self.show(float(way))
        return tracked


def test_an_item_is_known_by_its_place_on_the_belt() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0)])
    for way in range(100, 1400, 80):
        tracked = belt.show(float(way))
        for track in tracked.tracks:
            if track.whole and track.left is None:
                assert track.belt_position_mm == pytest.approx(700, abs=1)
                assert track.u_mm == pytest.approx(way - 700, abs=1)
                assert (track.lateral_mm, track.width_mm) == pytest.approx((200, 60), abs=1)
                assert track.length_mm == pytest.approx(100, abs=1)
    (ended,) = belt.ended
    assert ended.left == "downstream"
    assert ended.whole
    assert ended.frames_seen == 14  # from 180 to 1220 mm
    assert belt.tracker.counted == 1


def test_an_entering_item_grows_and_stays_one() -> None:
    belt = Belt([(700.0, 200.0, 150.0, 60.0)])
    ids = set()
    lengths = []
    for way in (150.0, 180.0, 210.0, 240.0, 270.0, 300.0):
        (track,) = belt.show(way).tracks
        ids.add(track.item_id)
        lengths.append(round(track.length_mm))
    assert ids == {1}
    assert lengths == [25, 55, 85, 115, 145, 150]
    assert [track.whole for track in belt.show(310.0).tracks] == [True]


def test_items_side_by_side_and_behind_each_other() -> None:
    items = [(s, lateral, 70.0, 50.0) for s in range(600, 2000, 95) for lateral in (100.0, 175.0)]
    belt = Belt(items)
    belt.run(0, 2700)
    assert len(belt.ended) == len(items)
    assert len({track.item_id for track in belt.ended}) == len(items)
    places = sorted(round(track.belt_position_mm) for track in belt.ended)
    assert places == pytest.approx(sorted(s for s, *_ in items), abs=2)


def test_an_item_that_is_lost_in_a_frame_is_the_same_afterwards() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0)])
    belt.run(300, 500)
    (gone,) = belt.show(500.0, regions=[]).tracks
    assert gone.region is None
    assert gone.box_xyxy == (250, 170, 350, 230)  # where it must be
    (back,) = belt.show(580.0).tracks
    assert (back.item_id, gone.item_id) == (1, 1)
    assert back.frames_seen == gone.frames_seen + 1


def test_lost_and_doubled_frames() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0)])
    belt.run(250, 500)
    belt.show(500.0)
    seen = belt.show(740.0).tracks[0].frames_seen  # two frames were lost
    again = belt.tracker.update(state(740.0, belt.frame / 30), belt.regions(740.0))
    assert again.tracks[0].frames_seen == seen  # the same frame twice
    assert belt.tracker.counted == 1


def test_a_flicker_is_no_item() -> None:
    belt = Belt([])
    belt.show(0.0)
    belt.show(80.0, regions=[region((400, 100, 460, 160))])
    for way in range(160, 1600, 80):
        belt.show(float(way))
    assert belt.ended == []
    assert (belt.tracker.counted, belt.tracker.dropped) == (0, 1)


def test_what_is_taken_off_a_standing_belt_is_lost() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0)])
    belt.run(300, 700)
    for _ in range(20):
        belt.show(700.0, regions=[])
    assert [track.left for track in belt.ended] == ["lost"]


def test_a_standing_belt_counts_nothing_twice() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0), (650.0, 400.0, 100.0, 60.0)])
    belt.run(300, 700)
    for _ in range(100):
        belt.show(700.0)
    belt.run(780, 1600)
    assert len(belt.ended) == 2
    assert belt.tracker.counted == 2


def test_a_belt_that_goes_back_brings_the_same_items() -> None:
    belt = Belt([(700.0, 200.0, 100.0, 60.0), (1100.0, 300.0, 80.0, 80.0)])
    belt.run(300, 1300)  # the first has left downstream
    assert [track.item_id for track in belt.ended] == [1]
    belt.run(1220, 500, -80)  # it comes back, the second goes out upstream
    assert {track.item_id for track in belt.show(500.0).tracks} == {1}
    belt.run(580, 2000)
    assert [track.item_id for track in belt.ended] == [1, 2]
    assert belt.tracker.counted == 2


def test_two_prongs_of_one_item_are_one() -> None:
    prongs = [region((0, 200, 40, 230)), region((0, 270, 40, 300))]
    belt = Belt([(600.0, 250.0, 150.0, 100.0)])
    belt.show(0.0, regions=[])
    two = belt.show(115.0, regions=prongs)
    assert len(two.tracks) == 2
    belt.run(195, 1300)
    assert len(belt.ended) == 1
    assert belt.ended[0].width_mm == pytest.approx(100, abs=2)


def test_an_item_that_falls_apart_in_a_frame_stays_one() -> None:
    belt = Belt([(700.0, 200.0, 140.0, 60.0)])
    belt.run(300, 620)
    box = VIEW.box_to_pixel(BeltBox(620 - 770, 620 - 630, 170, 230))
    x0, y0, x1, y1 = box
    parts = [region((x0, y0, x0 + 70, y1)), region((x0 + 85, y0, x1, y1))]
    (track,) = belt.show(620.0, regions=parts).tracks
    assert track.length_mm == pytest.approx(140, abs=1)
    belt.run(700, 1500)
    assert len(belt.ended) == 1


@pytest.mark.parametrize("share", [0.5, 0.6, 0.7, 0.8])
def test_an_item_that_loses_a_piece_for_a_frame_is_counted_once(share: float) -> None:
    belt = Belt([(700.0, 200.0, 140.0, 60.0)])
    belt.run(300, 620)
    x0, y0, x1, y1 = VIEW.box_to_pixel(BeltBox(620 - 770, 620 - 630, 170, 230))
    cut = round(x0 + share * (x1 - x0))
    belt.show(620.0, regions=[region((x0, y0, cut - 4, y1)), region((cut + 4, y0, x1, y1))])
    belt.run(640, 1500)
    assert [track.left for track in belt.ended] == ["downstream"] and belt.tracker.counted == 1


def test_what_stays_apart_becomes_two() -> None:
    belt = Belt([(700.0, 200.0, 140.0, 60.0)])
    belt.run(300, 460)
    belt.items = [(665.0, 200.0, 65.0, 60.0), (738.0, 200.0, 64.0, 60.0)]
    belt.run(460, 1500)
    assert len(belt.ended) == 2
    lengths = sorted(track.length_mm for track in belt.ended)
    assert lengths == pytest.approx([64, 65], abs=2)


def test_two_items_seen_as_one_for_a_while_stay_two() -> None:
    items = [(660.0, 200.0, 70.0, 60.0), (745.0, 200.0, 70.0, 60.0)]
    belt = Belt(items)
    belt.run(300, 460)
    belt.items = [(702.5, 200.0, 155.0, 60.0)]
    both = belt.run(460, 700)
    assert len(both.tracks) == 2
    assert all(track.touching for track in both.tracks)
    belt.items = items
    belt.run(700, 1500)
    assert len(belt.ended) == 2
    assert sorted(t.belt_position_mm for t in belt.ended) == pytest.approx([660, 745], abs=2)


def test_a_new_item_within_another_s_box_is_its_own() -> None:
    belt = Belt([(700.0, 250.0, 200.0, 200.0), (770.0, 180.0, 50.0, 50.0)])
    belt.run(0, 1700)
    assert len(belt.ended) == 2


@pytest.mark.parametrize("ratio", [0.97, 1.03, 1.08])
def test_a_slipping_encoder_is_seen_through(ratio: float) -> None:
    items = [(float(s), 100.0 + s % 300, 90.0, 60.0) for s in range(600, 8000, 160)]
    belt = Belt(items)
    for way in np.arange(0, 8700, 80.0):
        belt.show(float(way), counted_mm=float(way) / ratio)
    assert len(belt.ended) == len(items)
    assert belt.tracker.slip.ratio == pytest.approx(ratio, abs=0.004)
    assert belt.tracker.slip.alarm
    # Where it was when it left: by the odometer, less its distance.
    last = belt.ended[-1]
    assert last.belt_position_mm + last.u_mm == pytest.approx(last.seen_mm, abs=200)


def test_an_encoder_that_sticks_while_the_belt_runs() -> None:
    items = [(float(s), 100.0 + s % 300, 90.0, 60.0) for s in range(600, 2600, 160)]
    belt = Belt(items)
    counted = 0.0
    for number, way in enumerate(np.arange(0, 3300, 80.0)):
        counted += 0.0 if 15 <= number < 19 else 80.0
        belt.show(float(way), counted_mm=counted)
    assert len(belt.ended) == len(items)


def test_matching_by_hand() -> None:
    items = [BeltBox(0, 100, 0, 50), BeltBox(120, 200, 0, 50)]
    boxes = [BeltBox(118, 203, 0, 52), BeltBox(4, 98, 0, 50), BeltBox(0, 90, 300, 350)]
    found = associate(items, boxes)
    assert dict(found.pairs) == {0: 1, 1: 0}
    assert found.parts == found.merged == ()
    both = associate(items, [BeltBox(0, 200, 0, 50)])
    assert (len(both.pairs), len(both.merged)) == (1, 1)
    assert associate([], boxes).pairs == associate(items, []).pairs == ()


def test_a_shift_is_found_by_many_and_not_by_chance() -> None:
    items = [BeltBox(x, x + 80, y, y + 40) for x, y in ((0, 0), (120, 100), (300, 40))]
    moved = [box.moved(65) for box in items]
    assert find_shift(items, moved, 100) == pytest.approx(65)
    assert find_shift(items, items, 100) == 0
    assert find_shift(items, moved, 50) == 0  # farther than is looked for
    assert find_shift(items, [], 100) == 0


@cache
def painted() -> Strip:
    return paint(Scene(seed=21, belt="dark", length_mm=3400, rate_per_s=12))


@pytest.mark.parametrize(
    ("name", "motion", "slip"),
    [
        ("plain", unchanged, 1.0),
        ("stop", with_stop, 1.0),
        ("reverse", with_reverse, 1.0),
        ("lost frames", with_lost_frames, 1.0),
        ("doubled frames", with_double_frames, 1.0),
        ("slip", unchanged, 1.03),
    ],
)
def test_painted_items_are_counted_once(name: str, motion: Motion, slip: float) -> None:
    strip = painted()
    ended, _ = follow(strip, motion, slip)
    found = score(strip, ended, motion)
    assert found.items >= 8
    assert (found.missed, found.double, found.false) == (0, 0, 0), name
    assert max(found.off_mm) < 15


def test_painted_items_20_mm_apart() -> None:
    case = CASES["20 mm apart"]
    strip = paint(replace(case.scene, seed=3, length_mm=4000))
    found = score(strip, follow(strip)[0])
    assert found.items > 8
    assert (found.missed, found.double, found.false) == (0, 0, 0)


def seen_at(u_mm: float, *, touching: bool = False, sharpness: float = 1.0) -> Track:
    x = round(u_mm + 500)
    box = (max(x - 50, 0), 200, min(x + 50, 1000), 260)
    return Track(
        1, 0.0, 230.0, 100.0, 60.0, u_mm, box, 0.0,
        region(box, touching=touching, sharpness=sharpness), touching, True, 5, True,
    )  # fmt: skip


GOOD = Taken(-240.0, 1.0, True)


@pytest.mark.parametrize(
    ("track", "taken", "wanted"),
    [
        (seen_at(-300), [], False),  # good, but another frame comes before the line
        (seen_at(-240), [], True),
        (seen_at(-240, touching=True), [], False),  # it may come better
        (seen_at(-60, touching=True), [], True),  # the next frame is beyond the line
        (seen_at(200), [], True),  # late, but never seen
        (replace(seen_at(-240), confirmed=False), [], False),
        (replace(seen_at(-240), region=None), [], False),
        (replace(seen_at(-240), left="downstream"), [], False),
        (seen_at(-160), [GOOD], False),  # too near to the first
        (seen_at(-80), [GOOD], True),
        (seen_at(-80, touching=True), [GOOD], False),
        (seen_at(-80, sharpness=0.3), [GOOD], False),
        (seen_at(-80, sharpness=0.3), [Taken(-240, 1.0, False)], True),  # better than the first
        (seen_at(150), [GOOD], False),  # its time is over
        (seen_at(80), [GOOD, Taken(-80, 1.0, True)], False),  # enough
    ],
)
def test_which_views_are_wanted(track: Track, taken: list[Taken], wanted: bool) -> None:
    assert wants_view(track, state(0.0, 0.0), taken, ViewSettings(), frame_s=1 / 30) is wanted


def test_nothing_is_due_on_a_standing_belt() -> None:
    track = seen_at(-60, touching=True)
    assert not wants_view(track, state(0.0, 0.0, 0.0))
    assert wants_view(seen_at(-60), state(0.0, 0.0, 0.0))


def test_a_taken_view_remembers_where_and_how() -> None:
    assert take(seen_at(-80, sharpness=0.5)) == Taken(-80, 0.5, True)
    assert not is_good_view(seen_at(470))  # cut by the downstream edge
    assert not is_good_view(replace(seen_at(0), region=None))
