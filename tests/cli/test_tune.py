from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.program import beltsight
from tests.tiny import write_tiny


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BELTSIGHT_CACHE", str(tmp_path / "cache"))
    return write_tiny(tmp_path / "m.onnx")


def test_the_choice_is_printed_stored_and_forgotten(model: Path, tmp_path: Path) -> None:
    result = beltsight("tune", model, "--seconds", "0.01", "--threads", "1", "--json")
    (found,) = result.lines
    assert found["threads"] == 1
    assert found["latency"]["engine"] in {"onnxruntime-cpu", "openvino-cpu"}
    (stored,) = (tmp_path / "cache" / "tuned").iterdir()
    assert stored.name in result.err
    gone = beltsight("tune", model, "--forget")
    assert "removed: 1" in gone.err
    assert not list((tmp_path / "cache" / "tuned").iterdir())


def test_a_line_for_each_trial(model: Path) -> None:
    result = beltsight("tune", model, "--seconds", "0.01", "--threads", "1")
    assert "photos/s" in result.out
    assert "one photo:" in result.out


def test_an_engine_by_name_that_is_not_there(model: Path, tmp_path: Path) -> None:
    result = beltsight("tune", tmp_path / "none.onnx")
    assert result.status == 1
    assert "no such model file" in result.err
