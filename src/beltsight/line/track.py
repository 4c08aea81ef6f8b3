"""Items followed from frame to frame; each is counted once.

An item lies still on the belt, so it needs no model of motion: what is followed is its place on the
belt. The belt's own motion comes from the odometer, corrected by what the items in view show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import Field

from beltsight.line.associate import Association, associate, find_shift, iou
from beltsight.line.belt import BeltState, SlipMeter, SlipSettings
from beltsight.line.segment import Region
from beltsight.line.view import BeltBox, Box, View
from beltsight.strict import Strict

Left = Literal["downstream", "upstream", "lost"]

_SOFT = 8  # an item's place is a mean over so many views
_WHOLE = 0.9  # of an item's box, overlap with what is seen there: nothing else has room in it
_INSIDE_MM = 5.0  # so much of an item must be in view for it to be looked for


class TrackSettings(Strict):
    """How items are followed.

    Args:
        confirm_frames: frames in which something must be seen to be an item.
        lost_frames: frames in a row without an item that should be in view, until it is given up.
        split_frames: frames in a row after which two parts of an item are two items.
        keep_mm: an item that left the view is known for so long, in case the belt goes back.
        most_slip_mm: the largest error of the encoder between two frames that is looked for.
        slip: when the encoder is not to be believed.
    """

    confirm_frames: int = Field(3, ge=1)
    lost_frames: int = Field(15, ge=1)
    split_frames: int = Field(4, ge=1)
    keep_mm: float = Field(1000.0, ge=0, allow_inf_nan=False)
    most_slip_mm: float = Field(150.0, ge=0, allow_inf_nan=False)
    slip: SlipSettings = SlipSettings()


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One item, as known at one frame.

    Args:
        item_id: unique within the run.
        belt_position_mm: of its middle: the odometer at this frame less ``u_mm``.
        lateral_mm: of its middle, from the belt's left edge.
        length_mm: along the belt.
        width_mm: across the belt.
        u_mm: its middle downstream of the reference line, now.
        box_xyxy: in this frame, cut to it; empty (equal ends) where it has left.
        seen_mm: the odometer at the last frame that showed it.
        region: what this frame shows of it; None where it was not found.
        touching: it touches others, or may be several.
        whole: it was in view as a whole at least once.
        frames_seen: that showed it.
        confirmed: in enough frames to be an item.
        left: how it ended, or None.
    """

    item_id: int
    belt_position_mm: float
    lateral_mm: float
    length_mm: float
    width_mm: float
    u_mm: float
    box_xyxy: Box
    seen_mm: float
    region: Region | None
    touching: bool
    whole: bool
    frames_seen: int
    confirmed: bool
    left: Left | None = None


@dataclass(frozen=True, slots=True)
class Tracked:
    """What is known after a frame.

    Args:
        tracks: items in view, from downstream to upstream, confirmed or not.
        ended: items that were confirmed and are over with this frame, each once.
    """

    tracks: list[Track]
    ended: list[Track]


@dataclass(slots=True)
class _Held:
    """An item on the belt. ``box`` is its place in seen belt: moved by the way, it is in view."""

    item_id: int
    box: BeltBox
    seen_mm: float
    frames_seen: int = 0
    whole_views: int = 0
    touched: int = 0
    missed: int = 0
    in_parts: int = 0
    left: Left | None = None
    region: Region | None = None


class Tracker:
    """Follows items.

    Args:
        view: of the camera.
        settings: when an item is one, and when it is over.

    Attributes:
        slip: the belt's motion as seen, against the encoder's.
        counted: items that were confirmed so far.
        dropped: things seen in too few frames to be items.
    """

    def __init__(self, view: View, settings: TrackSettings | None = None) -> None:
        self.view = view
        self.settings = settings or TrackSettings()
        self.slip = SlipMeter(self.settings.slip)
        self.counted = 0
        self.dropped = 0
        self._held: list[_Held] = []
        self._next_id = 1
        self._way_mm = 0.0  # belt gone, as seen
        self._state: BeltState | None = None
        self._back_from: tuple[float, int] | None = None  # odometer and ``dropped`` then

    @property
    def loses_all_in_reverse(self) -> bool:
        """Whether the belt is counted back and things are seen on it, but none is found again.

        So it looks where the encoder counts against them, on a belt too fast for
        ``most_slip_mm``. A belt that does go back brings items that can be followed.
        """
        if self._back_from is None or self._state is None:
            return False
        from_mm, dropped = self._back_from
        back_mm = from_mm - self._state.position_mm
        return self.dropped > dropped and back_mm > self.settings.slip.least_mm

    def update(self, state: BeltState, regions: Sequence[Region]) -> Tracked:
        """Take a frame in.

        Args:
            state: of the belt at the frame.
            regions: found in it.

        Returns:
            The items in view and those that ended. A frame that comes twice (of one time) counts
            once.
        """
        before = self._state
        self._state = state
        moved_mm = 0.0 if before is None else _moved_mm(before, state)
        is_new = before is None or state.time_s != before.time_s
        seen_mm = moved_mm * self.slip.ratio
        self._way_mm += seen_mm
        boxes = [self.view.box_to_belt(region.box_xyxy) for region in regions]
        is_counted = before is not None and not (before.doubtful or state.doubtful)
        seen_mm += self._correct(regions, boxes, moved_mm, is_counted)
        inside = [held for held in self._held if self._visible(held) is not None]
        found = associate([self._clipped(held) for held in inside], boxes)
        for held in self._held:
            held.region = None
        self._take(inside, found, regions, boxes, is_new)
        self._begin(found, regions, boxes)
        self._watch_reverse(state)
        return self._result(self._end(is_new))

    def _watch_reverse(self, state: BeltState) -> None:
        """Remember from where on the belt went back without an item that is followed."""
        follows = any(held.region and self._confirmed(held) for held in self._held)
        # Once it is found, an item that fits by chance does not undo it; a belt that turns does.
        if state.moving != "reverse" or (follows and not self.loses_all_in_reverse):
            self._back_from = None
        elif self._back_from is None:
            self._back_from = state.position_mm, self.dropped

    def _correct(
        self, regions: Sequence[Region], boxes: Sequence[BeltBox], moved_mm: float,
        is_counted: bool,
    ) -> float:  # fmt: skip
        """Correct the way by what is seen of items that are wholly in view; how much, in mm."""
        whole = [box for region, box in zip(regions, boxes, strict=True) if not _cut_along(region)]
        known = [
            held.box.moved(self._way_mm)
            for held in self._held
            if held.whole_views and held.left is None
        ]
        bounds = self.view.bounds
        known = [box for box in known if box.u0 > bounds.u0 and box.u1 < bounds.u1]
        shift = find_shift(known, whole, self.settings.most_slip_mm) if known else 0.0
        moved = [box.moved(shift) for box in known]
        pairs = associate(moved, whole).pairs
        off = [
            whole[j].u - moved[i].u
            for i, j in pairs
            if abs(whole[j].length - moved[i].length) < 0.2 * moved[i].length
        ]
        total = shift + (median(off) if off else 0.0)
        self._way_mm += total
        if off and is_counted:  # a guess says nothing of the encoder
            self.slip.add(moved_mm, moved_mm * self.slip.ratio + total)
        return total

    def _visible(self, held: _Held) -> BeltBox | None:
        """What must be in view of an item; None where too little of it is."""
        box = held.box.moved(self._way_mm).intersection(self.view.bounds)
        return box if box.length > _INSIDE_MM and box.area > 0 else None

    def _clipped(self, held: _Held) -> BeltBox:
        return held.box.moved(self._way_mm).intersection(self.view.bounds)

    def _take(
        self, inside: Sequence[_Held], found: Association, regions: Sequence[Region],
        boxes: Sequence[BeltBox], is_new: bool,
    ) -> None:  # fmt: skip
        """Let each item have what is its own of the frame."""
        assert self._state is not None
        shared = {j for _, j in found.merged}
        parts = dict(found.parts)
        for i, j in found.pairs:
            held = inside[i]
            held.region = regions[j]
            held.seen_mm = self._state.position_mm
            if is_new:
                self._count(held, regions[j].touching or j in shared)
                held.in_parts = held.in_parts + 1 if i in parts else 0
            if j not in shared and i not in parts:
                self._learn_place(held, regions[j], boxes[j])
        for i, j in found.merged:
            held = inside[i]
            host = next(inside[k] for k, other in found.pairs if other == j)
            if not held.whole_views and not self._confirmed(held):
                # Two prongs of one item came into view one after the other.
                self._held.remove(held)
                self._learn_place(host, regions[j], boxes[j])
            elif is_new and (self._confirmed(held) or iou(self._clipped(host), boxes[j]) < _WHOLE):
                self._count(held, touches=True)
            # Else a piece that its item lost for a frame: the item fills its box again.
        for i, j in found.parts:
            if inside[i].in_parts >= self.settings.split_frames:
                own = next(k for item, k in found.pairs if item == i)
                inside[i].box = boxes[own].moved(-self._way_mm)
                inside[i].in_parts = 0
                self._add(regions[j], boxes[j])

    def _count(self, held: _Held, touches: bool) -> None:
        held.frames_seen += 1
        held.touched += touches
        held.missed = 0
        self.counted += held.frames_seen == self.settings.confirm_frames

    def _learn_place(self, held: _Held, region: Region, seen: BeltBox) -> None:
        """Move the ends of an item that the frame shows."""
        box, new = held.box, seen.moved(-self._way_mm)
        cut = region.cut_by_edge
        along = not _cut_along(region)
        if along and not held.whole_views:
            held.box = new
        elif along:
            weight = 1 / min(held.whole_views + 1, _SOFT)
            held.box = BeltBox(
                box.u0 + weight * (new.u0 - box.u0),
                box.u1 + weight * (new.u1 - box.u1),
                box.lateral0 + weight * (new.lateral0 - box.lateral0),
                box.lateral1 + weight * (new.lateral1 - box.lateral1),
            )
        elif not held.whole_views:
            u0 = min(box.u0, new.u0) if "upstream" in cut else new.u0
            u1 = max(box.u1, new.u1) if "downstream" in cut else new.u1
            wide = box.union(new)
            held.box = BeltBox(u0, u1, wide.lateral0, wide.lateral1)
        held.whole_views += along

    def _begin(
        self, found: Association, regions: Sequence[Region], boxes: Sequence[BeltBox]
    ) -> None:
        """What no item explains is a new one."""
        known = {j for _, j in (*found.pairs, *found.parts)}
        for j, region in enumerate(regions):
            if j not in known:
                self._add(region, boxes[j])

    def _add(self, region: Region, box: BeltBox) -> None:
        assert self._state is not None
        held = _Held(self._next_id, box.moved(-self._way_mm), self._state.position_mm)
        held.region = region
        held.whole_views = int(not _cut_along(region))
        self._count(held, region.touching)
        self._held.append(held)
        self._next_id += 1

    def _confirmed(self, held: _Held) -> bool:
        return held.frames_seen >= self.settings.confirm_frames

    def _end(self, is_new: bool) -> list[Track]:
        """Give up what has left or is lost."""
        ended, kept = [], []
        bounds = self.view.bounds
        for held in self._held:
            box = held.box.moved(self._way_mm)
            is_inside = self._visible(held) is not None
            if is_inside and held.region is None and is_new:
                held.missed += 1
            before = held.left
            if before is None and box.u0 >= bounds.u1 - _INSIDE_MM:
                held.left = "downstream"
            beyond = max(box.u0 - bounds.u1, bounds.u0 - box.u1) > self.settings.keep_mm
            if before is None and beyond and held.left is None:
                held.left = "upstream"
            if before is None and is_inside and held.missed >= self.settings.lost_frames:
                held.left = "lost"
            if before is None and held.left is not None and self._confirmed(held):
                ended.append(self._track(held))
            weak = is_inside and not self._confirmed(held) and held.missed >= 2
            if not self._confirmed(held) and (weak or held.left is not None):
                self.dropped += 1
            elif not beyond and held.left != "lost":
                kept.append(held)
        self._held = kept
        return ended

    def _result(self, ended: list[Track]) -> Tracked:
        tracks = [self._track(held) for held in self._held if self._visible(held) is not None]
        return Tracked(sorted(tracks, key=lambda track: -track.u_mm), ended)

    def _track(self, held: _Held) -> Track:
        assert self._state is not None
        box = held.box.moved(self._way_mm)
        in_frame = self.view.box_to_pixel(box)
        return Track(
            item_id=held.item_id,
            belt_position_mm=self._state.position_mm - box.u,
            lateral_mm=box.lateral,
            length_mm=box.length,
            width_mm=box.width,
            u_mm=box.u,
            box_xyxy=held.region.box_xyxy if held.region is not None else in_frame,
            seen_mm=held.seen_mm,
            region=held.region,
            touching=3 * held.touched > held.frames_seen,
            whole=held.whole_views > 0,
            frames_seen=held.frames_seen,
            confirmed=self._confirmed(held),
            left=held.left,
        )


def _moved_mm(before: BeltState, state: BeltState) -> float:
    """The belt's way between two frames, as the odometer has it.

    From a guess back to a count the odometer leaps; the belt does not.
    """
    if before.doubtful and not state.doubtful:
        return state.speed_mm_s * max(0.0, state.time_s - before.time_s)
    return state.position_mm - before.position_mm


def _cut_along(region: Region) -> bool:
    """Whether the view cuts it where it comes in or goes out."""
    return not region.cut_by_edge.isdisjoint(("upstream", "downstream"))
