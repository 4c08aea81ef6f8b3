"""What every engine is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats


class Engine(Protocol):
    """Whatever computes the graph; its calls may come from several threads at once."""

    @property
    def name(self) -> str:
        """What computed an answer, e.g. ``onnxruntime-cpu``."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs."""

    @property
    def streams(self) -> int:
        """How many calls at once it was opened for; more are right, too, but not faster."""

    @property
    def rounding(self) -> float:
        """Relative error of one operation in its number format; 0 stands for float32."""

    def run(self, photos: NDArray[np.uint8], outputs: Sequence[str]) -> dict[str, Floats]:
        """Compute the named outputs for uint8 (N, H, W, 3)."""


def run_in_batches(
    engine: Engine, photos: NDArray[np.uint8], names: Sequence[str], batch_size: int = 32
) -> dict[str, Floats]:
    """Outputs of an engine for one prepared photo or many: uint8 (N, H, W, 3) RGB."""
    parts = [
        engine.run(np.ascontiguousarray(photos[start : start + batch_size]), names)
        for start in range(0, len(photos), batch_size)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}
