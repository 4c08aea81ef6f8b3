"""Engines: whatever computes a model's graph, behind one protocol.

``onnxruntime-cpu`` is always there; the others where their library and hardware are. All take the
same file and give the same answers up to rounding. bfloat16 rounds more, and its name says so;
TensorRT does, too, in TF32.
"""

from beltsight.engines.choice import (
    DEFAULT_ENGINE,
    ENGINES,
    available_engines,
    open_engine,
)
from beltsight.engines.engine import Engine, run_in_batches

__all__ = [
    "DEFAULT_ENGINE",
    "ENGINES",
    "Engine",
    "available_engines",
    "open_engine",
    "run_in_batches",
]
