"""The pooling before the heads, written plainly.

PyTorch's exporter writes ``mean over height and width`` with a Gather whose indices are computed
from the shape of the photos. It is exact, but OpenVINO 2026.4 computes the first convolution
wrongly in int8 where the photos' shape is read, and it costs a dozen nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from beltsight.quantization.calibration import compute, float_session
from beltsight.quantization.layers import constants

if TYPE_CHECKING:
    import onnx

_SHAPING = ("Gather", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
_TRIED_PHOTOS = 3


def with_plain_pooling(model: onnx.ModelProto, threads: int) -> onnx.ModelProto:
    """The graph with GlobalAveragePool and Flatten in place of what gives the embedding.

    Args:
        model: photos to ``embedding`` and others.
        threads: computing threads; 0 means one per core.

    Returns:
        The same graph where the embedding is not such a mean, or where outputs would change: both
        forms are computed for random photos and compared.

    Raises:
        ModelError: ONNX Runtime cannot compute the graph.
    """
    import onnx

    found = _pooled(model)
    if found is None:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    makers = {
        output: place for place, node in enumerate(plain.graph.node) for output in node.output
    }
    make_node, last = onnx.helper.make_node, plain.graph.node[makers["embedding"]]
    last.CopyFrom(make_node("Flatten", ["embedding.pooled"], ["embedding"], axis=1))
    pool = make_node("GlobalAveragePool", [found], ["embedding.pooled"])
    plain.graph.node.insert(makers["embedding"], pool)
    keep_needed_nodes(plain)
    return plain if _same_outputs(model, plain, threads) else model


def keep_needed_nodes(model: onnx.ModelProto) -> None:
    """Remove what no output needs."""
    needed = {output.name for output in model.graph.output}
    for place in reversed(range(len(model.graph.node))):
        node = model.graph.node[place]
        if needed.isdisjoint(node.output):
            del model.graph.node[place]
        else:
            needed.update(node.input)


def _pooled(model: onnx.ModelProto) -> str | None:
    """The features whose mean is the embedding, where a Gather stands between."""
    makers = {output: node for node in model.graph.node for output in node.output}
    node, gathers = makers.get("embedding"), False
    while node is not None and node.op_type in _SHAPING:
        gathers = gathers or node.op_type == "Gather"
        node = makers.get(node.input[0])
    if node is None or node.op_type != "ReduceMean" or not gathers:
        return None
    if len(node.input) > 1:
        axes: Iterable[int] = constants(model).get(node.input[1], np.zeros(0)).tolist()
    else:
        axes = next((found.ints for found in node.attribute if found.name == "axes"), ())
    return str(node.input[0]) if sorted(int(a) % 4 for a in axes) == [2, 3] else None


def _same_outputs(one: onnx.ModelProto, other: onnx.ModelProto, threads: int) -> bool:
    entry = one.graph.input[0]
    size = [d.dim_value for d in entry.type.tensor_type.shape.dim][1:]
    chance = np.random.default_rng(0)
    photos = chance.integers(0, 256, (_TRIED_PHOTOS, *size)).astype(np.uint8)
    names = [output.name for output in one.graph.output]
    pair = [
        compute(float_session(bytes(m.SerializeToString()), threads), names, {entry.name: photos})
        for m in (one, other)
    ]
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-4)
        for a, b in zip(*pair, strict=True)
    )
