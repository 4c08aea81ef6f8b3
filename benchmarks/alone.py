"""The engines alone, used as their own documentation says and without any code of Beltsight."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Run = Callable[[NDArray[np.uint8]], Any]


def onnx_runtime_alone(path: Path, names: list[str], threads: int) -> Run:
    """A plain ONNX Runtime session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name

    def run(photos: NDArray[np.uint8]) -> Any:
        return session.run(names, {source: photos})

    return run


def openvino_alone(path: Path, precision: str, threads: int) -> Run:
    """A plain OpenVINO request, with its own hint for the least latency."""
    import openvino

    core = openvino.Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()

    def run(photos: NDArray[np.uint8]) -> Any:
        return request.infer([photos])

    return run
