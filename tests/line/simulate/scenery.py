"""Photos of plain shapes on white board, and small belts made from them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from beltsight.line.simulate import (
    BeltLook,
    ItemLook,
    LightLook,
    SimulationSettings,
    TrueItem,
    Truth,
)
from beltsight.line.view import View
from beltsight.records import Sample

COLOURS = {"glass": (30, 160, 60), "metal": (40, 70, 200), "plastic": (210, 40, 40)}
PLAIN = BeltLook(loop_m=1.5, grain=0.0, scratches_per_m=0, stains_per_m=0, splice=False)
EVEN = LightLook(drift_ev=0, flicker=0, vignette=0, noise=0, exposure_ms=0)
VIEW = View(width_px=640, height_px=360, width_mm=1000, height_mm=562.5)


def write_photos(folder: Path) -> list[Sample]:
    """An ellipse of each colour on a board with a little grain."""
    rng = np.random.default_rng(1)
    samples = []
    for number, (material, colour) in enumerate(COLOURS.items()):
        photo = rng.integers(222, 232, (192, 256, 3)).astype(np.uint8)
        cv2.ellipse(photo, (128, 96), (70, 40 - 6 * number), 20, 0, 360, colour, -1, cv2.LINE_AA)
        path = folder / f"{material}.png"
        cv2.imwrite(str(path), photo[:, :, ::-1])
        samples.append(Sample(path, {"material": material}))
    return samples


def settings(**changes: object) -> SimulationSettings:
    """Short, plain, evenly lit; ``items`` and others may be replaced."""
    base: dict[str, object] = {
        "length_m": 6.0, "lead_in_mm": 1000.0, "belt": PLAIN, "light": EVEN,
        "items": ItemLook(rate_per_s=10, shadow=0.0),
    }  # fmt: skip
    return SimulationSettings.model_validate({**base, **changes})


def first_turn(truth: Truth) -> list[TrueItem]:
    """The items of the first turn, downstream first."""
    return truth.between(truth.start_mm, truth.start_mm + truth.turn_mm)
