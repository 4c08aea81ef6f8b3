"""What the machine can at most: large matrix products through the engines, in each precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from beltsight.bench import Timing, take_turns, time_calls
from beltsight.engines import available_engines, open_engine

SIDE, LAYERS = 1024, 8
_SCALE = np.float32(0.02)


def products(side: int, layers: int, *, int8: bool) -> bytes:
    """A chain of products of square matrices as an ONNX file: uint8 (N, side) in and float out."""
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Cast", ["rows"], ["x0"], to=TensorProto.FLOAT)]
    tensors = [
        numpy_helper.from_array(np.array(_SCALE), "scale"),
        numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        numpy_helper.from_array(np.array(0, np.int8), "middle"),
    ]
    for layer in range(layers):
        weight = rng.integers(-60, 61, (side, side)).astype(np.int8)
        before, after = f"x{layer}", f"x{layer + 1}"
        if int8:
            tensors.append(numpy_helper.from_array(weight, f"w{layer}"))
            nodes += _quantised(layer, before, after)
        else:
            values = weight.astype(np.float32) * np.float32(1 / (35 * side**0.5))
            tensors.append(numpy_helper.from_array(values, f"w{layer}"))
            nodes.append(helper.make_node("MatMul", [before, f"w{layer}"], [after]))
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("rows", TensorProto.UINT8, ["batch", side])],
        [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, ["batch", side])],
        tensors,
    )
    opset = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    content: bytes = model.SerializeToString()
    return content


def _quantised(layer: int, before: str, after: str) -> Iterator[onnx.NodeProto]:
    """A product as an int8 model has it: numbers are rounded before, weights are int8."""
    names = {key: f"{key}{layer}" for key in ("q", "d", "m", "p", "w")}
    yield helper.make_node("QuantizeLinear", [before, "scale", "zero"], [names["q"]])
    yield helper.make_node("DequantizeLinear", [names["q"], "scale", "zero"], [names["d"]])
    yield helper.make_node("DequantizeLinear", [names["w"], "scale", "middle"], [names["m"]])
    yield helper.make_node("MatMul", [names["d"], names["m"]], [names["p"]])
    yield helper.make_node("QuantizeLinear", [names["p"], "scale", "zero"], [f"y{layer}"])
    yield helper.make_node("DequantizeLinear", [f"y{layer}", "scale", "zero"], [after])


def measured_peaks(
    threads: int, rounds: int = 3, turn_s: float = 1.0, side: int = SIDE
) -> dict[str, float]:
    """Operations per second of the best engine, by precision; the fastest call counts."""
    rows: NDArray[np.uint8] = np.random.default_rng(1).integers(0, 256, (side, side), np.uint8)
    files = {int8: products(side, LAYERS, int8=int8) for int8 in (False, True)}
    turns: dict[str, Callable[[], Timing]] = {}
    for name in available_engines():
        if "-cpu" not in name:
            continue
        for int8, content in files.items():
            engine = open_engine(name, content, threads)
            run = partial(_run, engine, [f"x{LAYERS}"])
            precision = "int8" if int8 else "bf16" if engine.rounding else "float32"
            turns[f"{precision} {name}"] = partial(time_calls, run, [rows], least_s=turn_s)
    operations = 2.0 * LAYERS * side**3
    peaks: dict[str, float] = {}
    for title, timings in take_turns(turns, rounds).items():
        precision = title.partition(" ")[0]
        best = operations / min(float(each.times_s.min()) for each in timings)
        peaks[precision] = max(best, peaks.get(precision, 0.0))
    return peaks


def _run(engine, names, rows):  # type: ignore[no-untyped-def]
    return engine.run(rows, names)
