"""From an item's answers to its route, its rows in the log and its commands, in this order.

A command leaves only when the rows that tell of it are committed: after a crash the next run reads
from them which places of the belt were commanded already.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from beltsight.decide import Decider
from beltsight.errors import ImageError, StoreError
from beltsight.jpeg import encode_jpeg
from beltsight.line.actuators.protocol import Command
from beltsight.line.belt import BeltState, Odometer
from beltsight.line.command_rows import command_row
from beltsight.line.figures import FigureBook
from beltsight.line.health import Health, abstain_wider
from beltsight.line.items import ReadyItem
from beltsight.line.schedule import Planned, Scheduler
from beltsight.records import MATERIAL, Decision, Photo, Prediction
from beltsight.store.fields import MAX_CROP_BYTES
from beltsight.store.rows import CommandRow, Row, decision_row

_JPEG_QUALITY = 95


class Log(Protocol):
    """What is needed of the event store."""

    def append(self, rows: Sequence[Row], on_committed: Callable[[range], None]) -> object:
        """Keep rows, and say when they are safe; never waits.

        Raises:
            StoreError: they cannot be kept.
        """


class Senders(Protocol):
    """What is needed of the links."""

    def submit(self, command: Command) -> bool:
        """Queue a command; never waits."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Both times of a moment; passed in so that a simulation has its own.

    Args:
        monotonic_s: never steps; that of the frames.
        wall_s: seconds since 1970, UTC.
    """

    monotonic_s: Callable[[], float]
    wall_s: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Situation:
    """What a decision takes from the line as it is then.

    Args:
        belt: at the last frame.
        health: of the line.
        slip_ratio: belt per encoder.
    """

    belt: BeltState
    health: Health
    slip_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What became of an item.

    Args:
        item: that was ready.
        decision: where it goes, and why.
        planned: what was planned for it.
        decision_ms: from the exposure of the last view until now.
    """

    item: ReadyItem
    decision: Decision
    planned: Planned
    decision_ms: float


class Deciding:
    """Decides items that are ready; any thread may call :meth:`decide`, one item at a time passes.

    Args:
        decider: the policy, bound to the model.
        scheduler: plans commands.
        odometer: of the belt.
        log: keeps rows.
        links: take commands.
        figures: counts.
        clocks: both times.
        fuse: predictions of an item's views -> one prediction.
        wider: share of the allowed doubt that is taken away while the line is not quite fit.
        situation: the line as it is now.
        watch: told of each item, in the deciding thread; may be anything quick.
        crops: keep a JPEG of each item in the log.

    Attributes:
        unlogged: items whose rows the log did not take.
        submitted: commands that were given to the links.
    """

    def __init__(
        self,
        decider: Decider,
        scheduler: Scheduler,
        odometer: Odometer,
        log: Log,
        links: Senders,
        figures: FigureBook,
        clocks: Clocks,
        fuse: Callable[[Sequence[Prediction]], Prediction],
        situation: Callable[[], Situation],
        *,
        wider: float = 0.0,
        watch: Callable[[Decided], None] = lambda decided: None,
        crops: bool = False,
    ) -> None:
        self._decider = decider
        self._scheduler = scheduler
        self._odometer = odometer
        self._log = log
        self._links = links
        self._figures = figures
        self._clocks = clocks
        self._fuse = fuse
        self._situation = situation
        self._wider = wider
        self._watch = watch
        self._crops = crops
        self._lock = threading.Lock()
        self._waiting = 0
        self._waiting_lock = threading.Lock()
        self.unlogged = 0
        self.submitted = 0

    @property
    def uncommitted(self) -> int:
        """Decisions whose rows are not committed yet."""
        return self._waiting

    def decide(self, item: ReadyItem) -> Decided:
        """Decide one item, log it, and have its commands sent once that is committed.

        Where the log takes no rows, nothing is sent: the item goes to the end of the belt, and
        ``unlogged`` counts it.
        """
        jpeg = _jpeg(item.crop) if self._crops and item.crop is not None else None
        with self._lock:
            situation = self._situation()
            now_s = self._clocks.monotonic_s()
            prediction = abstain_wider(
                self._answer(item), situation.health, self._wider, self._decider.thresholds
            )
            decision = self._decider.decide(prediction)
            belt = move_on(situation.belt, now_s, self._odometer.settings.mm_per_count)
            planned = self._scheduler.plan(
                item.place.wanted(decision.route, situation.slip_ratio), belt
            )
            decided = Decided(item, decision, planned, (now_s - item.last_s) * 1000)
            self._keep(decided, now_s, jpeg)
        self._count(decided, now_s)
        self._watch(decided)
        return decided

    def _answer(self, item: ReadyItem) -> Prediction:
        usable = [found for found in item.predictions if found.error is None]
        if usable:
            return self._fuse(usable)
        if item.predictions:
            return item.predictions[-1]
        return Prediction(None, error="no view was answered in time" if item.overdue else "no view")

    def _keep(self, decided: Decided, now_s: float, jpeg: bytes | None) -> None:
        commands = decided.planned.commands
        rows: list[Row] = [self._decision_row(decided, now_s, jpeg)]
        times_s = (now_s, self._clocks.wall_s())
        if decided.planned.outcome != "planned":
            rows.append(self._not_planned_row(decided, times_s))
        rows += [
            command_row(command, "planned", self._scheduler.run_id, times_s) for command in commands
        ]

        def send(ids: range) -> None:
            for command in commands:
                self.submitted += 1
                self._links.submit(command)
            self._wait(-1)

        self._wait(+1)
        try:
            self._log.append(rows, send)
        except StoreError:
            # What is not logged is not sent, since after a restart nobody would know of it.
            self._wait(-1)
            self.unlogged += 1

    def _wait(self, more: int) -> None:
        with self._waiting_lock:
            self._waiting += more

    def _decision_row(self, decided: Decided, now_s: float, jpeg: bytes | None) -> Row:
        item, place = decided.item, decided.item.place
        return decision_row(
            decided.decision,
            task=MATERIAL,
            run_id=self._scheduler.run_id,
            wall_s=self._clocks.wall_s(),
            monotonic_s=now_s,
            item_id=place.item_id,
            frame_time_s=item.first_s,
            belt_position_mm=place.belt_position_mm,
            encoder_count=self._odometer.count_at(place.belt_position_mm),
            lateral_mm=place.lateral_mm,
            length_mm=place.length_mm,
            width_mm=place.width_mm,
            touching=place.touching,
            views=len(item.predictions),
            latency_ms=decided.decision_ms,
            crop=jpeg,
        )

    def _not_planned_row(self, decided: Decided, times_s: tuple[float, float]) -> CommandRow:
        """Why an item does not go where it was decided, or not for sure."""
        planned, place = decided.planned, decided.item.place
        serving = self._scheduler.settings.serving(decided.decision.route)
        now_s, wall_s = times_s
        return CommandRow(
            run_id=self._scheduler.run_id,
            wall_s=wall_s,
            monotonic_s=now_s,
            item_id=place.item_id,
            actuator=serving[0].name if serving else decided.decision.route,
            outcome=planned.outcome if planned.outcome in ("late", "conflict") else "refused",
            belt_position_mm=place.belt_position_mm,
            text=f"{planned.outcome}, {planned.took}: {planned.why}",
        )

    def _count(self, decided: Decided, now_s: float) -> None:
        answer = decided.decision.prediction.tasks.get(MATERIAL)
        self._figures.add_item(
            decided.decision.route,
            answer.label if answer else "",
            decided.planned.outcome,
            decided.decision_ms,
            (now_s - decided.item.since_s) * 1000,
            now_s,
            decided.item.overdue,
            decided.item.place.item_id,
        )


def move_on(belt: BeltState, now_s: float, mm_per_count: float) -> BeltState:
    """Where the belt is by now, at the speed it had."""
    position_mm = belt.position_mm + belt.speed_mm_s * max(0.0, now_s - belt.time_s)
    count = round(position_mm / mm_per_count)
    return replace(belt, time_s=now_s, position_mm=position_mm, count=count)


def _jpeg(crop: Photo) -> bytes | None:
    """None where the log would not take it: a decision counts for more than its picture."""
    try:
        content = encode_jpeg(crop, _JPEG_QUALITY)
    except ImageError:
        return None
    return content if len(content) <= MAX_CROP_BYTES else None
