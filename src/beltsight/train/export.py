"""From a trained network to the one model file, refused where the two disagree."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from beltsight.card import CARD_KEY, Card
from beltsight.errors import ModelFileError, ParityError
from beltsight.model import Engine, OnnxRuntimeEngine
from beltsight.records import Floats
from beltsight.train.network import Network

PARITY_PHOTOS = 64
LOGIT_TOLERANCE = 1e-3
_BATCH = 16


class ExportGraph(nn.Module):
    """The network with all outputs of a model file, as a tuple in the order of ``names``."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        tasks = [task.name for task in network.tasks]
        maps = [f"{task}_map" for task in tasks] if network.has_maps else []
        self.names = (*tasks, "embedding", *maps)

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Outputs for uint8 (N, H, W, 3) RGB."""
        features, embedding = self.network.features(photos)
        logits = [head(embedding) for head in self.network.heads.values()]
        maps = self.network.class_maps(features).values() if self.network.has_maps else ()
        return (*logits, embedding, *maps)


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an engine's answers are from the network's on real photos."""

    n: int
    max_logit_gap: float
    label_changes: int


def export_graph(network: Network, input_size: tuple[int, int]) -> onnx.ModelProto:
    """The network as an ONNX graph with a free batch size.

    Args:
        network: any mode; exported in evaluation mode, in float32 on the CPU.
        input_size: (height, width) in pixels.

    Raises:
        ModelFileError: PyTorch's exporter cannot express this backbone.
    """
    graph = ExportGraph(network.cpu().eval())
    example = (torch.zeros((2, *input_size, 3), dtype=torch.uint8),)
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                graph,
                example,
                dynamo=True,
                input_names=["photos"],
                output_names=list(graph.names),
                dynamic_shapes={"photos": {0: torch.export.Dim("batch")}},
                external_data=False,
            )
    except Exception as error:  # the exporter's errors have no common base
        raise ModelFileError(f"this backbone cannot be exported to ONNX: {error}") from error
    if program is None:
        raise ModelFileError("this backbone cannot be exported to ONNX: no program came back")
    return program.model_proto


def save_model(graph: onnx.ModelProto, card: Card, path: Path) -> None:
    """Write graph and card as one file that stands alone, complete or not at all."""
    model = onnx.ModelProto()
    model.CopyFrom(graph)
    model.doc_string = f"{card.name} {card.version}: a Beltsight model; its card is in the metadata"
    onnx.helper.set_model_props(model, {CARD_KEY: card.model_dump_json()})
    part = path.with_suffix(".part")
    part.write_bytes(model.SerializeToString())
    part.replace(path)


def make_engine(graph: onnx.ModelProto, threads: int = 0) -> OnnxRuntimeEngine:
    """The engine that will serve this graph."""
    return OnnxRuntimeEngine(graph.SerializeToString(), threads)


@torch.no_grad()
def check_parity(network: Network, engine: Engine, photos: NDArray[np.uint8]) -> Parity:
    """Compare an engine with the network on prepared real photos, output by output.

    Args:
        network: what was trained.
        engine: what will be deployed.
        photos: uint8 (N, H, W, 3) RGB; ``PARITY_PHOTOS`` or more mean something.

    Raises:
        ParityError: a label changes, or an output differs by over ``LOGIT_TOLERANCE`` of
            its largest value (at least 1).
    """
    graph = ExportGraph(network.cpu().eval())
    worst, changes = 0.0, 0
    for start in range(0, len(photos), _BATCH):
        batch = np.array(photos[start : start + _BATCH])  # torch wants memory that it may write
        expected = [tensor.numpy() for tensor in graph(torch.from_numpy(batch))]
        got = engine.run(batch, graph.names)
        for name, value in zip(graph.names, expected, strict=True):
            gap = _relative_gap(got[name], value)
            if not gap <= LOGIT_TOLERANCE:
                raise ParityError(
                    f"export refused: {name} of {engine.name} differs from the network by "
                    f"{gap:.2g} of its range (allowed {LOGIT_TOLERANCE}); the file is not written"
                )
            if name in network.heads:
                worst = max(worst, float(np.abs(got[name] - value).max()))
                changes += int((got[name].argmax(1) != value.argmax(1)).sum())
    if changes:
        raise ParityError(
            f"export refused: {changes} of {len(photos)} photos get another label from "
            f"{engine.name} than from the network; the file is not written"
        )
    return Parity(len(photos), worst, changes)


def run_engine(
    engine: Engine, photos: NDArray[np.uint8], names: Sequence[str], batch_size: int = 32
) -> dict[str, Floats]:
    """Outputs of an engine for many prepared photos."""
    parts = [
        engine.run(np.ascontiguousarray(photos[start : start + batch_size]), names)
        for start in range(0, len(photos), batch_size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _relative_gap(got: Floats, expected: Floats) -> float:
    if got.shape != expected.shape:
        return float("inf")
    return float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))


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
