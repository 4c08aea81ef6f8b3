"""ONNX Runtime, on the processor or on an NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beltsight.engines.libraries import import_onnxruntime
from beltsight.errors import ANEW, ModelError, ModelFileError
from beltsight.records import Floats

PROVIDERS = {
    "onnxruntime-cpu": "CPUExecutionProvider",
    "onnxruntime-cuda": "CUDAExecutionProvider",
    "onnxruntime-tensorrt": "TensorrtExecutionProvider",
}

# NVIDIA GPUs from Ampere on would multiply in TF32 unasked, which keeps 11 significant bits.
_OPTIONS = {"onnxruntime-cuda": {"use_tf32": "0"}}
# ONNX Runtime cannot switch it off in TensorRT (its issue 26029).
_ROUNDINGS = {"onnxruntime-tensorrt": 2.0**-11}


class OnnxRuntimeEngine:
    """ONNX Runtime.

    Args:
        model: the ONNX file's content.
        threads: computing threads in all; 0 lets ONNX Runtime take one per core.
        streams: calls at once; they share the threads.
        name: one of ``PROVIDERS``.
        optimise: off to read what the file says of itself without the time of preparing it.

    Raises:
        ModelFileError: not an ONNX file that ONNX Runtime can load.
        ModelError: the hardware or its libraries are not there.
    """

    def __init__(
        self,
        model: bytes,
        threads: int = 0,
        streams: int = 1,
        name: str = "onnxruntime-cpu",
        *,
        optimise: bool = True,
    ) -> None:
        ort = import_onnxruntime()
        self.name, self.streams = name, streams
        self.rounding = _ROUNDINGS.get(name, 0.0)
        options = ort.SessionOptions()
        # Each caller computes itself, and all share one pool of so many threads less one.
        options.intra_op_num_threads = max(1, threads - streams + 1) if threads else 0
        options.log_severity_level = 4
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        wanted = PROVIDERS[name]
        lacking = ModelError(
            f"{name}: ONNX Runtime cannot use {wanted} on this machine; install its drivers "
            "and the build of ONNX Runtime for it, or use another engine"
        )
        if wanted not in ort.get_available_providers():
            raise lacking
        # In order of preference, each once.
        providers = {wanted: _OPTIONS.get(name, {}), PROVIDERS["onnxruntime-cpu"]: {}}
        try:
            self._session = ort.InferenceSession(model, options, providers=list(providers.items()))
        except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
            said = str(error).strip(" .\n")[:300]
            raise ModelFileError(f"not a usable ONNX model: {said}; {ANEW}") from error
        # Without its libraries a provider is passed over, and the processor computes unasked.
        if wanted not in self._session.get_providers():
            raise lacking
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.inputs = tuple((i.name, i.type, tuple(i.shape)) for i in self._session.get_inputs())
        outputs = self._session.get_outputs()
        self.shapes = {o.name: tuple(o.shape) for o in outputs}
        self.types = {o.name: str(o.type) for o in outputs}
        self.outputs = tuple(self.shapes)

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs; see :class:`beltsight.engines.Engine`.

        Raises:
            ModelError: ONNX Runtime cannot compute the graph for these photos.
        """
        try:
            values = self._session.run(list(outputs), {self.inputs[0][0]: photos})
        except Exception as error:  # as above
            raise ModelError(f"{self.name} cannot compute the model: {str(error)[:300]}") from error
        return dict(zip(outputs, values, strict=True))
