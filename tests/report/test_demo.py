from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import helper, numpy_helper
from tests.tiny import paint, tiny_card, tiny_graph, write_tiny

from beltsight.card import GoldenCard, TaskCard
from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import DatasetError
from beltsight.model import Model
from beltsight.report.demo import DEMO_PHOTOS, demo_page, demo_record, run_demo, stated_test_figure


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    for label, colour in {"red": (220, 30, 40), "blue": (220, 20, 20)}.items():
        (tmp_path / "photos" / label).mkdir(parents=True)
        photo = paint(colour, 60)[:, :, ::-1]
        cv2.imwrite(str(tmp_path / "photos" / label / "1.png"), photo)
    return load_dataset(tmp_path / "photos")


def test_answers_are_those_of_the_model(tmp_path: Path, dataset: Dataset) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    wrong, right = run_demo(model, dataset)
    assert (wrong.truth, wrong.answer.label, wrong.right) == ("blue", "red", False)
    assert (right.truth, right.answer.label, right.right) == ("red", "red", True)
    assert wrong.photo != wrong.heats["material"]
    record = demo_record([wrong, right], "x/index.html")
    assert (record["n"], record["right"]) == (2, 1)
    page = demo_page([wrong, right], model)
    assert "1 of 2" in page
    assert "it is blue" in page
    assert "card holds no test figure" in page


def test_a_model_without_maps_is_shown_by_occlusion(tmp_path: Path, dataset: Dataset) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx", with_map=False))
    assert all(photo.photo != photo.heats["material"] for photo in run_demo(model, dataset))


MATERIALS = ("cardboard", "glass", "metal", "paper", "plastic", "trash")
LEVELS = ("clean", "partly", "heavily")


def write_three_tasks(path: Path) -> Path:
    """Six materials; contamination and dirt answer with the scores of the first three."""
    graph = tiny_graph(classes=6)
    ends = [numpy_helper.from_array(np.array([v]), n) for n, v in (("s", 0), ("e", 3), ("a", 1))]
    graph.graph.initializer.extend(ends)
    outputs: tuple[tuple[str, str, list[str | int | None]], ...] = (
        ("contamination", "material", ["batch", 3]),
        ("contamination_map", "material_map", ["batch", 3, 4, 4]),
        ("dirt", "material", ["batch", 3]),
    )
    for name, source, shape in outputs:
        graph.graph.node.append(helper.make_node("Slice", [source, "s", "e", "a"], [name]))
        graph.graph.output.append(helper.make_tensor_value_info(name, 1, shape))
    tasks = (
        TaskCard(name="material", classes=MATERIALS, threshold=0.3),
        TaskCard(name="contamination", classes=LEVELS, ordered=True),
        TaskCard(name="dirt", classes=("dust", "none", "organic"), map=False),
    )
    return write_tiny(path, tiny_card(tasks=tasks, golden=GoldenCard()), graph=graph)


def test_dirt_maps_and_routes_are_shown_where_the_model_has_them(tmp_path: Path) -> None:
    model = Model.load(write_three_tasks(tmp_path / "m.onnx"))
    photos = run_demo(model)
    soiled = [photo for photo in photos if photo.simulated]
    assert len(photos) - len(soiled) == 36
    assert len({photo.truth for photo in soiled}) >= 5 and len(soiled) >= 10
    for photo in photos:
        assert set(photo.heats) == {"material", "contamination"}
        assert photo.decision is not None and photo.decision.model_hash == model.hash
    assert {photo.truths["contamination"] for photo in soiled} == {"partly", "heavily"}
    assert all(photo.truths["contamination"] == "clean" for photo in photos[:36])
    page = demo_page(photos, model)
    assert "The dirt is simulated." in page
    assert page.count("data:image/jpeg") == 3 * len(photos)
    assert page.count("goes to") == len(photos)
    level_is_wrong = [
        photo
        for photo in photos
        if photo.right
        and photo.prediction.tasks["contamination"].label != photo.truths["contamination"]
    ]
    assert level_is_wrong and not any(photo.all_right for photo in level_is_wrong)
    assert page.count('class="tile bad"') == sum(not photo.all_right for photo in photos)
    given = {photo.decision.reason for photo in photos if photo.decision}
    assert set(re.findall(r'<dt><span class="tag">([a-z-]+)</span></dt><dd>\w', page)) == given
    record = demo_record(photos, "x")
    assert record["n"] == 36
    assert all(line["route"] and line["reason"] for line in record["photos"])
    again = run_demo(model)
    assert [photo.photo for photo in again] == [photo.photo for photo in photos]


def test_only_a_test_figure_is_called_one(tmp_path: Path) -> None:
    figures = {"material": {"accuracy": 0.9, "interval": [0.8, 0.95], "n": 40}}
    for metrics, expected in (
        ({"split": "val", "n": 40, "tasks": figures}, None),
        ({"split": "test", "n": 40, "tasks": figures}, 0.9),
        ({"split": "val", "tasks": figures, "test": {"tasks": figures}}, 0.9),
        ({}, None),
    ):
        model = Model.load(write_tiny(tmp_path / "m.onnx", tiny_card(metrics=metrics)))
        found = stated_test_figure(model)
        assert (found.accuracy if found else None) == expected


def test_another_task_cannot_be_shown(tmp_path: Path, dataset: Dataset) -> None:
    graph = tiny_graph(with_map=False)
    graph.graph.node.append(helper.make_node("Identity", ["material"], ["dirt"]))
    graph.graph.output.append(helper.make_tensor_value_info("dirt", 1, ["batch", 3]))
    tasks = (TaskCard(name="dirt", classes=("a", "b", "c"), map=False),)
    card = tiny_card(tasks=tasks, golden=GoldenCard())
    with pytest.raises(DatasetError, match="labelled for material"):
        run_demo(Model.load(write_tiny(tmp_path / "m.onnx", card, graph=graph)), dataset)


def test_dirt_is_laid_on_clean_photos_alone(tmp_path: Path) -> None:
    """Of a class with one photo, the second dirt must not lie on the first."""
    model = Model.load(write_three_tasks(tmp_path / "m.onnx"))
    photos = load_dataset(DEMO_PHOTOS).samples
    for sample in photos:
        label = sample.labels["material"]
        (tmp_path / "few" / label).mkdir(parents=True, exist_ok=True)
        if label == "metal" or not any((tmp_path / "few" / label).iterdir()):
            shutil.copy(sample.path, tmp_path / "few" / label)
    shown = run_demo(model, load_dataset(tmp_path / "few"))
    made = Counter(photo.file for photo in shown if photo.simulated)
    assert made and set(made.values()) == {1}
