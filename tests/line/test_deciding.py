"""Decide, log, send: in this order, and nothing is sent that is not logged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from beltsight.decide import bind
from beltsight.errors import StoreError
from beltsight.line import deciding
from beltsight.line.actuators import Command
from beltsight.line.belt import BeltSettings, BeltState, Odometer
from beltsight.line.command_rows import command_of, command_row
from beltsight.line.deciding import Clocks, Decided, Deciding, Situation, move_on
from beltsight.line.figures import FigureBook
from beltsight.line.health import Health, Reading
from beltsight.line.items import ItemPlace, ReadyItem
from beltsight.line.schedule import Scheduler
from beltsight.line.schedule_settings import ActuatorSettings, ScheduleSettings
from beltsight.policy import load_policy
from beltsight.records import Answer, Prediction, TaskSpec
from beltsight.store.rows import CommandRow, DecisionRow, Row, canonical_bytes, parse_row

TASKS = (TaskSpec("material", ("metal", "paper")),)
POLICY = """
name = "two"
version = "1"
levels = ["clean", "dirty"]
without_contamination = "clean"
[streams]
metal = { name = "Metal" }
paper = { name = "Paper" }
[[rules]]
material = "metal"
route = "metal"
[[rules]]
material = "paper"
route = "paper"
[costs]
wrong = 10
hand_sort = 1
"""


class Log:
    """Commits when told to; refuses when it is full."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.full = False
        self._told: list[Callable[[range], None]] = []

    def append(self, rows: Sequence[Row], on_committed: Callable[[range], None]) -> object:
        if self.full:
            raise StoreError("the queue is full")
        self.rows += rows
        self._told.append(on_committed)
        return None

    def commit(self) -> None:
        while self._told:
            self._told.pop(0)(range(0))


class Links:
    def __init__(self) -> None:
        self.commands: list[Command] = []

    def submit(self, command: Command) -> bool:
        self.commands.append(command)
        return True


class Bench:
    """A line without its seeing half: belt at 250 mm, 2,500 mm/s, jets for metal at 600 mm."""

    def __init__(self, folder: Path) -> None:
        file = folder / "policy.toml"
        file.write_text(POLICY)
        decider = bind(load_policy(file), TASKS, "ab" * 32, thresholds={"material": 0.6})
        jets = ActuatorSettings(name="jets", routes="metal", distance_mm=600, lanes=[(0, 560)])
        self.odometer = Odometer(BeltSettings(mm_per_count=0.1))
        self.odometer.update(10.0, 1000)
        self.belt = self.odometer.update(10.1, 3500)
        self.health = Health()
        self.log, self.links, self.figures = Log(), Links(), FigureBook()
        self.seen: list[Decided] = []
        self.now_s = 10.12
        settings = ScheduleSettings(actuators=(jets,), end_routes=("paper",))
        self.deciding = Deciding(
            decider, Scheduler(settings, self.odometer, "run"), self.odometer, self.log,
            self.links, self.figures, Clocks(lambda: self.now_s, lambda: 1.7e9),
            lambda found: found[0], lambda: Situation(self.belt, self.health), wider=0.9,
            watch=self.seen.append, crops=True,
        )  # fmt: skip


def answered(label: str, confidence: float = 0.99) -> Prediction:
    other = "paper" if label == "metal" else "metal"
    shares = {label: confidence, other: 1 - confidence}
    return Prediction(None, {"material": Answer(label, confidence, shares)}, abstain=False)


def ready(*predictions: Prediction, at_mm: float = 200.0, overdue: bool = False) -> ReadyItem:
    place = ItemPlace(7, at_mm, 280.0, 100.0, 80.0, 250.0)
    crop = np.full((40, 50, 3), 200, np.uint8)
    return ReadyItem(place, predictions, 10.0, 10.1, 10.11, overdue, crop)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_command_leaves_when_its_rows_are_committed(bench: Bench) -> None:
    decided = bench.deciding.decide(ready(answered("metal")))
    assert (decided.decision.route, decided.planned.outcome) == ("metal", "planned")
    assert decided.decision_ms == pytest.approx(20.0)
    assert bench.links.commands == [] and bench.deciding.uncommitted == 1
    decision, command = bench.log.rows
    assert isinstance(decision, DecisionRow) and isinstance(command, CommandRow)
    assert (decision.item_id, decision.label, decision.route, decision.views) == (
        7,
        "metal",
        "metal",
        1,
    )
    assert decision.encoder_count == 2000 and decision.crop_sha256
    assert (command.outcome, command.command_id) == ("planned", "run-1")
    bench.log.commit()
    assert [sent.command_id for sent in bench.links.commands] == ["run-1"]
    assert bench.deciding.uncommitted == 0
    assert bench.seen == [decided]
    assert bench.figures.figures(10.2).routes == {"metal": 1}


def test_what_cannot_be_logged_is_not_sent(bench: Bench) -> None:
    bench.log.full = True
    decided = bench.deciding.decide(ready(answered("metal")))
    bench.log.commit()
    assert decided.planned.commands and bench.links.commands == []
    assert (bench.deciding.unlogged, bench.deciding.uncommitted) == (1, 0)


def test_an_end_route_needs_no_command(bench: Bench) -> None:
    decided = bench.deciding.decide(ready(answered("paper")))
    assert (decided.planned.took, len(bench.log.rows)) == ("end", 1)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (ready(overdue=True), "no view was answered in time"),
        (ready(), "no view"),
        (ready(Prediction(None, error="black picture")), "black picture"),
    ],
)
def test_an_item_without_an_answer_goes_to_people(bench: Bench, item: ReadyItem, said: str) -> None:
    decided = bench.deciding.decide(item)
    assert (decided.decision.route, decided.decision.reason) == ("hand-sort", "no-answer")
    assert decided.decision.prediction.error == said
    assert decided.planned.outcome == "no-actuator" and not decided.planned.commands


def test_a_view_that_failed_does_not_spoil_the_other(bench: Bench) -> None:
    item = ready(Prediction(None, error="black"), answered("metal"))
    assert bench.deciding.decide(item).decision.route == "metal"


def test_a_line_that_is_not_fit_abstains_more(bench: Bench) -> None:
    assert bench.deciding.decide(ready(answered("metal", 0.93))).decision.route == "metal"
    bench.health = Health("warning", {"lamp": Reading("lamp", 0.2, "warning")})
    decided = bench.deciding.decide(ready(answered("metal", 0.93)))
    assert (decided.decision.route, decided.decision.reason) == ("hand-sort", "abstained")


def test_too_late_is_said(bench: Bench) -> None:
    decided = bench.deciding.decide(ready(answered("metal"), at_mm=-200.0))
    assert (decided.planned.outcome, decided.planned.took) == ("late", "pass")
    assert bench.figures.figures(10.2).late == 1
    _, why = bench.log.rows  # so that reports count it, too
    assert isinstance(why, CommandRow)
    assert (why.outcome, why.actuator, why.item_id, why.command_id) == ("late", "jets", 7, None)
    assert "late, pass: " in why.text and "too late for the actuator of 'metal'" in why.text


def test_the_belt_goes_on_while_the_model_works(bench: Bench) -> None:
    moved = move_on(bench.belt, 10.12, 0.1)
    assert moved.position_mm == pytest.approx(300.0)
    assert (moved.count, moved.time_s) == (3000, 10.12)
    assert move_on(bench.belt, 9.0, 0.1).position_mm == bench.belt.position_mm
    # 220 mm before the jets' lead is in time at the frame, and late 60 ms afterwards.
    item = ready(answered("metal"), at_mm=-40.0)
    bench.now_s = 10.16
    assert bench.deciding.decide(item).planned.outcome == "late"


def test_commands_come_back_from_the_log(bench: Bench) -> None:
    (command,) = bench.deciding.decide(ready(answered("metal"))).planned.commands
    row = parse_row(canonical_bytes(command_row(command, "sent", "run", (1.0, 2.0), "ok")))
    assert isinstance(row, CommandRow)
    back = command_of(row)
    assert back is not None
    for name in ("command_id", "actuator", "lanes", "raw_fire_count", "raw_end_count"):
        assert getattr(back, name) == getattr(command, name)
    none = command_row(command, "late", "run", (1.0, 2.0))
    object.__setattr__(none, "command_id", None)
    assert command_of(none) is None


def test_state_is_a_belt_state(bench: Bench) -> None:
    assert isinstance(bench.belt, BeltState) and bench.belt.speed_mm_s == pytest.approx(2500.0)


def test_a_picture_that_the_log_would_not_take_costs_no_decision() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), np.uint8)
    assert deciding._jpeg(noise) is None
    assert deciding._jpeg(noise[:100, :100]) is not None
