from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import CLASSES, paint, tiny_card, write_tiny

from beltsight.card import TaskCard
from beltsight.dataset import load_dataset
from beltsight.evaluation import Evaluation, evaluate
from beltsight.leak import Leak
from beltsight.model import Model
from beltsight.report.evaluation import (
    evaluation_page,
    predictions_csv,
    read_history,
    write_evaluation,
)
from beltsight.report.render import write_page

HISTORY = (
    "epoch,stage,learning_rate,train_loss,val_loss,val_accuracy,seconds\n"
    "1,0,0.01,1.5,1.2,0.61,10\n"
    "2,1,0.01,1.1,0.9,0.72,11\n"
)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    (tmp_path / "run").mkdir()
    return Model.load(write_tiny(tmp_path / "run" / "model.onnx"), threads=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight photos of different items; every fourth is labelled wrongly."""
    rows = ["path,material,split"]
    colours = {"red": (220, 30, 40), "green": (30, 210, 50), "blue": (20, 40, 230)}
    (tmp_path / "data").mkdir()
    for number in range(8):
        label = CLASSES[number % 3]
        shown = CLASSES[(number + (number % 4 == 0)) % 3]
        photo = paint(colours[shown])[:, :, ::-1]
        photo[0, 0] += number  # a copy would show the same item
        cv2.imwrite(str(tmp_path / "data" / f"{number}.png"), photo)
        rows.append(f"{number}.png,{label},test")
    (tmp_path / "data" / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


@pytest.fixture
def evaluation(model: Model, data: Path) -> Evaluation:
    return evaluate(model, data)


def test_the_page_says_what_was_measured(evaluation: Evaluation, model: Model) -> None:
    page = evaluation_page(evaluation, model)
    assert "tiny on the test split" in page
    assert "75.0 %" in page
    assert "6 of 8 photos" in page
    assert "Mistakes: 2 of 2" in page
    assert "The dot: all 8 photos, too few to group by confidence" in page
    assert page.count("data:image/jpeg") == 4
    assert model.hash in page
    assert "How it was trained" not in page


def test_the_page_needs_nothing_else(evaluation: Evaluation, model: Model) -> None:
    page = evaluation_page(evaluation, model)
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page


def test_training_curves_stand_where_the_run_has_them(
    evaluation: Evaluation, model: Model, tmp_path: Path
) -> None:
    (tmp_path / "run" / "metrics.csv").write_text(HISTORY)
    page = write_evaluation(evaluation, model, tmp_path / "out").read_text(encoding="utf-8")
    assert "How it was trained" in page
    assert page.count('<polyline class="curve') == 2 + 3  # reliability and purity, then training


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a,b\n1,2\n",
        HISTORY.replace("0.72", "good"),
        "epoch\n1,2,3\n",
        "\x00\n\xff",
        "epoch,train_loss,val_loss,val_accuracy\nnan,1,1,0.5\n",
    ],
)
def test_a_history_of_others_is_left_alone(content: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(content, encoding="latin-1")
    assert read_history(tmp_path / "metrics.csv") is None


def test_a_history_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(HISTORY)
    history = read_history(tmp_path / "metrics.csv")
    assert history is not None
    assert history["val_accuracy"] == [0.61, 0.72]
    assert read_history(tmp_path / "none.csv") is None
    assert read_history(None) is None


def test_names_of_strangers_are_text(tmp_path: Path, data: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    tasks = (TaskCard(name="material", classes=("blue", "green", evil)),)
    card = tiny_card(name="<b>bold", notice="<script>1</script>", tasks=tasks)
    model = Model.load(write_tiny(tmp_path / "evil.onnx", card))
    (data / "0.png").rename(data / "<i>0.png")
    rows = f"path,material,split\n<i>0.png,{evil},test\n1.png,green,test\n2.png,{evil},test\n"
    (data / "labels.csv").write_text(rows)
    page = evaluation_page(evaluate(model, data), model)
    for tag in ("<img src=x", "<b>bold", "<script", "<i>0.png"):
        assert tag not in page
    assert "&lt;img src=x" in page
    assert "&lt;i&gt;0.png" in page


def test_a_mistake_whose_photo_has_gone_is_still_listed(
    evaluation: Evaluation, model: Model, data: Path
) -> None:
    gone = evaluation.tasks["material"].mistakes[0]
    gone.file.unlink()
    page = evaluation_page(evaluation, model)
    assert "does not exist" in page
    assert gone.path in page
    assert page.count("data:image/jpeg") == 2


def test_the_gallery_is_bounded(evaluation: Evaluation, model: Model) -> None:
    assert "Mistakes: 1 of 2" in evaluation_page(evaluation, model, mistakes=1)


def test_a_page_without_mistakes(model: Model, data: Path) -> None:
    dataset = load_dataset(data)
    good = replace(dataset, samples=tuple(s for s in dataset.samples if s.path.stem in "123567"))
    page = evaluation_page(evaluate(model, good), model)
    assert "100.0 %" in page
    assert "<p>None.</p>" in page


def severities(*tasks: str) -> dict[str, Any]:
    row = {"n": 8, "right": 6, "accuracy": 0.75, "interval": [0.4, 0.9]}
    return {task: {"severities": [row, row], "mean": 0.75} for task in tasks}


def test_a_change_that_measured_nothing_is_named(evaluation: Evaluation, model: Model) -> None:
    changes = {
        "occlusion": {"title": "hidden", "unit": "of the item", "tasks": {}},
        "blur": {"title": "blur", "unit": "px", "tasks": severities("material", "dirt")},
        "dirt": {"title": "dirt", "unit": "share", "tasks": severities("dirt")},
    }
    record = {"changes": {name: {**each, "amounts": [0, 1]} for name, each in changes.items()}}
    page = evaluation_page(replace(evaluation, robustness=record), model)
    assert "Not measured: hidden, since no photo" in page
    assert "<h3>hidden</h3>" not in page and "<h3>blur</h3>" in page
    # One colour per task in all panels, and all tasks in the legend.
    panels = page.partition("How it holds when photos get worse")[2].partition("How it was")[0]
    assert panels.count('<polyline class="curve c0"') == 1
    assert panels.count('<polyline class="curve c1"') == 2
    assert '<span class="c0"><i></i>material</span><span class="c1"><i></i>dirt</span>' in page


def test_photos_of_one_item_are_said_beside_the_band(model: Model, data: Path) -> None:
    said = "all photos of an item being right or wrong together"
    assert said not in evaluation_page(evaluate(model, data), model)
    rows = (data / "labels.csv").read_text().splitlines()
    grouped = [f"{row},{number // 2}" for number, row in enumerate(rows[1:])]
    (data / "labels.csv").write_text("\n".join([f"{rows[0]},group", *grouped]))
    assert said in evaluation_page(evaluate(model, data), model)


def test_leaks_are_shown(evaluation: Evaluation, model: Model) -> None:
    known = replace(evaluation, leak=Leak(("3.png",), ("5.png",)))
    page = evaluation_page(known, model)
    assert "2 of these 8 photos are known to the model" in page
    assert "3.png, 5.png" in page
    assert "could not be checked" in evaluation_page(evaluation, model)


def test_classes_without_photos_do_not_break_the_page(model: Model, data: Path) -> None:
    rows = "path,material,split\n1.png,green,test\n3.png,blue,test\n"
    (data / "labels.csv").write_text(rows)
    assert "no photos" in evaluation_page(evaluate(model, data), model)


def test_a_spreadsheet_runs_no_formula(evaluation: Evaluation) -> None:
    result = evaluation.tasks["material"]
    paths = ("=cmd|'/c calc'!A1.png", "+1.png", "-2.png", "@3.png", *result.paths[4:])
    changed = replace(evaluation, tasks={"material": replace(result, paths=paths)})
    rows = list(csv.DictReader(io.StringIO(predictions_csv(changed))))
    assert len(rows) == 8
    assert not any(row["path"][0] in "=+-@" for row in rows)
    assert {row["path"].removeprefix("./") for row in rows} == set(paths)
    task = replace(result.task, name="=HYPERLINK(1)")
    changed = replace(evaluation, tasks={task.name: replace(result, task=task)})
    table = csv.DictReader(io.StringIO(predictions_csv(changed)))
    assert not any(name[0] in "=+-@" for name in table.fieldnames or ())
    assert all(row["./=HYPERLINK(1)_truth"] for row in table)


def test_the_csv_has_one_row_per_photo_with_blank_cells_for_missing_labels(
    evaluation: Evaluation,
) -> None:
    result = evaluation.tasks["material"]
    part = replace(
        result, paths=("0.png", "9.png"), files=result.files[:2], labels=result.labels[:2],
        logits=result.logits[:2], task=replace(result.task, name="other"),
    )  # fmt: skip
    both = replace(evaluation, tasks={"material": result, "other": part})
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(predictions_csv(both)))}
    assert len(rows) == 9
    assert rows["9.png"]["material_answer"] == ""
    assert rows["1.png"]["other_answer"] == ""
    assert rows["0.png"]["other_answer"] == rows["0.png"]["material_answer"] != ""
    best = np.argmax([float(rows["2.png"][f"material:{name}"]) for name in CLASSES])
    assert rows["2.png"]["material_answer"] == CLASSES[best]


def test_a_name_with_line_ends_is_read_back(evaluation: Evaluation, tmp_path: Path) -> None:
    result = evaluation.tasks["material"]
    paths = ("a\rb.png", "a\nb.png", "a\r\nb.png", 'a,"b.png', *result.paths[4:])
    changed = replace(evaluation, tasks={"material": replace(result, paths=paths)})
    write_page(tmp_path / "p.csv", predictions_csv(changed))
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        assert {row["path"] for row in csv.DictReader(file)} == set(paths)
