from __future__ import annotations

from pathlib import Path

from tests.cli.program import beltsight
from tests.tiny import tiny_card, tiny_graph, tiny_training, write_tiny

from beltsight.card import Card, content_hash


def test_the_card_is_readable_and_marks_are_counts(tmp_path: Path) -> None:
    digests = [content_hash(bytes([n])) for n in range(9)]
    card = tiny_card(training=tiny_training(digests[:7], digests[7:]), licence="MIT")
    result = beltsight("card", write_tiny(tmp_path / "m.onnx", card))
    assert result.status == 0
    lines = dict(line.split("  ", 1) for line in result.out.splitlines())
    facts = {what.strip(): value.strip() for what, value in lines.items()}
    assert facts["Name"] == "tiny, version 1"
    assert facts["Answers material"] == "blue, green, red"
    assert facts["Knows by mark"] == "7 training and 2 validation or calibration photos"
    assert facts["Licence"] == "MIT"
    assert card.training.train_marks not in result.out
    assert card.golden.photos_png[0] not in result.out


def test_json_is_the_whole_card(tmp_path: Path) -> None:
    card = tiny_card(metrics={"split": "val", "n": 3, "tasks": {"material": {"accuracy": 0.5}}})
    result = beltsight("card", write_tiny(tmp_path / "m.onnx", card), "--json")
    assert Card.model_validate(result.json) == card


def test_the_figures_name_their_split(tmp_path: Path) -> None:
    figures = {"accuracy": 0.875, "interval": [0.61, 0.97], "n": 16}
    metrics = {
        "split": "val", "n": 16, "tasks": {"material": figures},
        "test": {"n": 16, "tasks": {"material": figures}},
    }  # fmt: skip
    result = beltsight("card", write_tiny(tmp_path / "m.onnx", tiny_card(metrics=metrics)))
    assert "87.5 % (61.0 to 97.0 %) of 16 photos of the validation split" in result.out
    assert "87.5 % (61.0 to 97.0 %) of 16 photos of the test split" in result.out
    assert result.out.count("Measured material ") == 2


def test_strange_figures_are_passed_over(tmp_path: Path) -> None:
    strange = [
        {"split": "val", "tasks": {"material": {"accuracy": "high"}}},
        {"split": "val", "tasks": {"material": {"accuracy": True}}},
        {"split": "val", "tasks": {"material": [1]}},
        {"split": ["val"], "tasks": 3},
        {"split": "moon", "tasks": {"material": {"accuracy": 1}}},
        {"test": 7},
    ]
    for number, metrics in enumerate(strange):
        model = write_tiny(tmp_path / f"{number}.onnx", tiny_card(metrics=metrics))
        result = beltsight("card", model)
        assert result.status == 0
        assert "Measured" not in result.out


def test_a_model_that_is_refused_still_shows_its_card(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "off.onnx", tiny_card(), graph=tiny_graph(offset=1.0))
    assert beltsight("predict", model, tmp_path).status == 1
    assert beltsight("card", model).status == 0


def test_no_model_is_a_problem(tmp_path: Path) -> None:
    result = beltsight("card", tmp_path / "none.onnx")
    assert (result.status, result.out) == (1, "")
    assert "no such model file" in result.err
