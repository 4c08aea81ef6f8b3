"""From a trained network to the one model file, refused where the two disagree."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from beltsight.engines import Engine
from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.errors import ModelFileError, ParityError
from beltsight.records import MAP_END, PHOTOS, PLACES_END, Floats
from beltsight.train.network import Network

PARITY_PHOTOS = 64
LOGIT_TOLERANCE = 1e-3
_BATCH = 16


class ExportGraph(nn.Module):
    """The network with all outputs of a model file, as a tuple in the order of ``names``."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.tasks = tuple(task.name for task in network.tasks)
        maps = [f"{task}{MAP_END}" for task in self.tasks] if network.has_maps else []
        placed = network.places_task
        places = [f"{placed}{PLACES_END}"] if placed else []
        self.names = (*self.tasks, "embedding", *maps, *places)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Outputs for uint8 (N, H, W, 3) RGB."""
        features, embedding, places = self.network.outputs(photos)
        logits = [head(embedding) for head in self.network.heads]
        maps = self.network.class_maps(features).values() if self.network.has_maps else ()
        if self.network.places_task is None or places is None:
            return (*logits, embedding, *maps)
        return (*logits, embedding, *maps, places)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an engine's answers are from the network's on real photos.

    Args:
        n: photos compared.
        max_logit_gap: largest difference of a logit.
        label_changes: answers that differ, over all tasks.
        clear_changes: of them, those where the network's two best logits are further apart than
            logits may differ.
        gaps: per output the largest difference over its largest value (at least 1).
    """

    n: int
    max_logit_gap: float
    label_changes: int
    clear_changes: int
    gaps: dict[str, float]


def export_graph(network: Network, input_size: tuple[int, int]) -> onnx.ModelProto:
    """The network as an ONNX graph with a free batch size.

    Args:
        network: any mode; exported in evaluation mode, in float32 on the CPU.
        input_size: (height, width) in pixels.

    Raises:
        ModelFileError: PyTorch's exporter cannot express this backbone.
    """
    graph = ExportGraph(network.cpu().eval())
    return to_onnx(graph, input_size, graph.names)


def to_onnx(
    module: nn.Module, input_size: tuple[int, int], outputs: Sequence[str]
) -> onnx.ModelProto:
    """A module of uint8 photos (N, H, W, 3) as an ONNX graph with a free batch size.

    Args:
        module: on the CPU, in evaluation mode.
        input_size: (height, width) in pixels.
        outputs: their names.

    Raises:
        ModelFileError: PyTorch's exporter cannot express it.
    """
    example = (torch.zeros((2, *input_size, 3), dtype=torch.uint8),)
    # The exporter gives a value inside the name of an output, such as "relu", and the file has two.
    # A name that is longer than every output's is none of them.
    spare = "_" * max(map(len, outputs))
    given = [f"{spare}{index}" for index in range(len(outputs))]
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                input_names=[PHOTOS],
                output_names=given,
                dynamic_shapes={"photos": {0: torch.export.Dim("batch")}},
                external_data=False,
            )
    except Exception as error:  # the exporter's errors have no common base
        raise ModelFileError(f"this backbone cannot be exported to ONNX: {error}") from error
    if program is None:
        raise ModelFileError("this backbone cannot be exported to ONNX: no program came back")
    model = program.model_proto
    inner = {name: f"{spare}{name}" for name in outputs}
    _rename(model.graph, {**inner, **dict(zip(given, outputs, strict=True))})
    return model


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give values other names wherever they stand, in the graphs inside nodes, too."""
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.name = names.get(part.name, part.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
        for attribute in node.attribute:
            for inside in (attribute.g, *attribute.graphs):
                _rename(inside, names)


def make_engine(graph: onnx.ModelProto, threads: int = 0) -> OnnxRuntimeEngine:
    """The engine that will serve this graph."""
    return OnnxRuntimeEngine(graph.SerializeToString(), threads)


def make_engine_of_file(path: Path, threads: int = 0) -> OnnxRuntimeEngine:
    """The engine that serves a model file."""
    return OnnxRuntimeEngine(path.read_bytes(), threads)


@torch.no_grad()
def measure_parity(network: Network, engine: Engine, photos: NDArray[np.uint8]) -> Parity:
    """Compare an engine with the network on prepared photos, output by output.

    Args:
        network: what was trained; compared in float32 on the CPU.
        engine: what will be deployed.
        photos: uint8 (N, H, W, 3) RGB.
    """
    graph = ExportGraph(network.cpu().eval())
    gaps = dict.fromkeys(graph.names, 0.0)
    worst, changes, clear = 0.0, 0, 0
    for start in range(0, len(photos), _BATCH):
        batch = np.array(photos[start : start + _BATCH])  # PyTorch wants memory it may write
        expected = [tensor.numpy() for tensor in graph(torch.from_numpy(batch))]
        got = engine.run(batch, graph.names)
        for name, value in zip(graph.names, expected, strict=True):
            gaps[name] = max(gaps[name], _relative_gap(got[name], value))
            if name in graph.tasks:
                worst = max(worst, float(np.abs(got[name] - value).max()))
                changed = got[name].argmax(1) != value.argmax(1)
                changes += int(changed.sum())
                clear += int((changed & ~_is_torn(value)).sum())
    return Parity(len(photos), worst, changes, clear, gaps)


def check_parity(network: Network, engine: Engine, photos: NDArray[np.uint8]) -> Parity:
    """Refuse an engine that does not answer as the network does.

    Args:
        network, engine, photos: see :func:`measure_parity`; ``PARITY_PHOTOS`` real photos or
            more mean something.

    Raises:
        ParityError: an output differs by over ``LOGIT_TOLERANCE`` of its largest value (at least
            1), or a label changes where the network's two best logits are further apart than that.
    """
    parity = measure_parity(network, engine, photos)
    name, gap = max(parity.gaps.items(), key=lambda item: item[1])
    if not gap <= LOGIT_TOLERANCE:
        raise ParityError(
            f"export refused: {name} of {engine.name} differs from the network by {gap:.2g} of "
            f"its range (allowed {LOGIT_TOLERANCE}); the file is not written"
        )
    if parity.clear_changes:
        raise ParityError(
            f"export refused: {parity.clear_changes} of {parity.n} photos get another label from "
            f"{engine.name} than from the network; the file is not written"
        )
    return parity


def _is_torn(logits: Floats) -> NDArray[np.bool_]:
    """(N,) whether the two best of (N, C) logits are no further apart than logits may differ."""
    second, best = np.sort(logits, axis=1)[:, -2:].T
    torn: NDArray[np.bool_] = best - second <= LOGIT_TOLERANCE * max(1.0, np.abs(logits).max())
    return torn


def _relative_gap(got: Floats, expected: Floats) -> float:
    if got.shape != expected.shape:
        return float("inf")
    gap = float(np.abs(got - expected).max()) / max(1.0, float(np.abs(expected).max()))
    return float("inf") if math.isnan(gap) else gap


@contextlib.contextmanager
def _quiet_exporter():  # type: ignore[no-untyped-def]
    """Keep the exporter's progress lines and notes off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
