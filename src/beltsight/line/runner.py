"""The line at work: each frame is looked at, items are followed, and what is ready is decided.

The thread of :meth:`Line.take` looks at frames and never waits for the model, the log or a peer.
Answers come from the threads of :class:`Inference`, which decide; the log's thread sends commands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from beltsight.errors import LineError
from beltsight.line.actuators.protocol import LineState, StateName
from beltsight.line.belt import BeltState, Odometer
from beltsight.line.crop import crop_item
from beltsight.line.deciding import Situation, move_on
from beltsight.line.figures import FigureBook, Figures
from beltsight.line.health import (
    Health,
    HealthSettings,
    HealthWatch,
    OpticsWatch,
    RecentShare,
)
from beltsight.line.inference import Inference
from beltsight.line.items import ItemBook, ItemPlace, ReadyItem, ViewKey
from beltsight.line.optics import measure_optics
from beltsight.line.schedule import Scheduler
from beltsight.line.segment import Finder
from beltsight.line.supply import Supply
from beltsight.line.track import Track, Tracked, Tracker
from beltsight.line.views import Taken, ViewSettings, take, wants_view
from beltsight.records import Frame, Prediction
from beltsight.strict import Strict

_SET_ANEW = (
    "the encoder's counter was set anew: see that the PLC's counter agrees with it, and reset the "
    "line (SIGUSR1)"
)
_AGAINST = "the encoder counts against the items: see belt.reversed"
_OTHERWISE = "the belt runs otherwise than belt.speed_mm_s says"
_LOOK_EVERY = 8  # frames, at which camera and lamp are looked at
_KEPT_IDS = 65_536


class RunSettings(Strict):
    """How the line works through its frames.

    Args:
        decide_ms: an item is decided so long before the lead of its pulse at the first actuator
            begins, with the answers that are there.
        crop_margin: added around an item's box, as a share of its longer side.
        silent_s: a camera that gives nothing for so long makes the line degraded.
    """

    decide_ms: float = Field(20.0, ge=0, le=10_000, allow_inf_nan=False)
    crop_margin: float = Field(0.1, ge=0, le=1, allow_inf_nan=False)
    silent_s: float = Field(0.2, gt=0, le=60, allow_inf_nan=False)


@dataclass(slots=True)
class Shared:
    """What the deciding threads read of the line; written by the frame's thread alone."""

    belt: BeltState | None = None
    health: Health = field(default_factory=Health)
    slip_ratio: float = 1.0

    def situation(self) -> Situation:
        """The line now; only asked once there was a frame."""
        assert self.belt is not None
        return Situation(self.belt, self.health, self.slip_ratio)


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a line is made of; :mod:`beltsight.line.assemble` puts them together.

    Args:
        supply: frames.
        odometer: of the belt.
        scheduler: says how long an item can wait.
        finder: of items.
        tracker: follows them.
        views: which views are asked.
        inference: answers crops.
        book: items on their way.
        decide: decides one; never raises.
        is_settled: whether all decisions are committed.
        figures: counts.
        shared: what the deciding threads read.
        begin: called with the belt at the first frame, before it is looked at.
        remember: called with the belt once the encoder has given its first count.
        refuse: told why a frame cannot be used.
        state_line: tells the links what the line does; they log what comes of it, as a link that is
            down makes the line safe.
        report_health: told of the health whenever it was looked at.
        log_is_healthy: whether rows are being committed.
        clock: monotonic seconds, of the frames.
    """

    supply: Supply
    odometer: Odometer
    scheduler: Scheduler
    finder: Finder
    tracker: Tracker
    views: ViewSettings
    inference: Inference[ViewKey]
    book: ItemBook
    decide: Callable[[ReadyItem], None]
    is_settled: Callable[[], bool]
    figures: FigureBook
    shared: Shared
    begin: Callable[[BeltState], None]
    remember: Callable[[BeltState], None]
    refuse: Callable[[str], None]
    state_line: Callable[[LineState], None]
    report_health: Callable[[Health], None]
    log_is_healthy: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What became of one frame; for displays and videos.

    Args:
        frame: that was taken in.
        belt: at its exposure.
        tracked: items in view, and those that ended.
        seeing_ms: time that looking at it took.
    """

    frame: Frame
    belt: BeltState
    tracked: Tracked
    seeing_ms: float


class Line:
    """A line at work.

    Args:
        parts: it is made of.
        health: limits.
        settings: of the work.
    """

    def __init__(
        self,
        parts: Parts,
        health: HealthSettings | None = None,
        settings: RunSettings | None = None,
    ) -> None:
        self.parts = parts
        self.settings = settings or RunSettings()
        self._health_settings = health or HealthSettings()
        self._health = HealthWatch(self._health_settings)
        self._optics: OpticsWatch | None = None
        self._remembered = False
        self._resets_seen = 0
        self._closed: dict[int, None] = {}  # items that no view is asked of any more
        self._taken: dict[int, list[Taken]] = {}  # views of those that are open
        self._frame_gap_s = 1 / 30
        self._lost = RecentShare(self._health_settings.span_s)
        self._late = RecentShare(self._health_settings.span_s)
        self._latest = Figures()
        self._frames = 0
        self._frame_s = parts.clock()
        self._refusal = ""
        self._refused_s = self._frame_s
        self._is_stopped = False

    @property
    def figures(self) -> Figures:
        """What the line has done."""
        parts = self.parts
        return parts.figures.figures(
            parts.clock(), parts.book.answered_late, parts.inference.refused
        )

    @property
    def health(self) -> Health:
        """As it was looked at last."""
        return self._health.health

    def step(self) -> Seen | None:
        """Wait for a frame and take it in; None where none came, or one that cannot be used.

        Raises:
            EndOfFrames: a file is over.
        """
        frame = self.parts.supply.read()
        if frame is not None:
            try:
                return self.take(frame)
            except LineError as error:  # another size, or a time that is none
                self._refusal, self._refused_s = str(error), self.parts.clock()
                self.parts.refuse(self._refusal)
        now_s = self.parts.clock()
        if self.parts.shared.belt is not None:  # it goes on, whatever the camera does
            mm_per_count = self.parts.odometer.settings.mm_per_count
            self._decide_overdue(move_on(self.parts.shared.belt, now_s, mm_per_count))
        if now_s - self._frame_s > self.settings.silent_s:
            self._tell_state()
        return None

    def reset(self) -> None:
        """Somebody has seen to the encoder: leave the safe state that it has caused."""
        self._resets_seen = self.parts.odometer.resets

    def take(self, frame: Frame) -> Seen:
        """Look at one frame; never waits.

        Raises:
            LineError: a frame of another size than the view, or with a time or count that is none.
        """
        parts = self.parts
        began_s = time.perf_counter()
        before = parts.shared.belt
        belt = parts.odometer.update(frame.time_s, frame.encoder_count)
        moved_mm = belt.position_mm - before.position_mm if before else 0.0
        if before is not None and 0 < belt.time_s - before.time_s < 1:
            self._frame_gap_s = belt.time_s - before.time_s
        parts.shared.belt = belt
        if before is None:
            parts.begin(belt)
        if not self._remembered and parts.odometer.has_count:
            self._remembered = True
            parts.remember(belt)
        regions = parts.finder.find(frame.image, moved_mm)
        tracked = parts.tracker.update(belt, regions)
        parts.shared.slip_ratio = parts.tracker.slip.ratio
        for track in tracked.tracks:
            if track.confirmed and track.item_id not in self._closed:
                self._follow(track, frame)
        for track in tracked.ended:
            self._close(track.item_id)
        self._decide_overdue(belt)
        self._frame_s = parts.clock()
        self._look_after(frame, tracked)
        seeing_ms = (time.perf_counter() - began_s) * 1000
        parts.figures.add_frame(seeing_ms)
        return Seen(frame, belt, tracked, seeing_ms)

    def settle(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was asked is answered, and all that was decided is committed."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            if not self.parts.inference.is_busy and self.parts.is_settled():
                return True
            time.sleep(0.0005)
        return False

    def close(self) -> None:
        """Decide what is on its way, and end the threads that belong to the line itself."""
        self._is_stopped = True
        self.parts.supply.close()
        self.parts.inference.close()
        for item in self.parts.book.overdue(lambda place: True, self.parts.clock()):
            self.parts.decide(item)
        self._tell_state()

    def _follow(self, track: Track, frame: Frame) -> None:
        """Take an item's place in, and ask a view of it where one is wanted."""
        book, belt = self.parts.book, self.parts.shared.belt
        assert belt is not None
        book.see(_place(track, belt.position_mm), frame.time_s)
        taken = self._taken.setdefault(track.item_id, [])
        views = self.parts.views
        wanted = wants_view(track, belt, taken, views, frame_s=self._frame_gap_s)
        if wanted and track.region is not None:
            taken.append(take(track))
            crop = crop_item(frame.image, track.region, self.settings.crop_margin)
            key = book.ask(track.item_id, frame.time_s, crop)
            if not self.parts.inference.submit(key, crop):
                refused = Prediction(None, error="the model had no room for another view")
                self._decide(book.answer(key, refused))
        if len(taken) >= views.per_item or (taken and track.u_mm > views.last_by_mm):
            self._close(track.item_id)

    def _close(self, item_id: int) -> None:
        if item_id not in self._closed:
            self._forget(item_id)
            assert self.parts.shared.belt is not None
            self._decide(self.parts.book.close(item_id, self.parts.shared.belt.time_s))

    def _forget(self, item_id: int) -> None:
        """No view is asked of an item any more."""
        self._taken.pop(item_id, None)
        self._closed[item_id] = None
        if len(self._closed) > _KEPT_IDS:
            self._closed.pop(next(iter(self._closed)))

    def _decide_overdue(self, belt: BeltState) -> None:
        """Items that cannot wait for another frame."""
        parts, within_ms = self.parts, self.settings.decide_ms
        slip_ratio = parts.shared.slip_ratio

        def is_due(place: ItemPlace) -> bool:
            return parts.scheduler.is_due(place.wanted("", slip_ratio), belt, within_ms)

        for item in parts.book.overdue(is_due, belt.time_s):
            self._forget(item.place.item_id)
            self._decide(item)

    def _decide(self, item: ReadyItem | None) -> None:
        if item is not None:
            self.parts.decide(item)

    def _look_after(self, frame: Frame, tracked: Tracked) -> None:
        """See to the camera, the lamp and the queues, and tell the links."""
        self._frames += 1
        if self._frames % _LOOK_EVERY == 1:
            self._update_health(frame, tracked)
        self._tell_state()

    def _update_health(self, frame: Frame, tracked: Tracked) -> None:
        parts = self.parts
        if self._optics is None:
            self._optics = OpticsWatch(self._health_settings, frame.time_s)
        view = parts.finder.view
        boxes = [track.box_xyxy for track in tracked.tracks]
        along: Literal["x", "y"] = "x" if view.direction in ("left", "right") else "y"
        readings = self._optics.update(measure_optics(frame.image, boxes, along), frame.time_s)
        figures, counts = self.figures, parts.supply.counts
        self._latest = figures
        missed = counts.dropped + counts.lost + counts.corrupt
        now_s = frame.time_s
        readings["frame_loss"] = self._lost.add(counts.delivered + missed, missed, now_s)
        readings["queue"] = parts.inference.waiting / parts.inference.room
        readings["decision_age_ms"] = figures.decision_age_ms
        readings["late"] = self._late.add(figures.items, figures.late, now_s)
        parts.shared.health = self._health.update(readings, now_s)
        parts.report_health(parts.shared.health)

    def _tell_state(self) -> None:
        name, reason = self._state()
        belt, odometer = self.parts.shared.belt, self.parts.odometer
        figures = self._latest
        self.parts.state_line(
            LineState(
                name,
                reason,
                odometer.raw_of(belt.count) if belt and odometer.has_count else None,
                figures.items,
                sum(n for key, n in figures.commands.items() if not key.startswith("peer")),
                figures.late,
            )
        )

    def _state(self) -> tuple[StateName, str]:
        belt, odometer = self.parts.shared.belt, self.parts.odometer
        tracker = self.parts.tracker
        slip = tracker.slip
        if self._is_stopped:
            return "stopped", "the line has stopped"
        if belt is None:
            return "starting", "no frame yet"
        now_s, silent_s = self.parts.clock(), self.settings.silent_s
        no_frames = "the camera gives no frames"
        if self._refusal and now_s - self._refused_s <= silent_s:
            no_frames = self._refusal  # they come, and none is of use
        found: tuple[tuple[bool, StateName, str], ...] = (
            (odometer.resets > self._resets_seen, "safe", _SET_ANEW),
            (slip.against, "safe", self._encoder(_AGAINST)),
            (slip.stands, "safe", self._encoder("the encoder stands while items move")),
            (now_s - self._frame_s > silent_s, "degraded", no_frames),
            (not self.parts.log_is_healthy(), "degraded", "the log takes no rows"),
            (belt.doubtful, "degraded", "the belt's position is doubtful"),
            (tracker.loses_all_in_reverse, "degraded", self._encoder(_AGAINST)),
            (slip.alarm, "degraded", self._encoder("the encoder slips")),
            (self.health.level != "good", "degraded", self.health.why),
        )
        return next(((name, why) for is_so, name, why in found if is_so), ("running", ""))

    def _encoder(self, what: str) -> str:
        """What is wrong with the encoder; a line without one goes by a speed that it was told."""
        return what if self.parts.odometer.has_count else _OTHERWISE


def _place(track: Track, position_mm: float) -> ItemPlace:
    """Its place is of this frame, also where another one was the last that showed it."""
    return ItemPlace(
        track.item_id, track.belt_position_mm, track.lateral_mm, track.length_mm, track.width_mm,
        position_mm, track.touching,
    )  # fmt: skip
