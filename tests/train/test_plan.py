from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight.records import TaskSpec
from beltsight.train.loop import BatchDone, Event
from beltsight.train.network import build_network
from beltsight.train.plan import RunPlanned, StagePlan, plan_run
from beltsight.train.precision import Precision
from beltsight.train.run import run_training


def test_the_share_of_the_work_done() -> None:
    plan = RunPlanned((StagePlan(2, 10.0, 5.0), StagePlan(4, 0.0, 20.0)))
    assert plan.seconds == 100.0
    shares = [plan.share_done(epoch, part) for epoch, part in ((0, 0), (0, 1), (2, 0), (3, 0.5))]
    assert shares == pytest.approx([0.0, 0.15, 0.2, 0.5])
    assert plan.share_done(6, 0.0) == 1.0


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
