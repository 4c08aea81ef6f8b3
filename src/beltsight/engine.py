"""Engines: whatever computes a model's graph, behind one protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ModelError, ModelFileError
from beltsight.records import Floats


class Engine(Protocol):
    """Whatever computes the graph."""

    @property
    def name(self) -> str:
        """What computed an answer, e.g. ``onnxruntime-cpu``."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs."""

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs for uint8 (N, H, W, 3); safe from several threads."""


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU.

    Args:
        model: the ONNX file's content.
        threads: threads per call; 0 lets ONNX Runtime take one per core.

    Raises:
        ModelFileError: not an ONNX file that ONNX Runtime can load.
    """

    name = "onnxruntime-cpu"

    def __init__(self, model: bytes, threads: int = 0) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
            raise ModelFileError(f"not a usable ONNX model: {str(error)[:300]}") from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple((i.name, i.type, tuple(i.shape)) for i in self._session.get_inputs())
        self.shapes = {o.name: tuple(o.shape) for o in self._session.get_outputs()}
        self.outputs = tuple(self.shapes)

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs; see :class:`Engine`.

        Raises:
            ModelError: ONNX Runtime cannot compute the graph for these photos.
        """
        try:
            values = self._session.run(list(outputs), {self.inputs[0][0]: photos})
        except Exception as error:  # as above
            raise ModelError(f"{self.name} cannot compute the model: {str(error)[:300]}") from error
        return dict(zip(outputs, values, strict=True))


def run_in_batches(
    engine: Engine, photos: NDArray[np.uint8], names: Sequence[str], batch_size: int = 32
) -> dict[str, Floats]:
    """Outputs of an engine for one prepared photo or many: uint8 (N, H, W, 3) RGB."""
    parts = [
        engine.run(np.ascontiguousarray(photos[start : start + batch_size]), names)
        for start in range(0, len(photos), batch_size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
