"""The layers of a graph, its pooling, and the int8 graph made of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tests.quantization.network import LAYERS, SIZE, WIDTH, answers, network, some_photos
from tests.tiny import tiny_graph

from beltsight.errors import ConfigError, ModelError
from beltsight.quantization.build import build_int8
from beltsight.quantization.calibration import Ranges, measure_ranges
from beltsight.quantization.layers import Layout, find_layers, read_layout
from beltsight.quantization.pooling import with_plain_pooling
from beltsight.quantization.rounding import best_range
from beltsight.quantization.sensitivity import rank_layers
from beltsight.records import Floats


def quiet(what: str, done: int, total: int) -> None:
    pass


def measured(model: onnx.ModelProto) -> tuple[Layout, Ranges]:
    layout = read_layout(model)
    return layout, measure_ranges(layout, some_photos(60), 1, quiet)


def int8(model: onnx.ModelProto, keep: tuple[str, ...] = (), bits: int = 7) -> onnx.ModelProto:
    layout, ranges = measured(model)
    nodes = [layer.node for layer in find_layers(layout.layers, keep)]
    return build_int8(layout, ranges, nodes, bits)


def test_layers_are_what_lies_between_photo_and_heads() -> None:
    layout = read_layout(network())
    assert [layer.name for layer in layout.layers] == list(LAYERS)
    stem, depth, point = layout.layers
    assert layout.entries == ("unit",) == (stem.source,)
    assert (stem.groups, depth.groups, point.axis) == (1, WIDTH, 0)
    half = (SIZE // 2) ** 2
    assert stem.products == WIDTH * 27 * half
    assert (depth.products, point.products) == (WIDTH * 9 * half, WIDTH * WIDTH * half)
    # What a Relu or Clip swallows needs no range; what the heads read does.
    assert set(layout.tensors) == {"unit", "b", "d", "e", "features"}
    nodes = {node.name: node.op_type for node in layout.model.graph.node}
    floats = sorted(nodes[name] for name in layout.excluded)
    assert [kind for kind in floats if kind in ("Conv", "Gemm", "GlobalAveragePool")] == [
        "Conv", "Gemm", "GlobalAveragePool",
    ]  # fmt: skip


def test_a_graph_of_heads_alone_has_nothing_for_int8() -> None:
    with pytest.raises(ModelError, match="int8 would change nothing"):
        read_layout(tiny_graph())


def test_a_quantised_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="quantised already"):
        read_layout(int8(network()))


def test_a_wrong_layer_is_named() -> None:
    with pytest.raises(ConfigError, match="no layer is called 'stemm'; its 3 layers: stem, depth"):
        find_layers(read_layout(network()).layers, ["stemm"])


def test_a_value_that_is_no_number_stops_calibration() -> None:
    model = network()
    bias = next(t for t in model.graph.initializer if t.name == "depth.bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(WIDTH, np.nan, np.float32), bias.name))
    with pytest.raises(ModelError, match="not a number"):
        measured(model)


def test_many_photos_need_no_more_memory_than_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beltsight.quantization.calibration._SAMPLED_IN_ALL", 20_000)
    seen: list[int] = []

    def watched(values: Floats, low: float, high: float) -> tuple[float, float]:
        seen.append(len(values))
        return best_range(values, low, high)

    monkeypatch.setattr("beltsight.quantization.calibration.best_range", watched)
    layout = read_layout(network())
    few = measure_ranges(layout, some_photos(10), 1, quiet)
    sizes = seen.copy()
    seen.clear()
    many = measure_ranges(layout, some_photos(400), 1, quiet)
    # The step is a whole number, so that it may be twice as many.
    assert 0 < min(seen) <= max(seen) <= 2 * 20_000
    assert 0 < min(sizes) <= max(sizes) <= 2 * 20_000
    assert few.ranges.keys() == many.ranges.keys()


def test_the_ranges_of_the_photo_are_those_of_black_and_white() -> None:
    _, ranges = measured(network())
    assert ranges.ranges["unit"] == pytest.approx((-1.004, 1.004), rel=1e-5)
    assert ranges.ranges["b"][0] == 0.0
    assert ranges.means["unit"].shape == (3,)


@pytest.mark.parametrize("bits", [7, 8])
def test_the_int8_graph_is_sound_and_near_the_float_one(bits: int) -> None:
    model, photos = network(), some_photos(20, seed=5)
    quantised = int8(model, bits=bits)
    onnx.checker.check_model(quantised, full_check=True)
    made = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantised.graph.initializer}
    weights = [v for v in made.values() if v.dtype == np.int8 and v.ndim > 1]
    assert len(weights) == len(LAYERS)
    assert max(np.abs(v.astype(int)).max() for v in weights) == (64 if bits == 7 else 127)
    assert not [n for n in made if n in ("stem.weight", "depth.weight", "point.weight")]
    expected, got = answers(model, photos), answers(quantised, photos)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        error = np.sqrt(((got[name] - value) ** 2).mean()) / np.sqrt((value**2).mean())
        assert 0 < error < 0.05, name


def test_engines_fuse_every_layer_to_int8(tmp_path: object) -> None:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = f"{tmp_path}/optimised.onnx"
    content = int8(network()).SerializeToString()
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    optimised = onnx.load(options.optimized_model_filepath)
    kinds = [node.op_type for node in optimised.graph.node]
    assert kinds.count("QLinearConv") == len(LAYERS) and kinds.count("QLinearAdd") == 1
    assert kinds.count("Conv") == 1  # the map's


def test_a_float_layer_stays_float_inside_onnx_runtime() -> None:
    """It rounds float weights between int8 layers with one scale, unless it is kept from it."""
    model, photos = network(edge=300.0), some_photos(20, seed=5)
    quantised = int8(model, keep=("depth",))
    names = {tensor.name for tensor in quantised.graph.initializer}
    assert "depth.weight" in names and "point.weight" not in names
    expected = answers(model, photos)["material"]
    plain = answers(quantised, photos, optimise=False)["material"]
    fast = answers(quantised, photos)["material"]
    assert np.abs(plain - expected).max() < 0.05 * np.abs(expected).max()
    assert np.abs(fast - plain).max() < 0.02 * np.abs(expected).max()


def test_weights_that_two_layers_share_are_rounded_for_each() -> None:
    model = network()
    point = next(n for n in model.graph.node if n.input[1:2] == ["point.weight"])
    twin = onnx.NodeProto()
    twin.CopyFrom(point)
    twin.input[0], twin.output[0] = "e", "e2"
    add = next(n for n in model.graph.node if n.op_type == "Add")
    add.input[0] = "e2"
    model.graph.node.insert(list(model.graph.node).index(add), twin)
    photos = some_photos(20, seed=5)
    expected, got = answers(model, photos)["material"], answers(int8(model), photos)["material"]
    assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


def test_pooling_by_gather_becomes_plain() -> None:
    model, photos = network(gather=True), some_photos(4)
    plain = with_plain_pooling(model, 1)
    kinds = {node.op_type for node in plain.graph.node}
    assert kinds.isdisjoint({"Gather", "Shape", "Range", "ReduceMean"})
    assert "GlobalAveragePool" in kinds
    onnx.checker.check_model(plain, full_check=True)
    for name, value in answers(model, photos).items():
        np.testing.assert_allclose(answers(plain, photos)[name], value, rtol=1e-4, atol=1e-5)


def test_a_gather_that_means_something_stays() -> None:
    model = network(gather=True)
    for tensor in model.graph.initializer:
        if tensor.name == "zero":  # the first photo's features for each but the last
            tensor.CopyFrom(numpy_helper.from_array(np.array(1), "zero"))
        if tensor.name == "one":
            tensor.CopyFrom(numpy_helper.from_array(np.array(1), "one"))
    shown = next(node for node in model.graph.node if node.op_type == "Range")
    shown.input[1] = "two"
    model.graph.initializer.append(numpy_helper.from_array(np.array(2), "two"))
    assert with_plain_pooling(model, 1) is model
    assert with_plain_pooling(network(), 1).graph.node[-4].op_type == "GlobalAveragePool"


def test_the_layer_that_int8_hurts_most_comes_first() -> None:
    layout, ranges = measured(network(edge=300.0))
    task = {"material": 0.5}
    order = list(rank_layers(layout, ranges, some_photos(8), task, bits=7, threads=1))
    assert [layer.name for layer in order[0][0]] == ["depth"]
    assert sorted(layer.name for group, _ in order for layer in group) == sorted(LAYERS)
    assert order[-1][1] == pytest.approx(0.0, abs=1e-4)  # all in float again
    kept = layout.layers[1:2]
    rest = rank_layers(layout, ranges, some_photos(8), task, bits=7, kept=kept, threads=1)
    assert sorted(layer.name for group, _ in rest for layer in group) == ["point", "stem"]


def test_a_layer_near_the_photo_takes_along_what_lies_before_it() -> None:
    """Where the rest of the network does nearly all the work."""
    layout, ranges = measured(network(edge=300.0))
    stem, depth, point = layout.layers
    heavy = dataclasses.replace(point, products=100 * (stem.products + depth.products))
    layout = dataclasses.replace(layout, layers=(stem, depth, heavy))
    ranked = rank_layers(
        layout, ranges, some_photos(8), {"material": 0.5}, bits=7, with_start=True, threads=1
    )
    first, error = next(ranked)
    assert [layer.name for layer in first] == ["stem", "depth"]
    last, _ = next(ranked)
    assert [layer.name for layer in last] == ["point"] and error > 0
