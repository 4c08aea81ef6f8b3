from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight.records import TaskSpec
from beltsight.train.loop import BatchDone, Event
from beltsight.train.network import build_network
from beltsight.train.plan import Pace, RunPlanned, StagePlan, plan_run
from beltsight.train.precision import Precision
from beltsight.train.run import run_training


def test_planned_seconds_of_what_is_done() -> None:
    plan = RunPlanned((StagePlan(2, 10.0, 5.0), StagePlan(4, 0.0, 20.0)))
    assert plan.seconds == 100.0
    done = [plan.seconds_done(epoch, part) for epoch, part in ((0, 0), (0, 1), (2, 0), (3, 0.5))]
    assert done == pytest.approx([0.0, 15.0, 20.0, 50.0])
    assert plan.seconds_done(6, 0.0) == 100.0
    assert plan.seconds_done(3, 0.5, caching=False) == 40.0


def test_what_is_left_follows_the_pace_but_not_that_of_a_second() -> None:
    plan = RunPlanned((StagePlan(2, 10.0, 5.0), StagePlan(4, 0.0, 100.0)))
    assert plan.seconds_left(2, 0.0, Pace(10.0, 10.0)) == pytest.approx(400.0)
    assert plan.seconds_left(3, 0.0, Pace(440.0, 220.0)) == pytest.approx(300 * 460 / 240)
    assert plan.seconds_left(1, 0.0, Pace(1.0, 0.1)) == pytest.approx(405 * 21 / 20.1)


def test_the_plan_leaves_the_network_as_it_is() -> None:
    settings = tiny(
        stages=(
            {"learn": "heads", "epochs": 2, "learning_rate": 0.1, "views": 3},
            {"learn": 1, "epochs": 2, "learning_rate": 0.1, "views": 3},
            {"learn": "all", "epochs": 1, "learning_rate": 0.1},
        )
    )
    network = build_network(settings, (TaskSpec("m", ("a", "b")),), pretrained=False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    plan = plan_run(network, settings, Precision(torch.device("cpu"), False), 100, 20)
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    heads, last, everything = plan.stages
    assert heads.cache_seconds > 0 and last.cache_seconds > 0 and everything.cache_seconds == 0
    assert heads.epoch_seconds < everything.epoch_seconds


def test_a_run_starts_with_its_plan(photoset: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    stages = ({"learn": "heads", "epochs": 1, "learning_rate": 0.1},)
    run_training(photoset, tmp_path / "x", tiny(stages=stages), watch=events.append)
    plans = [index for index, event in enumerate(events) if isinstance(event, RunPlanned)]
    steps = [index for index, event in enumerate(events) if isinstance(event, BatchDone)]
    assert len(plans) == 1 and plans[0] < steps[0]
