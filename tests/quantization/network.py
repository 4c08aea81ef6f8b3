"""A small convolutional model file whose every part int8 treats in its own way."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import CLASSES, paint, tiny_card

from beltsight.card import CARD_KEY, Card, GoldenCard, golden_batch
from beltsight.image import Preparation
from beltsight.records import Floats

SIZE = 32
WIDTH = 8
LAYERS = ("stem", "depth", "point")


def network(*, gather: bool = False, edge: float = 0.0, seed: int = 0) -> onnx.ModelProto:
    """stem (3x3, stride 2) -> Relu -> depth (depthwise) -> Clip -> point (1x1) -> Add -> Relu.

    Args:
        gather: pool as PyTorch's exporter does, by a Gather over the photos' number.
        edge: of the depthwise kernels' corners, opposite in sign: on a smooth photo they give
            little, and a scale that fits them leaves the other weights no steps.
    """
    chance = np.random.default_rng(seed)
    depth = np.abs(chance.normal(0, 0.3, (WIDTH, 1, 3, 3)))
    depth[:, 0, 0, 0] += edge
    depth[:, 0, 2, 2] -= edge
    head = 3.0 * chance.normal(0, 1, (3, WIDTH))
    constants: dict[str, Any] = {
        "mean": np.float32(127.5),
        "stem.weight": chance.normal(0, 0.5, (WIDTH, 3, 3, 3)),
        "stem.bias": chance.normal(0, 0.3, WIDTH),
        "depth.weight": depth,
        "depth.bias": np.zeros(WIDTH),
        "low": np.float32(0.0),
        "high": np.float32(6.0),
        "point.weight": chance.normal(0, 0.4, (WIDTH, WIDTH, 1, 1)),
        "point.bias": chance.normal(0, 0.3, WIDTH),
        "heads.weight": head,
        "heads.bias": chance.normal(0, 0.1, 3),
        "map.weight": head[:, :, None, None],
    }
    node = helper.make_node
    nodes = [
        node("Transpose", ["photos"], ["channels"], perm=[0, 3, 1, 2]),
        node("Cast", ["channels"], ["floats"], to=TensorProto.FLOAT),
        node("Sub", ["floats", "mean"], ["centred"]),
        node("Div", ["centred", "mean"], ["unit"]),
        node("Conv", ["unit", "stem.weight", "stem.bias"], ["a"], pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "depth.weight", "depth.bias"], ["c"], pads=[1] * 4, group=WIDTH),
        node("Clip", ["c", "low", "high"], ["d"]),
        node("Conv", ["d", "point.weight", "point.bias"], ["e"]),
        node("Add", ["e", "b"], ["f"]),
        node("Relu", ["f"], ["features"]),
    ]
    if gather:
        constants |= {"axes": np.array([2, 3]), "wide": np.array([-1, WIDTH]), "zero": np.array(0)}
        constants |= {"one": np.array(1), "first": np.array([0])}
        nodes += [
            node("ReduceMean", ["features", "axes"], ["mean4"], keepdims=1),
            node("Reshape", ["mean4", "wide"], ["rows"]),
            node("Shape", ["photos"], ["shape"], start=0, end=1),
            node("Squeeze", ["shape", "first"], ["n"]),
            node("Range", ["zero", "n", "one"], ["numbers"]),
            node("Gather", ["rows", "numbers"], ["embedding"], axis=0),
        ]
    else:
        nodes += [
            node("GlobalAveragePool", ["features"], ["pooled"]),
            node("Flatten", ["pooled"], ["embedding"]),
        ]
    nodes += [
        node("Gemm", ["embedding", "heads.weight", "heads.bias"], ["material"], transB=1),
        node("Conv", ["features", "map.weight"], ["material_map"]),
    ]
    initializers = []
    for name, value in constants.items():
        array = np.asarray(value)
        array = array if array.dtype == np.int64 else array.astype(np.float32)
        initializers.append(numpy_helper.from_array(array, name))
    info = helper.make_tensor_value_info
    outputs = [
        info("material", TensorProto.FLOAT, ["batch", 3]),
        info("embedding", TensorProto.FLOAT, ["batch", WIDTH]),
        info("material_map", TensorProto.FLOAT, ["batch", 3, SIZE // 2, SIZE // 2]),
    ]
    photos = info("photos", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
    graph = helper.make_graph(nodes, "small", [photos], outputs, initializers)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def answers(
    model: onnx.ModelProto, photos: NDArray[np.uint8], *, optimise: bool = True
) -> dict[str, Floats]:
    """All outputs, by ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"photos": photos}), strict=True))


def some_photos(count: int = 12, seed: int = 1) -> NDArray[np.uint8]:
    """Prepared photos of one colour each, with grain: uint8 (count, SIZE, SIZE, 3)."""
    colours = np.random.default_rng(seed).integers(20, 236, (count, 3))
    return np.stack([paint((int(r), int(g), int(b)), SIZE) for r, g, b in colours])


def write_network(path: Path, model: onnx.ModelProto | None = None, **changes: Any) -> Path:
    """A model file of the network; ``changes`` replace parts of its card."""
    model = network() if model is None else model
    card = tiny_card()
    pngs = card.golden.photos_png
    batch = golden_batch(GoldenCard(photos_png=pngs), Preparation(SIZE, SIZE))
    logits = {"material": answers(model, batch)["material"].tolist()}
    golden = GoldenCard(photos_png=pngs, logits=logits)
    whole = Card(**{**dict(card), "golden": golden, **changes})
    helper.set_model_props(model, {CARD_KEY: whole.model_dump_json()})
    path.write_bytes(model.SerializeToString())
    return path


def write_photos(folder: Path, model: onnx.ModelProto | None = None, count: int = 60) -> Path:
    """A data set in which the network is nearly always right: two thirds train, the rest val."""
    folder.mkdir(parents=True)
    photos = some_photos(count)
    logits = answers(network() if model is None else model, photos)["material"]
    with open(folder / "labels.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "material", "split"))
        for number, (photo, row) in enumerate(zip(photos, logits, strict=True)):
            name = f"{number:03d}.png"
            cv2.imwrite(str(folder / name), photo[:, :, ::-1])
            label = CLASSES[(int(row.argmax()) + (number == 2)) % 3]
            rows.writerow((name, label, "val" if number % 3 == 2 else "train"))
    return folder
