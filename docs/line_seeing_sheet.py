"""Draws the picture of docs/line-seeing.md: a frame of a painted belt, what differs, what is found.

$ python docs/line_seeing_sheet.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.belt_scene import HEIGHT_MM, HEIGHT_PX, WIDTH_MM, WIDTH_PX, Scene, paint

from beltsight.line.background import Difference
from beltsight.line.segment import Finder, Region, find_regions
from beltsight.line.view import View
from beltsight.records import Photo

IMAGES = Path(__file__).parent / "images"
VIEW = View(width_px=WIDTH_PX, height_px=HEIGHT_PX, width_mm=WIDTH_MM, height_mm=HEIGHT_MM)
WHOLE, CUT, TOUCHING = (70, 220, 90), (250, 210, 60), (245, 90, 220)


def outlined(frame: Photo, regions: list[Region]) -> Photo:
    """The frame with each region's outline and box."""
    page = frame.copy()
    for region in regions:
        colour = TOUCHING if region.touching else CUT if region.cut_by_edge else WHOLE
        x0, y0, x1, y1 = region.box_xyxy
        bits = region.mask.astype(np.uint8)
        lines, _ = cv2.findContours(bits, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(page, lines, -1, colour, 2, cv2.LINE_AA, offset=(x0, y0))
        cv2.rectangle(page, (x0, y0), (x1 - 1, y1 - 1), colour, 1)
    return page


def heat(difference: Difference) -> Photo:
    """How far each cell strays from the belt, 0 to 12 deviations."""
    strays = np.maximum(difference.colour, difference.texture)
    level = np.clip(strays * (255 / 12), 0, 255).astype(np.uint8)
    large = cv2.resize(level, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_NEAREST)
    return np.asarray(cv2.applyColorMap(large, cv2.COLORMAP_INFERNO)[:, :, ::-1], np.uint8)


def main() -> None:
    strip = paint(Scene(seed=4, belt="dark", length_mm=4000, rate_per_s=26, gap_mm=0, heaped=0.3,
                        dirt=25))  # fmt: skip
    finder = Finder(VIEW)
    step_mm = 2500 / 30
    for number in range(14):
        frame = strip.frame(strip.first_mm + number * step_mm, number)
        finder.find(frame, step_mm if number else 0.0)
    difference = finder.background.difference(frame)
    regions = find_regions(frame, difference, VIEW, finder.settings)
    gap = np.full((HEIGHT_PX, 12, 3), 255, np.uint8)
    page = np.hstack([outlined(frame, regions), gap, heat(difference)])
    small = cv2.resize(page, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    out = IMAGES / "line-seeing.jpg"
    cv2.imwrite(str(out), small[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
