"""The study of robustness: its settings, its tables by hand, and a slice from end to end."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from studies.robustness import run
from studies.robustness.chart import draw_chart
from studies.robustness.tables import lines_of, results_text
from studies.runner import REPOSITORY
from studies.study import Sweep, load_study, settings_of
from tests.test_robustness import two_tasks
from tests.tiny import write_tiny

import beltsight
from beltsight.metrics import wilson_interval
from beltsight.robustness import CHANGES, measure_robustness
from beltsight.train.settings import load_settings
from studies import sweep as sweeping

HERE = REPOSITORY / "studies" / "robustness"


def test_five_severities_of_every_change() -> None:
    plan = run.load_plan(quick=False)
    assert plan.changes == {name: change.amounts for name, change in CHANGES.items()}
    names = [variant.name for variant in load_study(HERE / "study.toml").variants]
    assert list(plan.models) == [*names, run.PACKAGED]
    quick = run.load_plan(quick=True).changes
    assert quick["blur"] == (1, 8) and len(quick) == len(plan.changes)


def test_the_models_differ_in_their_augmentation_alone() -> None:
    study = load_study(HERE / "study.toml")
    strong, none = (settings_of(study.base, study.variant(name), 0) for name in ("strong", "none"))
    assert strong.stages == load_settings(recipe="quick").stages
    changed = {k for k, v in none.model_dump().items() if v != strong.model_dump()[k]}
    assert changed == {"augment", "stages"}
    assert [stage.epochs for stage in none.stages] == [stage.epochs for stage in strong.stages]


def figures(right: int, n: int) -> dict[str, Any]:
    return {"n": n, "right": right, "accuracy": right / n, "interval": wilson_interval(right, n)}


def record(change: str, rights: list[int], n: int = 100, task: str = "material") -> dict[str, Any]:
    known = CHANGES[change]
    rows = [figures(right, n) for right in rights]
    mean = sum(row["accuracy"] for row in rows[1:]) / len(rows[1:])
    return {
        "title": known.title,
        "unit": known.unit,
        "amounts": [known.neutral, *known.amounts],
        "tasks": {task: {"severities": rows, "mean": mean}},
    }


def result(*changes: tuple[str, dict[str, Any]], part: str = "plain") -> dict[str, Any]:
    return {part: {"n": 100, "changes": dict(changes)}}


def test_tables_by_hand() -> None:
    results = {
        "with": result(("blur", record("blur", [90, 88, 80, 70, 60, 52])),
                       ("dirt", record("dirt", [45, 40, 40, 40, 30, 20], 50))),
        "without": result(("blur", record("blur", [90, 80, 60, 50, 40, 20]))),
    }  # fmt: skip
    text = results_text(results)
    low, high = wilson_interval(70, 100)
    shown = f"70.0 % ({100 * low:.1f} to {100 * high:.1f}), 70.0 %"
    assert f"| blur | 3 px, sigma | {shown} | 50.0 %" in text
    assert "| no change | - | 90.0 % (" in text
    assert "| **mean over changes** | - | **69.0 %** | **50.0 %** |" in text  # dirt: 68.0 %
    assert "(50 are left)" in text
    assert results_text({}) == "Nothing is measured yet."


def test_levels_are_asked_for_on_soiled_photos_and_under_dirt() -> None:
    both = {
        **result(("dirt", record("dirt", [45, 40, 40, 40, 30, 20], task="contamination")),
                 ("blur", record("blur", [90, 80, 60, 50, 40, 20]))),
        **result(("blur", record("blur", [80, 70, 60, 50, 40, 20], task="contamination")),
                 part="soiled"),
    }  # fmt: skip
    lines = lines_of({"packaged": both}, "contamination")
    assert list(lines) == ["blur", "dirt"]
    assert lines["blur"]["packaged"]["severities"][0]["right"] == 80
    assert list(lines_of({"packaged": both}, "material")) == ["blur"]


def test_a_panel_for_each_change(tmp_path: Path) -> None:
    every = [(name, record(name, [90, 88, 80, 70, 60, 52])) for name in CHANGES]
    assert draw_chart({"with": result(*every)}, "material", tmp_path / "m.svg")
    text = (tmp_path / "m.svg").read_text(encoding="utf-8")
    assert all(f">{change.title}<" in text for change in CHANGES.values())
    assert not draw_chart({"with": result(*every)}, "contamination", tmp_path / "c.svg")


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The slice of coloured photos, the tiny models of the tests, and two changes."""
    rng = np.random.default_rng(0)
    colours = {"blue": (30, 40, 190), "green": (30, 150, 50), "red": (190, 40, 30)}
    for split in ("train", "val", "test"):
        for label, colour in colours.items():
            folder = tmp_path / "data" / "trashnet" / split / label
            folder.mkdir(parents=True)
            for number in range(2):
                photo = np.full((96, 128, 3), 225, np.uint8)
                turn = float(rng.uniform(0, 180))
                cv2.ellipse(photo, (64, 48), (40, 28), turn, 0, 360, colour, -1)
                noisy = np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)
                cv2.imwrite(str(folder / f"{number}.png"), noisy[:, :, ::-1])
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "data"))
    plan = run.load_plan(quick=True)
    few = {name: plan.changes[name] for name in ("contrast", "dirt")}
    monkeypatch.setattr(run, "load_plan", lambda quick: plan.model_copy(update={"changes": few}))
    monkeypatch.setattr(run, "DEFAULT_MODEL", tmp_path / "packaged.onnx")
    two_tasks(tmp_path / "packaged.onnx")
    opened = sweeping.open_sweep(HERE, tmp_path / "out", quick=True)
    folder = opened.folder("strong", 0)
    folder.mkdir(parents=True)
    write_tiny(folder / "model.onnx")
    return opened


def test_measured_drawn_and_not_looked_at_again(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run.measure(sweep)
    assert "none: " in capsys.readouterr().out  # it was not trained
    strong, packaged = (run.read_result(sweep, name) for name in ("strong", "packaged"))
    assert strong["plain"]["changes"]["contrast"]["amounts"] == [1, 0.8, 0.15]
    rows = strong["plain"]["changes"]["contrast"]["tasks"]["material"]["severities"]
    assert [row["right"] for row in rows[:2]] == [6, 6]
    assert "soiled" not in strong and list(packaged["soiled"]["changes"]) == ["contrast"]
    levels = packaged["soiled"]["changes"]["contrast"]["tasks"]["contamination"]["severities"]
    assert levels[0]["n"] == 6
    with sweep.looks.open(encoding="utf-8") as file:
        looks = [(look["data"], look["figure"]) for look in csv.DictReader(file)]
    # Two lines for each model and data set: the plain look, and the means under changes.
    assert [data for data, _ in looks] == ["trashnet"] * 4 + ["trashnet-test-soiled"] * 2
    assert looks[0][1] == "material accuracy 1.0000"
    assert "mean over 2 changes (studies/robustness, strong)" in looks[1][1]
    before = sweep.looks.read_bytes()
    run.measure(sweep)
    assert sweep.looks.read_bytes() == before
    run.table(sweep)
    assert "| less contrast | 0.15 of the contrast |" in sweep.readme.read_text(encoding="utf-8")
    run.plot(sweep)
    assert {file.name for file in sweep.results.glob("*.svg")} == {
        "material.svg", "contamination.svg",
    }  # fmt: skip


def test_an_interrupted_look_is_not_written_twice(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = measure_robustness

    def interrupted(*arguments: Any, progress: Any, **options: Any) -> Any:
        def stop(change: str, done: int, total: int) -> None:
            if change == "dirt":
                raise KeyboardInterrupt

        return measure(*arguments, progress=stop, **options)

    only = replace(sweep, only=("strong",))
    monkeypatch.setattr(run, "measure_robustness", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run.measure(only)
    monkeypatch.setattr(run, "measure_robustness", measure)
    run.measure(only)
    assert len(sweep.looks.read_text(encoding="utf-8").splitlines()) == 1 + 2
    result = json.loads((sweep.results / "curves-strong.json").read_text(encoding="utf-8"))
    assert (
        result["model"]["sha256"] == beltsight.load(sweep.folder("strong", 0) / "model.onnx").hash
    )
