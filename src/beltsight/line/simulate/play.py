"""A line on a simulated belt: camera, peers and clock are simulated, all else is real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from beltsight.errors import ConfigError, LineError
from beltsight.line.actuators import Actuator, PeerSettings, open_actuator
from beltsight.line.actuators.simulated import SimulatedActuator, SimulatedSettings
from beltsight.line.assemble import OpenLine, Outside
from beltsight.line.deciding import Clocks, Decided
from beltsight.line.runner import Seen
from beltsight.line.settings import LineSettings
from beltsight.line.simulate.crops import CropBook
from beltsight.line.simulate.motion import EncoderLook, VirtualClock
from beltsight.line.simulate.score import Counted, Matched, Score, match, score
from beltsight.line.simulate.strip import Progress
from beltsight.line.simulate.truth import TrueItem
from beltsight.line.simulate.valves import Station, act
from beltsight.line.simulate.world import Run, SimulatedBelt, Simulation, simulate, start
from beltsight.records import MATERIAL, Sample

_NO_WATCHDOG_MS = 1e9
_SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class PlaySettings:
    """How a simulated line is run.

    Args:
        seconds: of belt.
        real_time: frames come when they are due; else as fast as they are worked through, and
            times are the belt's own.
        run: speed changes, slips and faults.
        counts_go_on: the belt stands where an earlier run of the same log left it, as after a
            restart; else it is another belt, and what was commanded before does not count.
    """

    seconds: float = 20.0
    real_time: bool = False
    run: Run = field(default_factory=Run)
    counts_go_on: bool = False


@dataclass(frozen=True, slots=True)
class Noted:
    """What is kept of a decision, for the score and the video: little, as a run may be long.

    Args:
        counted: the item as the line counted it.
        confidence: of its material, or None.
        outcome, took: of its plan.
        fire_counts: raw counts of its commands.
        touching: it may be several items.
        seen_mm: the line's odometer when the item was last seen.
    """

    counted: Counted
    confidence: float | None
    outcome: str
    took: str
    fire_counts: tuple[int, ...]
    touching: bool
    seen_mm: float


class Play:
    """A line on a simulated belt.

    Args:
        settings: of the line. Links that are not simulated are opened as they are, and need real
            time; where items fall is then not known.
        play: how it is run.
        belt: a belt that was drawn before; else one is drawn.
        samples: photos to cut items from; the packaged ones by default.
        folder: where a long belt's picture may lie; else in memory.
        progress: told while the belt is drawn.
        crops: keeps what the model is shown.
        watch: told of each decided item, in the deciding threads.
        wall: seconds since 1970; by default the belt's own time goes on from now.

    Attributes:
        opened: the line.
        simulation: the belt's side.
        noted: what was decided, by item.
    """

    def __init__(
        self,
        settings: LineSettings,
        play: PlaySettings,
        *,
        belt: SimulatedBelt | None = None,
        samples: Sequence[Sample] | None = None,
        folder: Path | None = None,
        progress: Progress | None = None,
        crops: CropBook | None = None,
        watch: Callable[[Decided], None] = lambda decided: None,
        wall: Callable[[], float] | None = None,
    ) -> None:
        if not play.real_time and any(a.timing == "host" for a in settings.schedule.actuators):
            raise ConfigError("pulses that this machine times need real time: add --real-time")
        if not play.real_time and any(link.kind != "simulated" for link in settings.links):
            raise ConfigError("links that are not simulated need real time: add --real-time")
        self.play = play
        self._crops, self._watch = crops, watch
        self.noted: dict[int, Noted] = {}
        self._belt = settings.belt
        self._lock = threading.Lock()
        self._true_mm: dict[float, float] = {}  # where the belt was, by the line's odometer
        run = _run_of(settings, play)
        if belt is None:
            self.simulation: Simulation = simulate(
                settings.simulation, settings.view, samples, run, folder=folder, progress=progress
            )
        else:
            self.simulation = start(belt, settings.simulation, run)
        began_s = time.time()
        self._wall = wall or (lambda: began_s + self.simulation.clock())
        self._peers: list[SimulatedActuator] = []
        self._actuators = [self._actuator(link) for link in settings.links]
        self._cameras = iter([self.simulation.camera])
        self._end_s: float | None = None
        self.opened = OpenLine(settings, self._outside(), self._note)

    def frames(self) -> Iterator[Seen]:
        """Run the line; each frame as it was seen.

        Not in real time, each frame is worked through to the last command before the next one.
        """
        line, clock = self.opened.line, self.simulation.clock
        while clock() < self.play.seconds:
            seen = line.step()
            if not self.play.real_time:
                self._wait_for_peers()
                self._settle()
            if seen is None:
                continue
            true_mm = self.simulation.belt.position_mm(seen.frame.time_s)
            self._true_mm[seen.belt.position_mm] = true_mm
            yield seen

    def run(self) -> str | None:
        """Run the line to its end and close it; what could not be stored, or None."""
        for _ in self.frames():
            pass
        return self.close()

    def _wait_for_peers(self) -> None:
        """Hold the belt until the peers know that the line runs: beats take their own time.

        So does a link that is being made. A line that is safe for another reason stays so however
        long the belt is held.

        Raises:
            LineError: a link does not come up.
        """
        links, end_s = self.opened.links, time.monotonic() + _SETTLE_S
        while any(peer.plc.program.is_safe for peer in self._peers):
            # Asked in this order: a link that comes up between is waited for once more.
            down = [one for one in links.status().values() if one.state not in ("up", "degraded")]
            if not down and not links.may_send():
                return
            if time.monotonic() >= end_s:
                told = "; ".join(f"{one.link}: {one.reason}" for one in down)
                raise LineError(
                    f"for {_SETTLE_S:.0f} s no simulated peer could be told that the line runs "
                    f"({told or links.line_state().name}); compare answer_ms under [[links]] with "
                    "timeout_ms under [link_times]"
                )
            time.sleep(0.001)

    def _settle(self) -> None:
        """Work through all that was asked; commands that a line in the safe state holds wait."""
        if self.opened.links.may_send():
            self.opened.settle(_SETTLE_S)
        else:
            self.opened.line.settle(_SETTLE_S)

    def close(self) -> str | None:
        """End the line; what could not be stored, or None."""
        if not self.play.real_time:
            self._settle()
        self._end_s = self.simulation.clock()  # what goes by from here on, no line has seen
        return self.opened.close()

    def score(self) -> Score:
        """What the line made of the items that passed its last actuator; after :meth:`close`."""
        settings, belt = self.opened.settings, self.simulation.belt
        truth, counted, passed_mm = self._seen()
        if len(self._peers) < len(self._actuators):
            return score(truth, counted, passed_mm=passed_mm)
        stations = _stations(settings)
        switches = [switch for peer in self._peers for switch in peer.plc.switches]
        fallen = act(sorted(switches, key=lambda s: s.time_s), stations, belt.motion, belt.truth)
        bin_of = {r: one.name for one in settings.schedule.actuators for r in one.routes}
        return score(
            truth,
            counted,
            {item.item_id: fallen.bin_of(item.item_id) for item in truth},
            self.opened.decider.policy,
            bin_of=bin_of,
            shots=fallen.shots,
            passed_mm=passed_mm,
        )

    def matched(self) -> list[Matched]:
        """What the line counted for each item that passed; after :meth:`close`."""
        truth, counted, passed_mm = self._seen()
        return [one for one in match(truth, counted)[0] if one.item.s_mm < passed_mm]

    def _seen(self) -> tuple[list[TrueItem], list[Counted], float]:
        """All items up to the reference line, all that was counted, and the belt that has passed.

        What lies before the last of these has passed the last actuator.
        """
        belt = self.simulation.belt
        end_mm = belt.position_mm(self.simulation.clock() if self._end_s is None else self._end_s)
        stations = _stations(self.opened.settings)
        passed_mm = end_mm - max(s.distance_mm for s in stations) - 2 * belt.truth.longest_mm
        late = self.opened.figures.late_items()
        counted = [
            replace(
                noted.counted,
                belt_position_mm=self._true_mm_of(noted),
                on_time=noted.counted.item_id not in late,
            )
            for noted in self.noted.values()
        ]
        return belt.truth.between(belt.truth.start_mm, end_mm), counted, passed_mm

    def _true_mm_of(self, noted: Noted) -> float:
        """The place that it really had, by the frame in which it was last seen.

        The line's odometer begins with its first frame, and its encoder may slip afterwards.
        """
        seen_mm = noted.seen_mm
        way_mm = seen_mm - noted.counted.belt_position_mm
        return self._true_mm.get(seen_mm, seen_mm) - way_mm

    def _outside(self) -> Outside:
        clock = self.simulation.clock
        pause: Callable[[float], None] = time.sleep
        if isinstance(clock, VirtualClock):
            virtual = clock
            pause = lambda seconds: _advance(virtual, seconds)  # noqa: E731
        return Outside(
            lambda: next(self._cameras, None) or self.simulation.reopen(),
            self._actuators,
            Clocks(clock, self._wall),
            pause,
            counts_go_on=self.play.counts_go_on,
            real_time=self.play.real_time,
        )

    def _actuator(self, link: PeerSettings) -> Actuator:
        if not isinstance(link, SimulatedSettings):
            return open_actuator(link)
        belt = self._belt
        bits: dict[str, object] = {"counter_bits": belt.counter_bits, "reversed": belt.reversed}
        if not self.play.real_time:  # the belt's time has nothing to do with that of the beats
            bits["watchdog_ms"] = _NO_WATCHDOG_MS
        plc = link.plc.model_copy(update=bits)
        made = SimulatedActuator(
            link.model_copy(update={"plc": plc}),
            self.simulation.plc_encoder.at,
            self.simulation.clock,
        )
        self._peers.append(made)
        return made

    def _note(self, decided: Decided) -> None:
        noted = _noted(decided)
        with self._lock:
            self.noted[noted.counted.item_id] = noted
            if self._crops is not None and decided.item.crop is not None:
                self._crops.keep(noted.counted.item_id, decided.item.crop)
        self._watch(decided)


def _run_of(settings: LineSettings, play: PlaySettings) -> Run:
    belt = settings.belt
    look = EncoderLook(
        mm_per_count=belt.mm_per_count, counter_bits=belt.counter_bits, reversed=belt.reversed
    )
    run = play.run
    return Run(run.changes, run.slips, look, run.faults, play.real_time)


def _stations(settings: LineSettings) -> list[Station]:
    return [
        Station(one.name, one.distance_mm, one.lanes, one.latency_ms)
        for one in settings.schedule.actuators
    ]


def _noted(decided: Decided) -> Noted:
    place, planned = decided.item.place, decided.planned
    answer = decided.decision.prediction.tasks.get(MATERIAL)
    counted = Counted(
        place.item_id, place.belt_position_mm, place.lateral_mm,
        answer.label if answer else None, decided.decision.route, planned.outcome != "late",
    )  # fmt: skip
    return Noted(
        counted, answer.confidence if answer else None, planned.outcome, planned.took,
        tuple(command.raw_fire_count for command in planned.commands), place.touching,
        place.seen_mm,
    )  # fmt: skip


def _advance(clock: VirtualClock, seconds: float) -> None:
    clock.advance(clock() + seconds)
