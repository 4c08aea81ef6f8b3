from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("timm")

import onnx
from benchmarks.latency import checks_of
from benchmarks.matmul import products
from benchmarks.networks import count_operations, int8_model, wake
from benchmarks.pipeline import bare_stream, judge, without_maps
from onnx import numpy_helper
from tests.tiny import write_tiny
from torch import nn

import beltsight
from beltsight.bench import Timing
from beltsight.engines import open_engine
from beltsight.quantization import QuantizeSettings
from beltsight.records import TaskSpec
from beltsight.train.network import Network, build_network
from beltsight.train.settings import TrainSettings

TASKS = (TaskSpec("material", ("glass", "metal")),)


def network() -> Network:
    settings = TrainSettings(backbone="resnet18", weights="random", image_size=64)
    return build_network(settings, TASKS)


def test_operations_of_resnet18_by_hand() -> None:
    # 64 px: 16 x 16 after the first layers, then 8, 4 and 2. Products of each convolution:
    # pixels x channels in x channels out x places of the kernel.
    products_of = 32 * 32 * 3 * 64 * 49
    products_of += 4 * (16 * 16 * 64 * 64 * 9)
    for side, channels in ((8, 128), (4, 256), (2, 512)):
        products_of += side * side * (channels // 2) * channels * (9 + 1)
        products_of += 3 * side * side * channels * channels * 9
    products_of += 512 * 2
    assert count_operations(network()) == 2.0 * products_of


def test_no_scale_stays_zero() -> None:
    made = network()
    wake(made)
    scales = [layer.weight for layer in made.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(scales) == 20
    assert all(float(scale.detach().min()) >= 0.3 for scale in scales)


def test_files_with_other_float_layers_are_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int | None]] = []

    def quantize(path: Path, data: Path, out: Path, settings: QuantizeSettings) -> None:
        made.append((out.name, settings.keep_count))
        out.touch()

    monkeypatch.setattr("benchmarks.networks.quantize", quantize)
    path = tmp_path / "resnet18-64.onnx"
    for count in (0, 0, 2, 3):
        int8_model(path, count)
    assert made == [
        ("resnet18-64-int8.onnx", 0), ("resnet18-64-int8-2-float.onnx", 2),
        ("resnet18-64-int8-3-float.onnx", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("int8", [False, True])
def test_the_products_are_what_numpy_computes(int8: bool) -> None:
    content = products(64, 2, int8=int8)
    rows = np.random.default_rng(0).integers(0, 256, (3, 64), np.uint8)
    got = open_engine("onnxruntime-cpu", content, 1).run(rows, ["x2"])["x2"]
    expected = rows.astype(np.float64)
    tensors = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(content).graph.initializer
    }

    def rounded(values: Any) -> Any:
        return 0.02 * (np.clip(np.rint(values / 0.02) + 128, 0, 255) - 128)

    for layer in range(2):
        weight = tensors[f"w{layer}"].astype(np.float64) * (0.02 if int8 else 1.0)
        expected = rounded(rounded(expected) @ weight) if int8 else expected @ weight
    assert got.shape == (3, 64)
    # One step of rounding may fall to either side.
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=0.021 if int8 else 1e-3)


def test_maps_are_taken_out_and_nothing_else(tmp_path: Path) -> None:
    file = write_tiny(tmp_path / "m.onnx")
    engine = open_engine("onnxruntime-cpu", without_maps(file), 1)
    assert engine.outputs == ("material", "embedding")


def test_the_bare_stream_gives_every_photo_in_order(tmp_path: Path) -> None:
    model = beltsight.load(write_tiny(tmp_path / "m.onnx"), threads=1)
    photos = [np.full((32, 32, 3), value, np.uint8) for value in (10, 90, 170, 250, 30)]
    found = np.stack(list(bare_stream(model, 2, 2, photos)))
    np.testing.assert_allclose(found, model.outputs(np.stack(photos), ["material"])["material"])


def turn(times_s: list[float], frames: int | None = None) -> Timing:
    return Timing(np.array(times_s), frames or len(times_s), sum(times_s), 0.0, 0.0)


def test_the_pipelines_promises_by_hand() -> None:
    taken = {
        "sustained, bare": [turn([1.0, 1.0]), turn([1.0, 1.0])],
        "sustained, whole": [turn([1.1, 1.1]), turn([1.3, 1.3])],
        "single, bare": [turn([0.010, 0.010, 0.5]), turn([0.010])],
        "single, whole": [turn([0.012, 0.012, 0.9]), turn([0.015])],
        "maps, none in the file": [turn([0.1])],
        "maps, not asked for": [turn([0.102])],
        "maps, asked for": [turn([0.104])],
    }
    figures, checks = judge(taken)
    assert figures["sustained_time_to_bare"] == {"value": 1.2, "low": 1.1, "high": 1.3}
    assert figures["single_more_ms"] == {"value": 3.5, "low": 2.0, "high": 5.0}
    assert [check.holds for check in checks] == [False, False, False, True]


def test_latency_promises_are_of_what_was_measured() -> None:
    best = {"int8": {"times_as_fast_as_pytorch": {"value": 3.9}}}
    found = checks_of({"resnet50": {"best": best}, "mobilenetv2_100": {"best": best}})
    assert [(check.what, check.holds) for check in found] == [
        ("resnet50 in int8, times as fast as PyTorch", False)
    ]
