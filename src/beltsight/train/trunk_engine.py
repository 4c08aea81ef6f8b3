"""What computes the activations of a frozen trunk: the faster of PyTorch and ONNX Runtime.

Where the processor computes in bfloat16, PyTorch is: ResNet-18 at 224 px on two cores (AMD EPYC)
153 photos/s, ONNX Runtime in float32 51. In float32, ONNX Runtime is about 1.4 times as fast.
"""

from __future__ import annotations

import copy
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.errors import ModelFileError
from beltsight.train.activations import Trunk
from beltsight.train.export import make_engine, to_onnx
from beltsight.train.folder import write_text
from beltsight.train.network import Network
from beltsight.train.precision import Precision
from beltsight.train.trunk import Cut, run_modules

_OUTPUT = "activation"
_TRIAL_PHOTOS = 16
_WORTH_AN_EXPORT_S = 60.0  # the export takes about ten seconds
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class TorchTrunk:
    """From photos, or from activations at an earlier cut, to those at a cut, in PyTorch."""

    network: Network
    precision: Precision
    cut: Cut
    source: Cut | None

    @property
    def name(self) -> str:
        """How it computes."""
        return f"PyTorch {self.precision.name}"

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Activations (N, ...) of N inputs."""
        network = self.network.eval()
        inputs = inputs.to(network.mean.device)
        with self.precision.autocast():
            if self.source is None:
                return self.cut.activation(network, inputs)
            return self.source.continued(network, inputs, self.cut)


@dataclass(frozen=True, slots=True)
class OnnxTrunk:
    """From photos to activations at a cut, in ONNX Runtime."""

    engine: OnnxRuntimeEngine

    @property
    def name(self) -> str:
        """How it computes."""
        return self.engine.name

    def __call__(self, inputs: Tensor) -> Tensor:
        """Activations (N, ...) of uint8 photos (N, H, W, 3)."""
        return torch.from_numpy(self.engine.run(inputs.numpy(), [_OUTPUT])[_OUTPUT])


class _FirstLayers(nn.Module):
    def __init__(self, network: Network, cut: Cut) -> None:
        super().__init__()
        self.network, self.names = network, cut.before

    def forward(self, photos: Tensor) -> Tensor:
        return run_modules(self.network.backbone, self.names, self.network.normalised(photos))


def choose_trunk(
    network: Network,
    precision: Precision,
    cut: Cut,
    source: Cut | None,
    rows: int,
    known: str = "",
) -> Trunk:
    """The engine for a cut.

    Args:
        network: the whole one.
        precision: PyTorch's.
        cut: whose activations are wanted.
        source: an earlier cut whose activations are the inputs; None for photos.
        rows: how many will be computed; a few are not worth an export.
        known: name of the engine that was chosen before; taken again, whatever is faster now,
            since the engines' answers differ in their last digits.
    """
    plain = TorchTrunk(network, precision, cut, source)
    if precision.bfloat16 or precision.device.type != "cpu" or source is not None or not cut.before:
        return plain
    if known == plain.name:
        return plain
    photos = torch.randint(0, 256, (_TRIAL_PHOTOS, *network.input_size, 3), dtype=torch.uint8)
    expected, seconds = _timed(plain, photos)
    if not known and rows * seconds / _TRIAL_PHOTOS < _WORTH_AN_EXPORT_S:
        return plain
    try:
        layers = _FirstLayers(copy.deepcopy(network).eval(), cut)
        graph = to_onnx(layers, network.input_size, [_OUTPUT])
    except ModelFileError:
        return plain
    other = OnnxTrunk(make_engine(graph, torch.get_num_threads()))
    got, other_seconds = _timed(other, photos)
    largest = max(1.0, float(expected.abs().max()))
    same = got.shape == expected.shape and bool(
        np.abs(got.numpy() - expected.numpy()).max() <= _TOLERANCE * largest
    )
    wanted = other.name == known or other_seconds < seconds
    return other if same and wanted else plain


def noted_trunks(file: Path) -> dict[str, str]:
    """Names of engines that :func:`note_trunks` wrote; none where the file is no such note."""
    try:
        notes = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(notes, dict):
        return {}
    return {key: name for key, name in notes.items() if isinstance(name, str)}


def note_trunks(file: Path, names: dict[str, str]) -> None:
    """Write which engine was chosen, by the key of what it computes.

    Raises:
        TrainError: the file cannot be written.
    """
    write_text(file, json.dumps(names, indent=2) + "\n")


def _timed(trunk: Trunk, photos: Tensor) -> tuple[Tensor, float]:
    trunk(photos)  # the first time allocates
    start = time.perf_counter()
    activation = trunk(photos)
    return activation, time.perf_counter() - start
