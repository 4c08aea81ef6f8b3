"""The int8 graph itself: ONNX Runtime's quantiser, and what it leaves to be done."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from beltsight.engines.libraries import import_onnxruntime
from beltsight.errors import ModelError
from beltsight.quantization.calibration import Ranges
from beltsight.quantization.layers import QUANTISABLE, REMOVABLE, WEIGHTED, Layout, constants
from beltsight.quantization.rounding import round_weights
from beltsight.quantization.sensitivity import corrected_bias

if TYPE_CHECKING:
    import onnx

_DEQUANTISED = "_DequantizeLinear_Output"  # as the quantiser names tensors
_INFERRED = ("onnx.infer", "onnxruntime.quant")  # the shapes are known: no need to write a file


def build_int8(
    layout: Layout, ranges: Ranges, float_nodes: Collection[str], bits: int
) -> onnx.ModelProto:
    """The graph with QuantizeLinear and DequantizeLinear about its int8 nodes.

    Args:
        layout, ranges: of the float graph.
        float_nodes: layers that stay float, by node, beside what the layout excludes.
        bits: of the weights, 7 or 8.

    Returns:
        A graph with the same input and outputs: activations uint8 with a zero point, one scale per
        tensor; weights int8 about 0, one scale per output; biases int32.

    Raises:
        ModelError: ONNX Runtime's quantiser fails.
    """
    import_onnxruntime()  # quietly, before its parts
    try:
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        pairs = {
            name: (np.float32(low), np.float32(high))
            for name, (low, high) in _all_ranges(layout, ranges).items()
        }
        quantiser = QDQQuantizer(
            _with_rounded_layers(layout, ranges, float_nodes, bits),
            True,  # per channel
            bits == 7,  # reduced range
            QuantType.QInt8,
            QuantType.QUInt8,
            TensorsData(CalibrationMethod.MinMax, pairs),
            [],
            [*layout.excluded, *float_nodes],
            list(QUANTISABLE),
            {"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()
        model: onnx.ModelProto = quantiser.model.model
    except Exception as error:  # the quantiser's errors have no common base
        raise ModelError(f"ONNX Runtime cannot quantise the graph: {str(error)[:300]}") from error
    _keep_float_layers_float(model, _channels(layout.model))
    _drop_unused(model)
    return model


def _all_ranges(layout: Layout, ranges: Ranges) -> dict[str, tuple[float, float]]:
    """With those that were not measured: what a Relu or Clip is about to cut has its range."""
    found = dict(ranges.ranges)
    for node in layout.model.graph.node:
        if node.op_type in REMOVABLE and node.output[0] in found:
            found.setdefault(node.input[0], found[node.output[0]])
    return found


def _with_rounded_layers(
    layout: Layout, ranges: Ranges, float_nodes: Collection[str], bits: int
) -> onnx.ModelProto:
    """A copy in which each int8 layer has weights that rounding leaves alone, and its own bias."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(layout.model)
    nodes = {node.name: node for node in model.graph.node}
    for layer in layout.layers:
        if layer.node in float_nodes:
            continue
        values = [round_weights(layer.weight, layer.axis, bits)]
        bias = corrected_bias(layer, ranges, bits)
        values += [] if bias is None else [bias]
        for place, value in enumerate(values, start=1):
            name = f"{layer.node}.{('weight', 'bias')[place - 1]}"
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
            nodes[layer.node].input[place] = name
    onnx.helper.set_model_props(model, dict([_INFERRED]))
    return model


def _keep_float_layers_float(model: onnx.ModelProto, channels: Mapping[str, int]) -> None:
    """Give each float layer behind int8 a DequantizeLinear of its own, with a scale per channel.

    ONNX Runtime rounds the float weights of a Conv or Gemm that stands between DequantizeLinear and
    QuantizeLinear by itself, with one scale for all outputs (its WeightBiasQuantization), which
    undoes the choice and worse: MobileNetV2 with its first depthwise layer in float gave 27 % of
    the labels. It passes over inputs with a scale per channel; here all of these are equal.
    """
    import onnx

    makers = {output: node for node in model.graph.node for output in node.output}
    known = constants(model)
    placed: list[onnx.NodeProto] = []
    done: dict[str, str] = {}
    for node in model.graph.node:
        maker = makers.get(node.input[0]) if _is_float_layer(node, makers) else None
        if maker is not None and maker.op_type == "DequantizeLinear":
            whole = maker.input[0]
            count = channels.get(node.input[0].removesuffix(_DEQUANTISED), 0)
            if whole not in done and count > 1:
                done[whole] = f"{whole}_per_channel"
                extra = {
                    f"{done[whole]}_scale": np.full(count, known[maker.input[1]]),
                    f"{done[whole]}_zero": np.full(count, known[maker.input[2]]),
                }
                pairs = [onnx.numpy_helper.from_array(value, name) for name, value in extra.items()]
                model.graph.initializer.extend(pairs)
                placed.append(_dequantise([whole, *extra], done[whole]))
            node.input[0] = done.get(whole, node.input[0])
        placed.append(node)
    _replace_nodes(model, placed)


def _is_float_layer(node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto]) -> bool:
    weight = makers.get(node.input[1]) if node.op_type in WEIGHTED else node
    return weight is None or (node.op_type in WEIGHTED and weight.op_type != "DequantizeLinear")


def _dequantise(inputs: list[str], name: str) -> onnx.NodeProto:
    import onnx

    return onnx.helper.make_node("DequantizeLinear", inputs, [name], name=name, axis=1)


def _replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    import onnx

    copies = []
    for node in nodes:  # those that are in the graph go when it is emptied
        copies.append(onnx.NodeProto())
        copies[-1].CopyFrom(node)
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _drop_unused(model: onnx.ModelProto) -> None:
    """Remove constants that nothing reads, and shapes of tensors that are no more."""
    used = {name for node in model.graph.node for name in node.input}
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name not in used:
            del model.graph.initializer[place]
    del model.graph.value_info[:]


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    """Size of the second axis per tensor, where it is known."""
    found = {}
    for info in model.graph.value_info:
        dimensions = info.type.tensor_type.shape.dim
        if len(dimensions) >= 2 and dimensions[1].dim_value:
            found[info.name] = int(dimensions[1].dim_value)
    return found
