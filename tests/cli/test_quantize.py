from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.cli.program import beltsight
from tests.quantization.network import write_network, write_photos
from tests.tiny import write_tiny

from beltsight.model import Model

OPTIONS = ("--photos", 40, "--min-agreement", 0.8, "--max-accuracy-drop", 0.11, "--threads", 1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "float.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "data")


def test_the_report_and_the_file(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    result = beltsight("quantize", model, data, "--out", out, *OPTIONS)
    assert result.status == 0, result.err
    assert "int8 against float, split val" in result.out
    assert "of 20 differ" in result.out and "3 of 3 layers are int8" in result.out
    assert f"wrote {out}" in result.err
    assert Model.load(out, threads=1).card.quantization is not None


def test_as_json(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    options = ("--keep", "stem", "--keep-count", 0, "--weight-bits", 8, "--calibrate-on", "val")
    found = beltsight("quantize", model, data, "--out", out, *OPTIONS, *options, "--json").json
    assert found["float_layers"] == ["stem"] and found["weight_bits"] == 8
    assert found["calibration_split"] == "val" and found["n_calibration"] == 20
    assert found["parity"]["material"]["n"] == 20 and len(found["trials"]) == 1


def test_a_refusal_is_one_sentence(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    result = beltsight(
        "quantize", model, data, "--out", out, *OPTIONS, "--max-probability-change", 0
    )
    assert result.status == 1 and "int8 refused, nothing is written" in result.err
    assert "Traceback" not in result.err and not out.exists()


def test_wrong_use(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    assert beltsight("quantize", model, data, "--out", model).status == 2
    assert beltsight("quantize", model, data, "--out", out, "--weight-bits", 4).status == 2
    assert beltsight("quantize", model, data, "--out", out, "--split", "test").status == 2
    assert beltsight("quantize", model, data, "--out", out, "--seed", -1).status == 2
    assert beltsight("quantize", model, tmp_path / "none", "--out", out).status == 1
    nothing = beltsight("quantize", write_tiny(tmp_path / "t.onnx"), data, "--out", out)
    assert nothing.status == 1 and "int8 would change nothing" in nothing.err


def test_without_the_extra(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    result = beltsight("quantize", model, data, "--out", tmp_path / "int8.onnx")
    assert result.status == 1 and "pip install 'beltsight[lab]'" in result.err
