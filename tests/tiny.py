"""A complete model file of a few kilobytes whose answers follow from the photo by hand.

The embedding is the mean (R, G, B) of the prepared photo, 0 to 1. Class ``red`` scores
``gain * (R - 0.5)``, ``green`` and ``blue`` alike, so the answer is the photo's strongest channel,
and the class map shows where in the photo that channel is strong.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from beltsight.card import (
    CARD_KEY,
    Card,
    GoldenCard,
    PreparationCard,
    TaskCard,
    TrainingCard,
    golden_batch,
    golden_png,
    pack_marks,
)
from beltsight.image import Preparation

CLASSES = ("blue", "green", "red")
CHANNELS = (2, 1, 0)
SIZE = 32
GAIN = 8.0
CELLS = 4


def tiny_graph(
    *, size: int = SIZE, with_map: bool = True, offset: float = 0.0, classes: int = 3
) -> onnx.ModelProto:
    """photos uint8 (N, size, size, 3) -> material (N, classes), embedding (N, 3), material_map.

    Classes beyond the three score half of what the class three places before them scores.
    """
    weight = np.zeros((classes, 3, 1, 1), np.float32)
    for row in range(classes):
        weight[row, CHANNELS[row % 3]] = GAIN / (1 + row // 3)
    bias = -0.5 * weight.sum(axis=(1, 2, 3))
    bias[0] += offset
    constants = {
        "scale": np.float32(255.0),
        "weight": weight,
        "matrix": weight[:, :, 0, 0],
        "bias": bias,
    }
    cell = size // CELLS
    nodes = [
        helper.make_node("Cast", ["photos"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["unit"]),
        helper.make_node("Transpose", ["unit"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node(
            "AveragePool", ["channels"], ["cells"], kernel_shape=[cell, cell], strides=[cell, cell]
        ),
        helper.make_node("GlobalAveragePool", ["cells"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "matrix", "bias"], ["material"], transB=1),
    ]
    outputs = [
        helper.make_tensor_value_info("material", TensorProto.FLOAT, ["batch", classes]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", 3]),
    ]
    if with_map:
        nodes.append(helper.make_node("Conv", ["cells", "weight"], ["material_map"]))
        outputs.append(
            helper.make_tensor_value_info(
                "material_map", TensorProto.FLOAT, ["batch", classes, CELLS, CELLS]
            )
        )
    photos = helper.make_tensor_value_info("photos", TensorProto.UINT8, ["batch", size, size, 3])
    initializers = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "tiny", [photos], outputs, initializers)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9)


def tiny_card(*, with_map: bool = True, **changes: Any) -> Card:
    """The card of :func:`tiny_graph`, with golden photos; ``changes`` replace its parts."""
    preparation = Preparation(SIZE, SIZE)
    pngs = tuple(golden_png(paint(colour)) for colour in ((200, 40, 40), (20, 90, 160)))
    batch = golden_batch(GoldenCard(photos_png=pngs), preparation)
    parts: dict[str, Any] = {
        "name": "tiny",
        "version": "1",
        "tasks": (TaskCard(name="material", classes=CLASSES, map=with_map),),
        "preparation": PreparationCard(height=SIZE, width=SIZE, fill=(128, 128, 128)),
        "training": tiny_training(),
        "golden": GoldenCard(photos_png=pngs, logits={"material": expected_logits(batch).tolist()}),
    }
    return Card(**{**parts, **changes})


def tiny_training(train: Iterable[str] = (), val: Iterable[str] = ()) -> TrainingCard:
    """A training part that has learned photos of these SHA-256 digests."""
    return TrainingCard(
        backbone="tiny",
        data="painted squares",
        fingerprint="0",
        n_train=0,
        n_val=0,
        seed=0,
        train_marks=pack_marks(train),
        val_marks=pack_marks(val),
    )


def write_tiny(
    path: Path,
    card: Card | str | None = None,
    *,
    with_map: bool = True,
    graph: onnx.ModelProto | None = None,
) -> Path:
    """Write the model file; ``card`` may be any text, to damage it."""
    model = graph or tiny_graph(with_map=with_map)
    card = tiny_card(with_map=with_map) if card is None else card
    text = card if isinstance(card, str) else card.model_dump_json()
    helper.set_model_props(model, {CARD_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path


def expected_logits(photos: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What the graph computes, in plain numpy, for prepared photos (N, H, W, 3)."""
    means = photos.astype(np.float64).mean(axis=(1, 2)) / 255.0
    return np.asarray(GAIN * (means[:, list(CHANNELS)] - 0.5))


def paint(colour: tuple[int, int, int], size: int = SIZE) -> NDArray[np.uint8]:
    """A square photo of one colour, with a fixed grain so that no two rows are alike."""
    grain = np.random.default_rng(sum(colour)).integers(-8, 9, (size, size, 3))
    return np.clip(np.array(colour) + grain, 0, 255).astype(np.uint8)
