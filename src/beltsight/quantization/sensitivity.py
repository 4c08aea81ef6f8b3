"""Which layers int8 hurts most, measured on the model's own answers.

One graph holds every layer in both forms, with a switch per layer: 0 computes it in float, 1 with
rounded input, weights and bias. So any choice of layers is measured by one run, without building
and loading a graph for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beltsight.quantization.calibration import Progress, Ranges, compute, float_session
from beltsight.quantization.layers import Layer, Layout
from beltsight.quantization.rounding import bias_shift, round_weights

if TYPE_CHECKING:
    import onnx

_SWITCH = "beltsight.int8"
_SHORTLIST = 6
# Float takes about four times as long, so a layer that does much of the work must buy back more.
_SLOWDOWN = 3.0
# A float layer between int8 ones makes ONNX Runtime change the data's layout before and behind it;
# a float start does not. So a layer takes all before it along where that is little of the work.
_MOST_START = 0.08

Error = Callable[[NDArray[np.float32]], float]


def rank_layers(
    layout: Layout,
    ranges: Ranges,
    photos: NDArray[np.uint8],
    temperatures: Mapping[str, float],
    *,
    bits: int,
    kept: Sequence[Layer] = (),
    with_start: bool = False,
    threads: int = 0,
    progress: Progress = lambda what, done, total: None,
) -> Iterator[tuple[tuple[Layer, ...], float]]:
    """The layers whose float form buys back most, one after the other.

    First every layer is made int8 alone. Of the most harmful few, the one comes next that leaves
    the least error for its price, all before it being float.

    Args:
        layout, ranges: of the float graph.
        photos: uint8 (N, H, W, 3), a few.
        temperatures: per task; the error is that of logits over it.
        bits: of the weights.
        kept: layers that are float already.
        with_start: let a layer near the photo take along all before it, which computes faster.
        threads: computing threads; 0 means one per core.
        progress: told of each trial.

    Returns:
        A lazy iterator of (layers, root mean square error of calibrated logits that remains); one
        layer at a time, but for those that are taken along.

    Raises:
        ModelError: ONNX Runtime cannot compute the graph.
    """
    layers, count = layout.layers, len(layout.layers)
    error = _error_of(layout, ranges, photos, temperatures, bits, threads)
    switches = np.array([float(layer not in kept) for layer in layers], np.float32)
    alone = np.zeros(count)
    for number in np.flatnonzero(switches):
        alone[number] = error(np.eye(count, dtype=np.float32)[number])
        progress("Trying layers", int(number) + 1, count)
    products = np.array([layer.products for layer in layers], np.float64) / sum(
        layer.products for layer in layers
    )
    starts = products.cumsum() <= (_MOST_START if with_start else -1.0)
    while switches.any():
        waiting = [n for n in np.argsort(-alone, kind="stable") if switches[n]][:_SHORTLIST]
        # A float layer has a switch of 0, and takes no part in what follows.
        groups = {
            n: [g for g in (range(n + 1) if starts[n] else [n]) if switches[g]] for n in waiting
        }
        found = {n: error(_without(switches, group)) for n, group in groups.items()}
        price = {n: 1.0 + _SLOWDOWN * products[group].sum() for n, group in groups.items()}
        best = min(found, key=lambda n: (found[n] * price[n], n))
        switches = _without(switches, groups[best])
        yield tuple(layers[n] for n in groups[best]), found[best]


def corrected_bias(layer: Layer, ranges: Ranges, bits: int) -> NDArray[np.float32] | None:
    """The bias that gives the rounded layer the float layer's mean outputs; None without a bias."""
    if layer.bias is None:
        return None
    change = round_weights(layer.weight, layer.axis, bits) - layer.weight
    shift = bias_shift(change, layer.axis, layer.groups, ranges.means[layer.source])
    return np.asarray(layer.bias - shift, np.float32)


def _without(switches: NDArray[np.float32], numbers: list[int]) -> NDArray[np.float32]:
    changed = switches.copy()
    changed[numbers] = 0.0
    return changed


def _error_of(
    layout: Layout,
    ranges: Ranges,
    photos: NDArray[np.uint8],
    temperatures: Mapping[str, float],
    bits: int,
    threads: int,
) -> Error:
    """Root mean square error of calibrated logits, per setting of the switches."""
    session = float_session(_switched(layout, ranges, bits), threads)
    entry = layout.model.graph.input[0].name

    def logits(switches: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        found = compute(session, list(temperatures), {entry: photos, _SWITCH: switches})
        pairs = zip(found, temperatures.values(), strict=True)
        # A softmax does not see what all its logits have in common.
        return [(v - v.mean(axis=1, keepdims=True)).astype(np.float64) / t for v, t in pairs]

    truth = logits(np.zeros(len(layout.layers), np.float32))

    def error(switches: NDArray[np.float32]) -> float:
        squares = [
            ((a - b) ** 2).mean() for a, b in zip(logits(switches), truth, strict=True)
        ]  # per task
        return float(np.sqrt(np.mean(squares)))

    return error


def _switched(layout: Layout, ranges: Ranges, bits: int) -> bytes:
    """The graph with every layer in both forms."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(layout.model)
    graph, numbers = model.graph, {layer.node: n for n, layer in enumerate(layout.layers)}
    entry = onnx.helper.make_tensor_value_info(
        _SWITCH, onnx.TensorProto.FLOAT, [len(layout.layers)]
    )
    graph.input.append(entry)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        copied = onnx.NodeProto()
        copied.CopyFrom(node)
        if node.name in numbers:
            number = numbers[node.name]
            added, inputs, values = _both_forms(layout.layers[number], number, ranges, bits)
            nodes += added
            graph.initializer.extend(
                onnx.numpy_helper.from_array(value, name) for name, value in values.items()
            )
            copied.input[: len(inputs)] = inputs
        nodes.append(copied)
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _both_forms(
    layer: Layer, number: int, ranges: Ranges, bits: int
) -> tuple[list[onnx.NodeProto], list[str], dict[str, NDArray[Any]]]:
    """Nodes that mix a layer's inputs with their rounded form, the mixed names, and constants."""
    from onnx.helper import make_node

    p = f"beltsight.{number}."
    low, high = ranges.ranges[layer.source]
    step = (high - low) / 255
    values: dict[str, NDArray[Any]] = {
        p + "number": np.array([number], np.int64),
        p + "step": np.asarray(step, np.float32),
        p + "zero": np.asarray(np.clip(np.round(-low / step), 0, 255), np.uint8),
        p + "weight": round_weights(layer.weight, layer.axis, bits) - layer.weight,
    }
    nodes = [
        make_node("Gather", [_SWITCH, p + "number"], [p + "on"], axis=0),
        make_node("QuantizeLinear", [layer.source, p + "step", p + "zero"], [p + "q"]),
        make_node("DequantizeLinear", [p + "q", p + "step", p + "zero"], [p + "rounded"]),
        make_node("Sub", [p + "rounded", layer.source], [p + "source"]),
    ]
    mixed = {p + "source": layer.source, p + "weight": layer.weight_name}
    bias = corrected_bias(layer, ranges, bits)
    if bias is not None and layer.bias is not None and layer.bias_name is not None:
        values[p + "bias"] = bias - layer.bias
        mixed[p + "bias"] = layer.bias_name
    for change, original in mixed.items():
        nodes.append(make_node("Mul", [change, p + "on"], [change + ".part"]))
        nodes.append(make_node("Add", [original, change + ".part"], [change + ".mixed"]))
    return nodes, [change + ".mixed" for change in mixed], values
