from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
from tests.cli.program import beltsight
from tests.tiny import write_tiny

from beltsight.cli.bench import _named

QUICK = (
    "--engine", "onnxruntime-cpu", "--threads", 1, "--rounds", 1, "--seconds", 0,
)  # fmt: skip


def test_the_table_names_machine_work_and_contestants(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    result = beltsight("bench", model, *QUICK, "--input", "prepared", "--input", "480p")
    assert result.status == 0, result.err
    assert "1 threads, 1 turns each" in result.out
    for title in ("network alone", "480p frame to answer", "480p JPEG to answer"):
        assert title in result.out
    rows = [line for line in result.out.splitlines() if line.startswith("tiny ")]
    assert len(rows) == 3
    assert all("onnxruntime-cpu" in row and "float32" in row for row in rows)


def test_json_has_every_row(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    found = beltsight(
        "bench", model, *QUICK, "--input", "prepared", "--batch", 1, "--batch", 3, "--json"
    ).json
    assert [(row["batch"], row["work"]) for row in found["rows"]] == [
        (1, "network"),
        (3, "network"),
    ]
    for row in found["rows"]:
        assert row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] <= row["most_ms"]
        assert row["frames"] == row["batch"] * row["calls"]
    assert found["machine"]["cores"] >= 1


def test_the_plot_is_an_svg_with_the_same_names(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = write_tiny(tmp_path / "tiny.onnx")
    picture = tmp_path / "new" / "bench.svg"
    result = beltsight("bench", model, *QUICK, "--input", "prepared", "--plot", picture)
    assert result.status == 0, result.err
    drawn = picture.read_text(encoding="utf-8")
    assert "<svg" in drawn
    assert "tiny, onnxruntime-cpu, float32" in drawn
    assert "network alone" in drawn


def test_a_plot_that_cannot_be_written_costs_no_measurement(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = write_tiny(tmp_path / "tiny.onnx")
    result = beltsight(
        "bench", model, *QUICK, "--input", "prepared", "--plot", model / "bench.svg", "--json"
    )
    assert result.status == 1
    assert "bench.svg: cannot be written" in result.err
    assert [row["work"] for row in result.json["rows"]] == ["network"]


def test_preparing_keeps_to_the_threads_that_were_asked_for(tmp_path: Path) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        assert beltsight("bench", write_tiny(tmp_path / "tiny.onnx"), *QUICK).status == 0
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


def test_a_missing_extra_is_said_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    missing = tmp_path / "none.onnx"
    result = beltsight("bench", missing, *QUICK, "--plot", tmp_path / "bench.svg")
    assert result.status == 1
    assert "pip install 'beltsight[lab]'" in result.err


def test_an_engine_that_there_is_not_is_a_wrong_command_line(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "tiny.onnx")
    result = beltsight("bench", model, "--engine", "onnxruntime")
    assert result.status == 2
    assert "did you mean 'onnxruntime-cpu'?" in result.err


def test_against_torch_adds_both_memory_formats(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    from tests.tiny import tiny_card, tiny_training

    training = tiny_training().model_copy(update={"backbone": "resnet10t"})
    model = write_tiny(tmp_path / "tiny.onnx", tiny_card(training=training))
    result = beltsight(
        "bench", model, *QUICK, "--input", "prepared", "--against", "torch", "--json"
    )
    assert result.status == 0, result.err
    rows = result.json["rows"]
    assert [row["engine"] for row in rows] == [
        "onnxruntime-cpu", "PyTorch, contiguous", "PyTorch, channels last"
    ]  # fmt: skip
    assert rows[0]["as"].startswith("resnet10t in PyTorch")
    assert rows[0]["times_as_fast"]["low"] <= rows[0]["times_as_fast"]["high"]
    assert "random weights" in result.json["notes"][0]
    assert "random weights" in result.err


def test_a_photo_in_the_place_of_a_model_is_said(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    result = beltsight("bench", tmp_path / "photo.jpg", *QUICK, "--against", "torch")
    assert result.status == 1
    assert "is no model file; the model comes first" in result.err


def test_a_card_with_an_unknown_backbone_is_said(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = write_tiny(tmp_path / "tiny.onnx")
    result = beltsight("bench", model, *QUICK, "--against", "torch")
    assert result.status == 2
    assert "timm has no backbone 'tiny'" in result.err


def test_files_of_one_name_keep_their_folders() -> None:
    assert list(_named(["a/model.onnx", "b/model.onnx", "default"])) == [
        "a/model.onnx", "b/model.onnx", "default"
    ]  # fmt: skip
    assert _named(["a/model.onnx", "default"]) == {"model": Path("a/model.onnx"), "default": None}
