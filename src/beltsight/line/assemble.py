"""A line put together from its settings: everything is opened and checked before the belt moves."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from beltsight.decide import Decider, bind
from beltsight.errors import ConfigError
from beltsight.line.actuators import Actuator, Command, open_actuator
from beltsight.line.actuators.link import Links
from beltsight.line.actuators.link_status import Reports
from beltsight.line.belt import BeltState, Odometer
from beltsight.line.cameras import Camera, open_camera
from beltsight.line.command_rows import command_of
from beltsight.line.deciding import Clocks, Decided, Deciding
from beltsight.line.figures import FigureBook
from beltsight.line.fuse import fuse
from beltsight.line.host_timer import HostTimer
from beltsight.line.inference import Inference
from beltsight.line.items import ItemBook, ReadyItem, ViewKey
from beltsight.line.reporting import Reporter
from beltsight.line.runner import Line, Parts, Shared
from beltsight.line.schedule import Scheduler
from beltsight.line.segment import Finder
from beltsight.line.settings import LineSettings
from beltsight.line.supply import Supply
from beltsight.line.track import Tracker
from beltsight.model import Model
from beltsight.policy import load_policy
from beltsight.records import Prediction
from beltsight.store import LINE_DOWN, LINE_UP, CommandRow, open_with_settings
from beltsight.taxonomy import load_taxonomy

REAL_CLOCKS = Clocks(time.monotonic, time.time)
_BEHIND_MM = 1000.0  # a belt that is run back may bring items again
_HANDED_OVER_MS = 16.0
LONGEST_PULSE_MS = 500.0
# A peer drops what it holds within its watchdog, and an encoder may begin anew: what is older than
# a crash and a restart by hand says nothing of the belt as it lies now.
REMEMBERED_S = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Outside:
    """What a line takes from outside; a simulation passes its own.

    Args:
        open_camera: opens the camera.
        actuators: one per link of the settings.
        clocks: both times.
        pause: waits so many seconds.
        counts_go_on: the encoder goes on from where an earlier run of this log left it, so that
            what was commanded then is not commanded again; a simulated belt begins anew.
        real_time: times are the world's; else a simulation's, which say nothing of this machine.
    """

    open_camera: Callable[[], Camera]
    actuators: Sequence[Actuator]
    clocks: Clocks = REAL_CLOCKS
    pause: Callable[[float], None] = time.sleep
    counts_go_on: bool = True
    real_time: bool = True


class OpenLine:
    """A line whose parts are open; :func:`open_line` makes it.

    Attributes:
        run_id: unique among all runs.
        line: takes frames in.
        links: carry commands.
        timer: hands over commands whose pulses this machine times.
        store: the log.
        reporter: writes events to it.
        model: that answers.
        decider: the policy.
        withheld: items whose command was not given, since an earlier run had given it.
    """

    def __init__(
        self, settings: LineSettings, outside: Outside, watch: Callable[[Decided], None]
    ) -> None:
        self.settings = settings
        self.run_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        self.model = open_model(settings)
        self.decider = open_decider(settings, self.model)
        self._outside = outside
        self.odometer = Odometer(settings.belt)
        self.scheduler = Scheduler(settings.schedule, self.odometer, self.run_id)
        self.figures = FigureBook()
        self._shared = Shared()
        self.withheld = 0
        self._withheld_lock = threading.Lock()
        self.store = open_with_settings(settings.store, settings.name)
        try:
            self._open(watch)
        except BaseException:
            self.store.close()
            raise

    def _open(self, watch: Callable[[Decided], None]) -> None:
        settings, clocks = self.settings, self._outside.clocks
        self.reporter = Reporter(self.store, self.run_id, clocks, self.figures)
        reports = Reports(
            event=self.reporter.link,
            outcome=self.reporter.outcome,
            acknowledged=self.reporter.acknowledged,
            is_late=self._has_passed,
        )
        self.links = Links(
            self._outside.actuators, settings.link_times, reports,
            report_state=self.reporter.state, clock=time.monotonic,
        )  # fmt: skip
        # It judges for itself what is late, and hands over at the very moment.
        self.timer = HostTimer(
            lambda: self._shared.situation().belt, settings.belt.mm_per_count, self._blow,
            self._too_late, settings.host_timer, clocks.monotonic_s,
        )  # fmt: skip
        self.deciding = Deciding(
            self.decider, self.scheduler, self.odometer, self.store, self, self.figures,
            clocks, partial(fuse, model=self.model), self._shared.situation,
            wider=settings.health.wider, watch=partial(self._decided, watch),
            crops=settings.keep_crops,
        )  # fmt: skip
        self.book = ItemBook()
        supply = Supply(
            self._outside.open_camera, settings.supply, clocks.monotonic_s, self._outside.pause,
            self.reporter.camera,
        )  # fmt: skip
        self.inference: Inference[ViewKey] = Inference(
            self.model, self._answered, threads=settings.model.streams, room=settings.model.room,
            at_once=settings.model.at_once,
        )  # fmt: skip
        parts = Parts(
            supply=supply,
            odometer=self.odometer,
            scheduler=self.scheduler,
            finder=Finder(settings.view, settings.find),
            tracker=Tracker(settings.view, settings.track),
            views=settings.views,
            inference=self.inference,
            book=self.book,
            decide=self._decide,
            is_settled=lambda: not self.deciding.uncommitted,
            figures=self.figures,
            shared=self._shared,
            begin=self._begin,
            remember=self._remember,
            refuse=self.reporter.frame,
            state_line=self.links.state_line,
            report_health=self.reporter.health,
            log_is_healthy=lambda: self.store.state().healthy,
            clock=clocks.monotonic_s,
        )
        self.line = Line(parts, settings.health, settings.run)
        self.links.start()
        self.timer.start()

    def settle(self, timeout_s: float) -> bool:
        """Wait until all that was asked is answered, decided, committed, and sent or given up."""
        end_s = time.monotonic() + timeout_s
        if not self.line.settle(timeout_s):
            return False
        while time.monotonic() < end_s:
            if self.reporter.settled >= self.deciding.submitted:
                return True
            time.sleep(0.0005)
        return False

    def close(self) -> str | None:
        """End everything: items on their way are decided, peers told, the log written.

        Returns:
            What could not be stored, in words, or None.
        """
        self.line.close()
        for command in self.timer.close():
            self.reporter.outcome(command, "refused", self._outside.clocks.monotonic_s())
        self.links.close()
        self.reporter.event(LINE_DOWN, "info", f"run {self.run_id} ended")
        unkept = self.store.close()
        return None if unkept is None else f"{len(unkept.ids)} rows not stored: {unkept.reason}"

    def _answered(self, key: ViewKey, prediction: Prediction) -> None:
        ready = self.book.answer(key, prediction)
        if ready is not None:
            self._decide(ready)

    def _decide(self, item: ReadyItem) -> None:
        """An item that cannot be decided goes on to the belt's end; the line goes on, too."""
        try:
            self.deciding.decide(item)
        except Exception as error:
            self.reporter.failure(item.place.item_id, error)

    def _decided(self, watch: Callable[[Decided], None], decided: Decided) -> None:
        if decided.planned.took == "commanded-already":
            with self._withheld_lock:
                self.withheld += 1
        watch(decided)

    def submit(self, command: Command) -> bool:
        """Give a committed command to its link, or to the timer where this machine times it."""
        self.reporter.submitted(command)
        if command.timing == "plc":
            return self.links.submit(command)
        if self.timer.add(command):
            return True
        self.reporter.outcome(command, "refused", self._outside.clocks.monotonic_s())
        return False

    def _blow(self, command: Command) -> None:
        """It is due: the peer opens at once, for as long as the item's part takes to pass."""
        belt = self._shared.situation().belt
        way_mm = (command.end_count - command.fire_count) * self.settings.belt.mm_per_count
        pass_ms = way_mm / belt.speed_mm_s * 1000.0 if belt.speed_mm_s > 0 else 0.0
        pulse_ms = max(command.pulse_ms, min(pass_ms, LONGEST_PULSE_MS))
        now = replace(command, pulse_ms=pulse_ms)
        self.reporter.submitted(now)
        self.links.submit(now)

    def reset(self) -> None:
        """Somebody says that a link or the encoder, which made the line safe, is in order again."""
        self.line.reset()
        self.links.reset()

    def _too_late(self, command: Command) -> None:
        self.reporter.outcome(command, "late", self._outside.clocks.monotonic_s())

    def _has_passed(self, command: Command) -> bool:
        belt, now_s = self._shared.belt, self._outside.clocks.monotonic_s()
        # The timer may hand over so late; on its way to the peer a command stays due for a moment.
        spare_ms = self.settings.host_timer.late_ms + _HANDED_OVER_MS
        spare_s = spare_ms / 1000 if command.timing == "host" else 0.0
        return belt is not None and self.scheduler.has_passed(command, belt, now_s, spare_s)

    def _begin(self, belt: BeltState) -> None:
        text = f"run {self.run_id}: model {self.model.hash[:12]}, {self.decider.policy_version}"
        self.reporter.event(LINE_UP, "info", text, {"real_time": self._outside.real_time})

    def _remember(self, belt: BeltState) -> None:
        """What earlier runs commanded near here and lately is not commanded again.

        Farther away, or longer ago, it is of another time: counters begin anew, and come round.
        """
        if not self._outside.counts_go_on:
            return
        now_s = self._outside.clocks.wall_s()
        reach_mm = max(a.distance_mm for a in self.settings.schedule.actuators) + _BEHIND_MM
        reach = 2 * reach_mm / self.settings.belt.mm_per_count
        remembered = 0
        for one in self.store.recent_commands(limit=2000):
            command = command_of(one.row) if isinstance(one.row, CommandRow) else None
            if command is None or one.outcome in ("late", "refused", "conflict"):
                continue
            if abs(now_s - one.row.wall_s) > REMEMBERED_S:
                continue
            remembered += self.scheduler.remember(command, belt, reach)
        if remembered:
            text = "commands of earlier runs lie near here, and are not given again"
            self.reporter.event("commands-remembered", "info", text, {"commands": remembered})


def open_line(
    settings: LineSettings,
    outside: Outside | None = None,
    watch: Callable[[Decided], None] = lambda decided: None,
) -> OpenLine:
    """Open every part of a line; links begin to connect, and no frame is taken yet.

    Args:
        settings: see :func:`beltsight.line.settings.load_line`.
        outside: camera, peers and clocks; by default those that the settings name.
        watch: told of each decided item, in the deciding threads.

    Raises:
        BeltsightError: a part cannot be opened, and what to do.
    """
    return OpenLine(settings, outside or real_outside(settings), watch)


def real_outside(settings: LineSettings) -> Outside:
    """The camera and peers that the settings name.

    Raises:
        ConfigError: the settings are of a simulation.
    """
    camera = settings.camera
    if settings.source != "camera" or camera is None:
        raise ConfigError("this line's source is a simulation: run 'beltsight line simulate'")
    return Outside(lambda: open_camera(camera), [open_actuator(link) for link in settings.links])


def open_model(settings: LineSettings) -> Model:
    """The model that the settings name."""
    wanted = settings.model
    return Model.load(
        wanted.file, threads=wanted.threads, streams=wanted.streams, engine=wanted.engine or None
    )


def open_decider(settings: LineSettings, model: Model) -> Decider:
    """The policy bound to the model.

    Raises:
        ConfigError: actuators name routes that the policy does not have.
    """
    policy, taxonomy = load_policy(settings.policy), load_taxonomy(settings.taxonomy)
    decider = bind(policy, model.tasks, model.hash, taxonomy, model.thresholds)
    unknown = settings.unknown_routes(decider.routes)
    if unknown:
        raise ConfigError(
            f"the policy {policy.name} has no route {', '.join(map(repr, unknown))}; "
            f"its routes: {', '.join(decider.routes)}"
        )
    return decider
