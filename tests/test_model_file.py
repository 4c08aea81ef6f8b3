from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.tiny import tiny_card, tiny_graph, write_tiny

from beltsight.errors import MissingExtraError, ModelFileError
from beltsight.model import Model
from beltsight.model_file import require_onnx, restate_card, save_model


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    save_model(tiny_graph(), tiny_card(), tmp_path / "m.onnx")
    assert Model.load(tmp_path / "m.onnx", threads=1).card == tiny_card()
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(ModelFileError, match="cannot be written"):
        save_model(tiny_graph(), tiny_card(), tmp_path / "folder.onnx")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.onnx", "m.onnx"]
    with pytest.raises(ModelFileError, match="cannot be written"):
        save_model(tiny_graph(), tiny_card(), tmp_path / "m.onnx" / "below.onnx")


def test_a_card_is_restated(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "m.onnx")
    restate_card(path, tiny_card(version="2"), tmp_path / "n.onnx")
    assert Model.load(tmp_path / "n.onnx", threads=1).card.version == "2"


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx("int8")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"int8 needs .* 'beltsight\[lab\]'"):
        require_onnx("int8")
