"""The engines' libraries, kept from telling their makers of their use.

ONNX Runtime from 1.31 writes a mark of the machine and a database into the user's cache folder,
starts a thread and looks up names on the network; OpenVINO does the like when it is imported.
A program on a line must do neither unasked. Nothing else here may import them.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from types import ModuleType


def import_onnxruntime() -> ModuleType:
    """ONNX Runtime without telemetry, unless ``ORT_DISABLE_TELEMETRY`` says something else."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when it is imported
    return import_module("onnxruntime")


def import_openvino() -> ModuleType:
    """OpenVINO without its module ``openvino_telemetry``, unless that is imported already.

    Raises:
        ImportError: it is not installed, or cannot be loaded.
    """
    # It takes None for a module that is not installed, and has a stub for that.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")
