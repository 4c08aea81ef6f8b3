"""What of a graph can be int8: its layers, what lies before the first and behind the last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ConfigError, ModelError
from beltsight.records import Floats

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "Gemm", "MatMul")
# Each has an int8 form in ONNX Runtime. Whatever else a graph holds stays float.
QUANTISABLE = (
    *WEIGHTED, "Add", "Mul", "Relu", "LeakyRelu", "Clip", "Sigmoid", "MaxPool", "AveragePool",
    "GlobalAveragePool", "Concat",
)  # fmt: skip
_POOLS = ("AveragePool", "GlobalAveragePool")
REMOVABLE = ("Relu", "Clip")
_SHOWN_NAMES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution or matrix product with constant weights.

    Args:
        name: as a person names it, e.g. ``layer1.0.conv1``.
        node: its node in the graph.
        source: the tensor that it reads.
        result: the tensor that it gives.
        weight_name: of the constant.
        weight: float32, outputs along ``axis``.
        axis: of the weight's outputs.
        bias_name: of the constant, or None.
        bias: float32 (outputs,), or None.
        groups: of a convolution; inputs and outputs are split into as many.
        products: multiplications per photo.
    """

    name: str
    node: str
    source: str
    result: str
    weight_name: str
    weight: Floats
    axis: int
    bias_name: str | None
    bias: Floats | None
    groups: int
    products: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """The parts of a graph.

    Args:
        model: the graph with a name for every node and the shapes of its tensors.
        layers: what can be int8, in order.
        excluded: nodes that stay float: what prepares the photo, the heads, the pooling before
            them.
        tensors: float tensors that int8 needs a range of.
        entries: of them, prepared photos: what a first layer reads.
    """

    model: onnx.ModelProto
    layers: tuple[Layer, ...]
    excluded: frozenset[str]
    tensors: tuple[str, ...]
    entries: tuple[str, ...]


def read_layout(model: onnx.ModelProto) -> Layout:
    """Find the layers of a float graph.

    Args:
        model: uint8 photos to logits, maps and ``embedding``.

    Raises:
        ModelError: int8 already, or nothing in it can be.
    """
    import onnx

    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph.node):
        raise ModelError("the graph is quantised already; give the float file that it came from")
    named = onnx.ModelProto()
    named.CopyFrom(model)
    _name_nodes(named)
    named = onnx.shape_inference.infer_shapes(named)
    heads = _heads(named)
    trunk = {node.name for node in named.graph.node if node.op_type in WEIGHTED} - heads
    layers = tuple(_layers(named, trunk))
    if not layers:
        raise ModelError(
            "the graph has no convolution or matrix product with constant weights before its "
            "heads: int8 would change nothing"
        )
    behind = _behind(named, trunk)
    excluded = heads | (trunk - {layer.node for layer in layers}) | _outside(named, trunk, behind)
    made = {output for node in named.graph.node if node.name in behind for output in node.output}
    firsts = trunk - behind
    made |= {output for node in named.graph.node if node.name in firsts for output in node.output}
    entries = dict.fromkeys(layer.source for layer in layers if layer.source not in made)
    return Layout(named, layers, frozenset(excluded), _tensors(named, excluded), tuple(entries))


def find_layers(layers: Iterable[Layer], names: Iterable[str]) -> tuple[Layer, ...]:
    """The layers of these names.

    Raises:
        ConfigError: no layer has a name.
    """
    known = {layer.name: layer for layer in layers}
    wrong = [name for name in names if name not in known]
    if wrong:
        some = ", ".join(list(known)[:_SHOWN_NAMES])
        raise ConfigError(f"no layer is called {wrong[0]!r}; its {len(known)} layers: {some} ...")
    return tuple(known[name] for name in names)


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The graph's constants by name."""
    import onnx

    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """A whole-number attribute of a node."""
    return next((int(found.i) for found in node.attribute if found.name == name), default)


def _name_nodes(model: onnx.ModelProto) -> None:
    taken: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type.lower()}_{number}_"
        taken.add(node.name)


def _heads(model: onnx.ModelProto) -> set[str]:
    """The nodes that the embedding does not need: what answers, and says where."""
    makers = {output: node for node in model.graph.node for output in node.output}
    waiting, needed = ["embedding"], set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.name not in needed:
            needed.add(node.name)
            waiting.extend(node.input)
    return {node.name for node in model.graph.node} - needed


def _layers(model: onnx.ModelProto, trunk: set[str]) -> Iterable[Layer]:
    known, sizes = constants(model), _sizes(model)
    names: set[str] = set()
    for node in model.graph.node:
        weight = known.get(node.input[1]) if node.name in trunk else None
        if weight is None or weight.dtype != np.float32 or weight.ndim < 2:
            continue
        bias = known.get(node.input[2]) if len(node.input) > 2 else None
        along = node.op_type == "Conv" or attribute(node, "transB", 0) == 1
        axis = 0 if along else weight.ndim - 1
        name = _shown_name(node.input[1])
        name = node.name if name in names else name
        names.add(name)
        yield Layer(
            name, node.name, node.input[0], node.output[0], node.input[1], weight, axis,
            node.input[2] if bias is not None else None, bias, attribute(node, "group", 1),
            weight.size // weight.shape[axis] * sizes.get(node.output[0], weight.shape[axis]),
        )  # fmt: skip


def _shown_name(weight: str) -> str:
    return weight.removeprefix("network.").removeprefix("backbone.").removesuffix(".weight")


def _sizes(model: onnx.ModelProto) -> Mapping[str, int]:
    """Values per photo of the tensors whose shape is known."""
    sizes = {}
    for info in (*model.graph.value_info, *model.graph.output):
        dimensions = [d.dim_value for d in info.type.tensor_type.shape.dim][1:]
        if dimensions and all(dimensions):
            sizes[info.name] = int(np.prod(dimensions))
    return sizes


def _readers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _behind(model: onnx.ModelProto, trunk: set[str]) -> set[str]:
    """The nodes that have a layer before them."""
    readers = _readers(model)
    behind: set[str] = set()
    for node in model.graph.node:  # in computing order, as ONNX demands
        if node.name in trunk or node.name in behind:
            behind |= {reader.name for output in node.output for reader in readers.get(output, ())}
    return behind


def _outside(model: onnx.ModelProto, trunk: set[str], behind: set[str]) -> set[str]:
    """What has no layer before it, or is a pool with no layer behind it."""
    readers = _readers(model)
    before: set[str] = set()
    for node in reversed(model.graph.node):
        following = {r.name for output in node.output for r in readers.get(output, ())}
        if following & (before | trunk):
            before.add(node.name)
    return {
        node.name
        for node in model.graph.node
        if node.name not in trunk
        and (node.name not in behind or (node.op_type in _POOLS and node.name not in before))
    }


def _tensors(model: onnx.ModelProto, excluded: set[str]) -> tuple[str, ...]:
    """Float tensors at the int8 nodes, but those that vanish into the activation behind them."""
    from onnx import TensorProto

    infos = (*model.graph.value_info, *model.graph.output, *model.graph.input)
    floats = {i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats -= {tensor.name for tensor in model.graph.initializer}
    readers = _readers(model)
    given = {output.name for output in model.graph.output}
    found: dict[str, None] = {}
    for node in model.graph.node:
        if node.op_type not in QUANTISABLE or node.name in excluded:
            continue
        for name in (*node.input, *node.output):
            only = [reader.op_type for reader in readers.get(name, ())]
            vanishes = len(only) == 1 and only[0] in REMOVABLE and name not in given
            if name in floats and not vanishes:
                found[name] = None
    return tuple(found)
