from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from tests.tiny import paint, tiny_card, tiny_graph, write_tiny

from beltsight import model_file
from beltsight.errors import MissingExtraError, ModelError, ModelFileError, ParityError
from beltsight.model import Model
from beltsight.model_file import read_model_file, require_onnx, restate_card, save_model


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


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    """A FIFO blocks and a device never ends; neither says how large it is."""
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (Path(os.devnull), Path("/dev/zero"), tmp_path / "pipe.onnx", tmp_path):
        with pytest.raises(ModelFileError, match="cannot be read: not a regular file; give"):
            read_model_file(path)


def test_no_more_is_read_than_a_model_may_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x" * 11)
    assert read_model_file(path) == b"x" * 11
    monkeypatch.setattr(model_file, "_MAX_MODEL_BYTES", 10)
    with pytest.raises(ModelFileError, match="11 bytes; the limit is 10"):
        read_model_file(path)


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux alone has it")
def test_a_file_that_holds_more_than_it_says_is_refused() -> None:
    """Regular, of 0 bytes, and full all the same."""
    with pytest.raises(ModelFileError, match="holds more than the 0 bytes"):
        read_model_file(Path("/proc/self/maps"))


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx("int8")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"int8 needs .* 'beltsight\[lab\]'"):
        require_onnx("int8")


def test_answers_must_be_a_number_for_each_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = tiny_graph()
    graph.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.graph.node[6].output[0] = "logits"
    graph.graph.node.append(
        helper.make_node("Cast", ["logits"], ["material"], to=TensorProto.DOUBLE)
    )
    with pytest.raises(ModelFileError, match=r"'material' is tensor\(double\), not float32"):
        Model.load(write_tiny(tmp_path / "d.onnx", tiny_card(), graph=graph))
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    logits = {"material": np.zeros((1, 2), np.float32), "embedding": np.zeros((1, 3), np.float32)}
    monkeypatch.setattr(model.engine, "run", lambda *asked: logits)  # as free dimensions allow
    with pytest.raises(ModelError, match="not a number for each class"):
        model.predict(paint((1, 2, 3)))
    with pytest.raises(ParityError, match="logits differ by inf"):
        model.verify()
