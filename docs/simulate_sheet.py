"""Draws the pictures of docs/simulate.md, from the packaged photos.

$ python docs/simulate_sheet.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from beltsight.line.simulate import (
    BeltLook,
    ItemLook,
    Mark,
    Panel,
    Scene,
    Simulation,
    SimulationSettings,
    Video,
    simulate,
)
from beltsight.line.view import BeltBox, View
from beltsight.records import Photo

IMAGES = Path(__file__).parent / "images"
VIEW = View(width_px=1280, height_px=720, width_mm=1000, height_mm=560)
COLOURS = ("grey", "green", "blue", "white")


def belt(colour: str, rate: float) -> Simulation:
    look = BeltLook.model_validate({"colour": colour})
    items = ItemLook(rate_per_s=rate, touching=0.2, overlapping=0.05, dirty=0.2)
    return simulate(SimulationSettings(seed=2, length_m=10, belt=look, items=items), VIEW)


def true_marks(sim: Simulation, position_mm: float) -> list[Mark]:
    """Boxes as the truth has them: what a faultless line would show."""
    marks = []
    for item in sim.belt.truth.between(position_mm - 600, position_mm + 600):
        u, half = position_mm - item.s_mm, item.along_mm / 2
        side = item.across_mm / 2
        box = VIEW.box_to_pixel(
            BeltBox(u - half, u + half, item.lateral_mm - side, item.lateral_mm + side)
        )
        note = item.contact or ""
        if box[2] - box[0] > 10:
            marks.append(Mark(box, item.labels["material"], None, item.labels["material"], note))
    return marks


def write(page: Photo, name: str) -> None:
    _, jpeg = cv2.imencode(".jpg", page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    (IMAGES / name).write_bytes(jpeg.tobytes())


def main() -> None:
    sim = belt("black", 20.0)
    position = 5200.0
    frame = sim.belt.picture(position / sim.settings.speed_mm_s, 0)
    marks = true_marks(sim, position)
    names = sorted({mark.label for mark in marks})
    counts = {name: sum(mark.label == name for mark in marks) for name in names}
    panel = Panel(counts, {"in view": str(len(marks)), "belt": "2.5 m/s"})
    write(Video(Path("unwritten.mp4")).draw(Scene(frame, marks, panel)), "simulate.jpg")
    views = [belt(colour, 16.0).belt.picture(2.6, 0) for colour in COLOURS]
    rows = [np.hstack(views[:2]), np.hstack(views[2:])]
    page = cv2.resize(np.vstack(rows), (1280, 720), interpolation=cv2.INTER_AREA)
    write(np.asarray(page, np.uint8), "simulate-belts.jpg")


if __name__ == "__main__":
    main()
