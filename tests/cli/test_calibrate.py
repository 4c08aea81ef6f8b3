from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.cli.program import beltsight
from tests.tiny import paint, write_tiny

from beltsight.engines import Engine, open_engine
from beltsight.model import Model
from beltsight.tuned import Choice


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in {"red": (150, 118, 120), "blue": (118, 120, 150)}.items():
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            shade = (colour[0] + number, colour[1], colour[2] - number)
            photo = paint(shade, 40)[:, :, ::-1]
            cv2.imwrite(str(tmp_path / "data" / name / f"{number}.png"), photo)
    return tmp_path / "data"


def test_a_model_is_written_and_the_statement_printed(photos: Path, tmp_path: Path) -> None:
    model, out = write_tiny(tmp_path / "m.onnx"), tmp_path / "mine.onnx"
    result = beltsight("calibrate", model, photos, "--split", "all", "--purity", 0.9, "--out", out)
    assert result.status == 0, result.err
    assert "material: temperature 1.000, now " in result.out
    assert "(12 photos)" in result.out
    assert "material: 90 % purity is not certified, since the model's card" in result.out
    assert "temperature of material: fitted on 12 labelled photos only" in result.err
    assert "no photo of material green: nothing is known of it" in result.err
    assert Model.load(out).card.tasks[0].purity is not None
    # What the card asks for is asked for again, and said.
    again = beltsight("calibrate", out, photos, "--split", "all", "--out", model)
    assert "material, the purity in the model's card: 90 % purity is not certified" in again.out
    assert Model.load(model).card.tasks[0].threshold is not None
    other = beltsight("calibrate", model, photos, "--split", "all", "--out", out, "--json")
    assert (other.json["purity"]["target"], other.json["purity"]["by_card"]) == (0.9, True)
    assert other.json["n"] == other.json["temperatures"]["material"]["n"] == 12


def test_json_has_the_threshold_of_each_stream(photos: Path, tmp_path: Path) -> None:
    model, out = write_tiny(tmp_path / "m.onnx"), tmp_path / "mine.onnx"
    result = beltsight(
        "calibrate", model, photos, "--split", "all", "--purity", 0.9, "--purity-task", "material",
        "--out", out, "--json",
    )  # fmt: skip
    found = result.json["purity"]
    assert (found["task"], found["target"], found["certified"]) == ("material", 0.9, None)
    assert found["chosen"]["threshold"] == Model.load(out).card.tasks[0].threshold
    assert sum(stream["n"] for stream in found["per_class"].values()) == 12


def test_test_photos_are_refused(photos: Path, tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    result = beltsight("calibrate", model, photos, "--split", "test", "--out", tmp_path / "x.onnx")
    assert result.status == 1 and "no test any more" in result.err
    assert not (tmp_path / "x.onnx").exists()


def test_the_models_own_file_is_not_written_over(photos: Path, tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    result = beltsight("calibrate", model, photos, "--split", "all", "--out", model)
    assert result.status == 2 and "another file" in result.err


def test_what_tune_chose_for_another_file_measures_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(*of: object) -> Choice:
        return Choice(engine="openvino-cpu", batch_size=1, photos_per_s=1.0)

    monkeypatch.setattr("beltsight.model.stored_choice", chosen)
    monkeypatch.setattr("beltsight.model.open_engine", only_onnx_runtime)
    model, out = write_tiny(tmp_path / "m.onnx"), tmp_path / "mine.onnx"
    result = beltsight("calibrate", model, photos, "--split", "all", "--out", out)
    assert result.status == 0, result.err


def only_onnx_runtime(name: str, *rest: Any) -> Engine:
    assert name == "onnxruntime-cpu"
    return open_engine(name, *rest)
