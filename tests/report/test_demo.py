from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from tests.tiny import paint, tiny_card, write_tiny

from beltsight.card import GoldenCard, TaskCard
from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import DatasetError
from beltsight.model import Model
from beltsight.report.demo import demo_page, demo_record, run_demo, stated_test_figure


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
    assert wrong.photo != wrong.heat
    record = demo_record([wrong, right], "x/index.html")
    assert (record["n"], record["right"]) == (2, 1)
    page = demo_page([wrong, right], model)
    assert "1 of 2" in page
    assert "it is blue" in page
    assert "card holds no test figure" in page


def test_a_model_without_maps_is_shown_by_occlusion(tmp_path: Path, dataset: Dataset) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx", with_map=False))
    assert all(photo.photo != photo.heat for photo in run_demo(model, dataset))


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
    from onnx import helper
    from tests.tiny import tiny_graph

    graph = tiny_graph(with_map=False)
    graph.graph.node.append(helper.make_node("Identity", ["material"], ["dirt"]))
    graph.graph.output.append(helper.make_tensor_value_info("dirt", 1, ["batch", 3]))
    tasks = (TaskCard(name="dirt", classes=("a", "b", "c"), map=False),)
    card = tiny_card(tasks=tasks, golden=GoldenCard())
    with pytest.raises(DatasetError, match="labelled for material"):
        run_demo(Model.load(write_tiny(tmp_path / "m.onnx", card, graph=graph)), dataset)
