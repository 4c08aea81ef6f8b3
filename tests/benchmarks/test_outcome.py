from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from benchmarks.answers import accuracy, checks_of, compare, differences
from benchmarks.archive import Watch, make_archive, watched
from benchmarks.outcome import (
    Check,
    conditions,
    finish,
    network_options,
    network_record,
    options,
    stream_options,
    trashnet,
    wait_for_quiet,
)
from benchmarks.startup import time_runs

from beltsight.records import Sample, TaskSpec

TASK = TaskSpec("material", ("glass", "metal", "paper"))


@pytest.mark.parametrize(
    ("found", "least", "most", "holds"),
    [
        (4.0, 4.0, None, True),
        (3.999, 4.0, None, False),
        (1.15, None, 1.15, True),
        (1.16, None, 1.15, False),
        (float("nan"), 1.0, None, False),
        (float("nan"), None, 1.0, False),
    ],
)
def test_a_promise_holds_at_its_bound_and_never_without_a_figure(
    found: float, least: float | None, most: float | None, holds: bool
) -> None:
    check = Check("speed", found, least, most)
    assert check.holds is holds
    assert str(check).startswith("holds " if holds else "MISSED")


def test_a_missed_promise_fails_only_where_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "figures.json"
    checks = [Check("speed", 3.0, least=4.0), Check("memory", 3.0, most=50.0)]
    finish({"what": "x"}, checks, options("x").parse_args(["--out", str(out)]))
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [check["holds"] for check in record["checks"]] == [False, True]
    assert "MISSED  speed: 3, must be at least 4" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="missed: speed"):
        finish({}, checks, argparse.Namespace(out=None, check=True))
    finish({}, checks[1:], argparse.Namespace(out=None, check=True))


def test_a_record_says_what_its_figures_depend_on() -> None:
    parser = network_options("x")
    stream_options(parser)
    given = parser.parse_args(["--threads", "3", "--float-layers", "1"])
    assert (given.batch, given.engine) == (4, None)
    record = network_record("speed", {"processor": "A 9"}, given)
    assert record == {
        "what": "speed", "machine": {"processor": "A 9"}, "size": 224, "threads": 3,
        "weights": "random", "float_layers": 1,
    }  # fmt: skip
    given = parser.parse_args(["--models", "runs"])
    assert network_record("speed", {}, given)["weights"] == "those in --models"


def test_photos_that_are_not_there_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path))
    with pytest.raises(SystemExit, match="trashnet is not here; set BELTSIGHT_DATA"):
        trashnet()
    (tmp_path / "trashnet").mkdir()
    assert trashnet() == tmp_path / "trashnet"


class Load:
    """A clock that moves while one sleeps, and a load that falls with it."""

    def __init__(self, *loads: float) -> None:
        self.loads, self.now = list(loads), 100.0

    def __call__(self) -> float:
        return self.loads.pop(0) if len(self.loads) > 1 else self.loads[0]

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("loads", "most_s", "waited_s", "said"),
    [
        ((0.4,), 300.0, 0.0, ""),
        ((3.0, 2.0, 0.5), 300.0, 10.0, "load 3.00: waiting for a quiet machine, 300 s at most\n"),
        ((3.0,), 60.0, 60.0, "load 3.00: waiting for a quiet machine, 60 s at most\n"),
        ((3.0,), 0.0, 0.0, ""),
    ],
)
def test_a_busy_machine_is_waited_for_and_not_for_ever(
    loads: tuple[float, ...],
    most_s: float,
    waited_s: float,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load = Load(*loads)
    assert wait_for_quiet(most_s, load, load.clock, load.sleep) == waited_s
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(("load", "quiet"), [(0.5, True), (0.51, False)])
def test_a_record_says_whether_the_machine_was_quiet(
    load: float, quiet: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (load, 9.0, 9.0))
    found = conditions(options("x").parse_args(["--wait", "0"]))
    assert (found["quiet"], found["waited_s"], found["load_before"]) == (quiet, 0, load)
    assert ("not to be published" in capsys.readouterr().out) is not quiet


def test_starting_up_reads_nothing_that_the_user_has_tuned(tmp_path: Path) -> None:
    code = "import os, sys; open(sys.argv[1], 'a').write(os.environ['BELTSIGHT_CACHE'] + ' ')"
    seen = tmp_path / "seen"
    seconds = time_runs([sys.executable, "-c", code, str(seen)], 1, "elsewhere")
    assert (len(seconds), seen.read_text()) == (1, "elsewhere elsewhere ")


def samples() -> list[Sample]:
    labels = ("glass", "metal", "paper")
    return [Sample(Path(f"{name}/{name}1.jpg"), {"material": name}) for name in labels]


def test_differences_are_listed_by_the_references_margin() -> None:
    expected = np.array([[0.9, 0.1, 0.0], [0.30, 0.45, 0.25], [0.2, 0.38, 0.42]])
    got = np.array([[0.8, 0.2, 0.0], [0.46, 0.44, 0.10], [0.2, 0.42, 0.38]])
    found = differences(TASK, expected, got, samples())
    assert [each["photo"] for each in found] == ["paper/paper1.jpg", "metal/metal1.jpg"]
    assert [each["margin"] for each in found] == [0.04, 0.15]
    assert found[0]["reference"] == found[0]["truth"] == "paper"
    assert found[0]["answer"] == "metal"
    assert accuracy(TASK, expected, samples()) == 1.0
    assert accuracy(TASK, got, samples()) == round(1 / 3, 5)
    assert accuracy(TASK, got, [Sample(Path("a.jpg"))] * 3) is None


class Fixed:
    """A model whose answers stand."""

    def __init__(self, rows: Any, **others: Any) -> None:
        self.rows = np.array(rows)
        self.answers = {"material": self.rows, **{k: np.array(v) for k, v in others.items()}}
        self.tasks = tuple(TaskSpec(name, TASK.classes) for name in self.answers)

    def outputs(self, photos: Any, names: Any, batch_size: int) -> Any:
        return self.answers

    def probabilities(self, task: str, logits: Any) -> Any:
        return logits


def test_engines_are_judged_by_their_numbers() -> None:
    before, after = Fixed(np.eye(3)), Fixed([[1, 0, 0], [0, 0.4, 0.6], [0, 0, 1]])
    found = compare(before, after, None, {"material": before.rows}, samples())
    assert (found["labels_changed"], found["largest_probability_change"]) == (1, 0.6)
    assert (found["accuracy_of_reference"], found["accuracy"]) == (1.0, round(2 / 3, 5))
    verdicts = {
        who: [check.holds for check in checks_of("m", who, found)]
        for who in ("openvino-cpu, float32", "x-bf16, bf16", "openvino-cpu, int8, rest float32")
    }
    assert list(verdicts.values()) == [[False], [True], [False, False]]


def test_of_several_tasks_the_worst_one_counts() -> None:
    """One changed label of nine in all is one of three in its task."""
    even, other = np.eye(3), np.array([[0.4, 0.6, 0], [0, 1, 0], [0, 0, 1]])
    before = Fixed(even, dirt=even, level=even)
    labelled = [
        Sample(sample.path, dict.fromkeys(("material", "dirt"), sample.labels["material"]))
        for sample in samples()
    ]
    found = compare(before, Fixed(even, dirt=other, level=even), None, before.answers, labelled)
    assert (found["labels_changed"], found["agreement"]) == (1, round(2 / 3, 5))
    assert (found["accuracy"], found["loss_of_accuracy"]) == (1.0, round(1 / 3, 5))
    assert found["tasks"]["level"]["accuracy"] is None
    verdicts = [check.holds for check in checks_of("m", "openvino-cpu, int8", found)]
    assert verdicts == [False, False]


def test_an_archive_is_of_links(tmp_path: Path) -> None:
    archive = make_archive(tmp_path, 1003)
    photos = sorted(archive.rglob("*.jpg"))
    assert len(photos) == 1003
    assert [len(list(folder.iterdir())) for folder in sorted(archive.iterdir())] == [1000, 3]
    assert photos[0].stat().st_ino == photos[36].stat().st_ino
    assert photos[0].stat().st_nlink == 29


def test_a_growing_file_is_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    watch = Watch(path)
    assert watch.update() == 0
    path.write_text("1\n2\n3", encoding="utf-8")
    assert watch.update() == 2
    with path.open("a", encoding="utf-8") as file:
        file.write("\n4\n")
    assert watch.update() == 4


def test_a_watched_program_is_killed_in_the_middle(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    code = (
        "import sys, time\n"
        "for number in range(1000):\n"
        "    print(number, file=open(sys.argv[1], 'a'))\n"
        "    time.sleep(0.02)\n"
    )
    looks = list(watched([sys.executable, "-c", code, str(out)], out, kill_at=5))
    assert not looks[-1].ended
    assert 5 <= looks[-1].answers < 900
    assert all(look.resident_mb > 1 for look in looks[:-1])
    *_, last = watched([sys.executable, "-c", "pass"], out, kill_at=10_000)
    assert last.ended


def test_a_program_that_fails_is_said(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('out of memory')"]
    with pytest.raises(SystemExit, match="out of memory"):
        list(watched(command, tmp_path / "out.jsonl"))


def test_the_command_line_names_the_engine(tmp_path: Path) -> None:
    from benchmarks.archive import predict

    given = SimpleNamespace(engine="openvino-cpu", batch=4, threads=2)
    command = predict(tmp_path / "m.onnx", tmp_path, tmp_path / "o.jsonl", given, "--resume")
    assert command[-3:] == ["--engine", "openvino-cpu", "--resume"]
