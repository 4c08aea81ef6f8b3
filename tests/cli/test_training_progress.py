from __future__ import annotations

import time

import pytest

from beltsight.cli.training_progress import TrainingProgress
from beltsight.train.activations import CachePlanned, CacheProgress
from beltsight.train.loop import BatchDone, EpochDone, Event
from beltsight.train.plan import RunPlanned, StagePlan

PLAN = RunPlanned((StagePlan(1, 60.0, 10.0), StagePlan(2, 0.0, 300.0)))


def shown(events: list[Event], capsys: pytest.CaptureFixture[str]) -> list[str]:
    with TrainingProgress() as progress:
        for event in events:
            progress.watch(event)
    return capsys.readouterr().err.splitlines()


def epoch(number: int) -> EpochDone:
    return EpochDone(number, 0, 0.1, 1.0, 1.0, 0.5, 2.0)


def test_caching_is_announced_with_size_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = [
        PLAN,
        CachePlanned(7400, 0, 970_000_000, 44.0, "PyTorch cpu bfloat16"),
        CacheProgress(64, 7400),
    ]
    assert shown(events, capsys) == [
        "computing the frozen layers once: 7,400 views, 1.0 GB, about 44 s (PyTorch cpu bfloat16)"
    ]


def test_the_time_left_is_said_after_the_first_minute_and_each_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with TrainingProgress() as progress:
        progress.watch(PLAN)
        progress.watch(BatchDone(1, 3, 1, 2, 1.0))
        now += 20
        progress.watch(BatchDone(1, 3, 2, 2, 1.0))
        progress.watch(epoch(1))
        now += 56
        progress.watch(BatchDone(2, 3, 1, 100, 1.0))
        progress.watch(BatchDone(2, 3, 2, 100, 1.0))
    lines = capsys.readouterr().err.splitlines()
    # Half an epoch was planned to take 5 s and took 20: 600 s * (20 + 20) / (5 + 20).
    assert lines[0].endswith("2 s  about 16 min left")
    assert lines[1].startswith("after the first minute:  about ") and len(lines) == 2


def test_a_run_that_goes_on_counts_its_own_work_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown([PLAN, BatchDone(3, 3, 1, 2, 1.0), BatchDone(3, 3, 2, 2, 1.0), epoch(3)], capsys)
    assert "left" not in lines[-1]


def test_a_doubt_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingProgress() as progress:
        progress.doubt("no validation photo of material glass: nothing is known of it")
    assert capsys.readouterr().err.splitlines() == [
        "beltsight: no validation photo of material glass: nothing is known of it"
    ]
