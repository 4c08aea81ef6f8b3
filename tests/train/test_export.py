from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tests.train.tiny_settings import tiny

import beltsight
from beltsight.errors import ParityError
from beltsight.model import Model
from beltsight.records import TaskSpec
from beltsight.train.export import ExportGraph, check_parity, export_graph, make_engine
from beltsight.train.network import Network, build_network
from beltsight.train.run import Run

TASKS = (TaskSpec("material", ("glass", "metal", "paper")),)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return build_network(tiny(), TASKS).eval()


@pytest.fixture(scope="module")
def graph(network: Network) -> onnx.ModelProto:
    return export_graph(network, (64, 64))


@pytest.fixture
def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3)).astype(np.uint8)


def test_the_file_stands_alone(finished_run: Run) -> None:
    assert not [
        p for p in finished_run.folder.iterdir() if ".onnx" in p.name and p.suffix != ".onnx"
    ]
    model = onnx.load(finished_run.model, load_external_data=False)
    assert not [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    onnx.checker.check_model(model, full_check=True)
    source = str(Path(beltsight.__file__).parent).encode()
    assert source not in finished_run.model.read_bytes()  # no path of the machine that trained it


def test_the_graph_takes_uint8_photos_of_any_number(graph: onnx.ModelProto) -> None:
    (entry,) = graph.graph.input
    shape = [d.dim_param or d.dim_value for d in entry.type.tensor_type.shape.dim]
    assert entry.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert isinstance(shape[0], str) and shape[1:] == [64, 64, 3]
    engine = make_engine(graph, 1)
    for n in (1, 2, 7):
        out = engine.run(np.zeros((n, 64, 64, 3), np.uint8), ["material", "embedding"])
        assert out["material"].shape == (n, 3) and len(out["embedding"]) == n


def test_the_graph_agrees_with_the_network(
    network: Network, graph: onnx.ModelProto, photos: np.ndarray
) -> None:
    parity = check_parity(network, make_engine(graph, 1), photos)
    assert parity.n == 70 and parity.label_changes == 0 and parity.max_logit_gap < 1e-3


def test_a_task_may_be_called_as_the_exporter_calls_a_value(photos: np.ndarray) -> None:
    names = ("relu", "sub", "mean", "permute", "val_0", "network.heads.0.bias", "batch", "0")
    tasks = [TaskSpec(name, ("a", "b", "c")[: 2 + index % 2]) for index, name in enumerate(names)]
    torch.manual_seed(0)
    network = build_network(tiny(), tasks).eval()
    graph = export_graph(network, (64, 64))
    onnx.checker.check_model(graph, full_check=True)
    engine = make_engine(graph, 1)
    assert list(engine.outputs) == list(ExportGraph(network).names)
    check_parity(network, engine, photos[:4])


def test_a_map_is_the_logit_spread_over_the_photo(
    network: Network, graph: onnx.ModelProto, photos: np.ndarray
) -> None:
    out = make_engine(graph, 1).run(photos[:4], ["material", "material_map"])
    bias = network.head("material").bias.detach().numpy()
    np.testing.assert_allclose(
        out["material_map"].mean(axis=(2, 3)) + bias, out["material"], rtol=1e-4, atol=1e-4
    )


def test_export_is_refused_where_graph_and_network_differ(
    network: Network, graph: onnx.ModelProto, photos: np.ndarray
) -> None:
    spoiled = onnx.ModelProto()
    spoiled.CopyFrom(graph)
    name = next(t.name for t in spoiled.graph.initializer if t.name.endswith("heads.0.bias"))
    for tensor in spoiled.graph.initializer:
        if tensor.name == name:
            value = onnx.numpy_helper.to_array(tensor) + np.float32(0.05)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
    with pytest.raises(ParityError, match="material of onnxruntime-cpu differs"):
        check_parity(network, make_engine(spoiled, 1), photos)


class Shifted:
    """Says what the network says, but for two logits of the first photo, drawn together."""

    name = "shifted"

    def __init__(self, network: Network, by: float) -> None:
        self._graph, self._by = ExportGraph(network), by

    @torch.no_grad()
    def run(self, photos: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
        values = self._graph(torch.from_numpy(photos))
        out = {name: value.numpy().copy() for name, value in zip(names, values, strict=True)}
        out["material"][0, :2] += (self._by, -self._by)
        return out


@pytest.mark.parametrize(("margin", "by", "refused"), [(5e-4, 4e-4, False), (15e-4, 9e-4, True)])
def test_another_label_is_refused_but_where_the_network_is_torn(
    margin: float, by: float, refused: bool, photos: np.ndarray
) -> None:
    network = build_network(tiny(), TASKS).eval()
    with torch.no_grad():
        network.head("material").weight.zero_()
        network.head("material").bias.copy_(torch.tensor([0.0, margin, -1.0]))
    engine: Any = Shifted(network, by)
    if refused:
        with pytest.raises(ParityError, match="1 of 4 photos get another label"):
            check_parity(network, engine, photos[:4])
    else:
        assert check_parity(network, engine, photos[:4]).label_changes == 1


def test_a_refused_export_leaves_no_file(
    finished_run: Run, photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.train import package
    from beltsight.train.run import export_run

    def refuse(*_: object) -> None:
        raise ParityError("export refused")

    monkeypatch.setattr(package, "check_parity", refuse)
    with pytest.raises(ParityError):
        export_run(finished_run.folder, photoset, tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_parity_is_checked_on_at_least_64_real_photos(
    finished_run: Run, photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.train import package
    from beltsight.train.run import export_run

    seen: list[int] = []
    honest = check_parity

    def count(network: Network, engine: object, photos: np.ndarray) -> object:
        seen.append(len(photos))
        return honest(network, engine, photos)  # type: ignore[arg-type]

    monkeypatch.setattr(package, "check_parity", count)
    export_run(finished_run.folder, photoset, tmp_path / "m.onnx")
    assert seen == [64]  # 18 of validation and 46 of training


def test_a_backbone_without_a_plain_head_has_no_maps(photos: np.ndarray) -> None:
    network = build_network(tiny(backbone="test_vit", image_size=160), TASKS)
    assert not network.has_maps
    engine = make_engine(export_graph(network, (160, 160)), 1)
    assert set(engine.outputs) == {"material", "embedding"}


def test_golden_answers_are_in_the_card(finished_run: Run) -> None:
    golden = Model.load(finished_run.model).card.golden
    assert len(golden.photos_png) == 2
    assert np.asarray(golden.logits["material"]).shape == (2, 3)
