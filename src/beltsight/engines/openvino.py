"""OpenVINO on the processor, in float32 or bfloat16 (extra ``openvino``)."""

from __future__ import annotations

import functools
import queue
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.engines.libraries import import_openvino
from beltsight.errors import ANEW, MissingExtraError, ModelError, ModelFileError
from beltsight.records import Floats

PRECISIONS = {"openvino-cpu": "f32", "openvino-cpu-bf16": "bf16"}


class OpenVinoEngine:
    """OpenVINO.

    Args:
        model: the ONNX file's content.
        threads: computing threads in all; 0 lets OpenVINO take one per core.
        streams: calls at once, each with ``threads // streams`` threads.
        name: one of ``PRECISIONS``. A file in int8 computes in int8 with either.

    Raises:
        MissingExtraError: OpenVINO is not installed.
        ModelError: OpenVINO cannot start, or the processor has no bfloat16.
        ModelFileError: not an ONNX file that OpenVINO can load.
    """

    def __init__(
        self, model: bytes, threads: int = 0, streams: int = 1, name: str = "openvino-cpu"
    ) -> None:
        self.name, self.streams = name, streams
        core = _core(name)
        precision = PRECISIONS[name]
        if precision == "bf16" and not _computes_bfloat16(core):
            raise ModelError(f"{name}: this processor does not compute in bfloat16; use another")
        self.rounding = 2.0**-8 if precision == "bf16" else 0.0
        settings: dict[str, Any] = {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            # Pinned threads of two processes would share a core while another idles.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            compiled = core.compile_model(core.read_model(model, b""), "CPU", settings)
            requests = [compiled.create_infer_request() for _ in range(max(1, streams))]
        except Exception as error:  # OpenVINO raises RuntimeError and its kin
            said = _first(error).strip(" .")
            raise ModelFileError(f"not a model that OpenVINO can load: {said}; {ANEW}") from error
        self._compiled = compiled  # requests compute with it
        self._shape = compiled.inputs[0].get_partial_shape()
        # An output that only passes another tensor on has the names of both.
        self._places = {
            name: i for i, port in enumerate(compiled.outputs) for name in sorted(port.get_names())
        }
        self.outputs = tuple(self._places)
        # A request computes one call at a time; whoever finds none free waits for one.
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for request in requests:
            self._free.put(request)

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs; see :class:`beltsight.engines.Engine`.

        Raises:
            ModelError: OpenVINO cannot compute the graph for these photos.
        """
        # OpenVINO would convert another type, and its messages on shapes run over many lines.
        if photos.dtype != np.uint8 or not self._fits(photos.shape):
            raise ModelError(
                f"{self.name} cannot compute the model: it takes uint8 {self._shape}, not "
                f"{photos.dtype} {list(photos.shape)}"
            )
        request = self._free.get()
        try:
            request.infer([photos], share_inputs=True)
            return {
                name: np.array(request.get_output_tensor(self._places[name]).data, np.float32)
                for name in outputs
            }
        except Exception as error:  # as above
            raise ModelError(f"{self.name} cannot compute the model: {_first(error)}") from error
        finally:
            self._free.put(request)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self._shape) and all(
            part.is_dynamic or part.get_length() == have
            for part, have in zip(self._shape, shape, strict=True)
        )


def available_precisions() -> tuple[str, ...]:
    """Those of ``PRECISIONS`` that the library, where it is there, and the processor can."""
    try:
        core = _only_core()
    except (ImportError, RuntimeError):  # not there, or parts of it missing
        return ()
    return tuple(
        name for name, number in PRECISIONS.items() if number == "f32" or _computes_bfloat16(core)
    )


def _computes_bfloat16(core: Any) -> bool:
    """Whether the processor has instructions for bfloat16; no where OpenVINO cannot tell."""
    try:
        return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:
        return False


def _core(purpose: str) -> Any:
    try:
        return _only_core()
    except ImportError as error:
        raise MissingExtraError(f"engine {purpose}", "openvino") from error
    except RuntimeError as error:
        raise ModelError(
            f"{purpose}: OpenVINO cannot start ({_first(error)}); install it anew with: "
            "pip install --force-reinstall openvino"
        ) from error


@functools.cache
def _only_core() -> Any:
    """OpenVINO's core, kept to the end of the process.

    Its plug-in gives the thread that makes it a signal stack, and frees that stack when the last
    user is gone, in whichever thread: from another one, the next signal kills the process.
    """
    return import_openvino().Core()


def _first(error: Exception) -> str:
    """What went wrong, without the places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "src/"))]
    return (told or lines or [type(error).__name__])[0][:300]
