"""The simulated belt: seconds to draw a metre, milliseconds to give a frame, to write one as video.

    python benchmarks/belt.py [--assert] [--out FILE] [--data FOLDER] [--metres N] [--frames N]

One core. The scene of all figures of the line: 2.5 m/s, 1280 x 720 pixels of 1000 x 560 mm, 20
items a second, from the packaged photos or those of a data set. A frame is given as the line gets
it: sliced, lit, with noise. The peer is the same frame made without the strip: read and decoded
from a JPEG file of it, as from a folder of recorded frames.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import Check, conditions, finish, keep_to_cores, options, print_rows

import beltsight
from beltsight.bench import encode_jpeg
from beltsight.line.simulate import (
    ItemLook,
    Panel,
    Scene,
    Simulation,
    SimulationSettings,
    Video,
    simulate,
)
from beltsight.line.view import View

VIEW = View(width_px=1280, height_px=720, width_mm=1000, height_mm=560)
MOST_FRAME_MS = 2.0
WARM_UP = 20


def draw(given: Any) -> tuple[Simulation, dict[str, float]]:
    """The belt, and seconds by stage."""
    settings = SimulationSettings(length_m=given.metres, items=ItemLook(rate_per_s=given.rate))
    samples = beltsight.load_dataset(given.data).samples if given.data else None
    stages: dict[str, float] = {}
    last = start = time.perf_counter()

    def progress(what: str, _share: float) -> None:
        nonlocal last
        now = time.perf_counter()
        stages[what] = stages.get(what, 0.0) + now - last
        last = now

    sim = simulate(settings, VIEW, samples, progress=progress)
    whole = time.perf_counter() - start
    metres = sim.belt.strip.turn_mm / 1000
    stages["lens and motion blur"] = whole - sum(stages.values())
    return sim, {
        "seconds": whole,
        "metres": metres,
        "seconds_per_metre": whole / metres,
        "megabytes": sim.belt.strip.picture.nbytes / 1e6,
        **{f"{name}_s": value for name, value in stages.items()},
    }


def timed(work: Callable[[int], object], count: int) -> dict[str, float]:
    """Milliseconds of each call."""
    spent = []
    for number in range(WARM_UP + count):
        start = time.perf_counter()
        work(number)
        spent.append(1e3 * (time.perf_counter() - start))
    found = np.percentile(spent[WARM_UP:], [10, 50, 90, 99])
    levels = zip((10, 50, 90, 99), found, strict=True)
    return {f"ms_p{level}": round(float(at), 3) for level, at in levels}


def frame_times(sim: Simulation, frames: int) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "frame.jpg"
        frame = sim.belt.picture(2.0, 0)
        file.write_bytes(encode_jpeg(frame))
        times = {
            "slice": timed(lambda n: sim.belt.strip.cut(2000 + 83.3 * n), frames),
            "frame": timed(lambda _: sim.camera.read(1.0), frames),
            "JPEG file": timed(lambda _: cv2.imread(str(file)), frames // 4),
        }
        scene = Scene(frame, [], Panel({"glass": 1}, {"items": "1"}))
        for codec, suffix in (("mp4v", "mp4"), ("vp09", "mp4"), ("MJPG", "avi")):
            try:
                with Video(Path(folder) / f"{codec}.{suffix}", codec=codec) as video:
                    times[f"video, {codec}"] = timed(lambda _: video.add(scene), frames // 20)
            except beltsight.BeltsightError as error:
                print(f"video, {codec}: {error}")
    return times


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, help="a data set; default: the packaged photos")
    parser.add_argument("--metres", type=float, default=100.0)
    parser.add_argument("--rate", type=float, default=20.0, help="items a second")
    parser.add_argument("--frames", type=int, default=600)
    given = parser.parse_args()
    keep_to_cores(1)
    cv2.setNumThreads(1)
    machine = conditions(given)
    sim, drawn = draw(given)
    size = f"{drawn['metres']:.0f} m of belt with {len(sim.belt.truth)} items"
    print(f"{size}: {drawn['seconds']:.1f} s, {drawn['megabytes']:.0f} MB", flush=True)
    print(sim.belt.stock_told, flush=True)
    times = frame_times(sim, given.frames)
    print_rows(
        ("ms", "p10", "p50", "p90", "p99"),
        [(name, *(f"{value:.2f}" for value in row.values())) for name, row in times.items()],
    )
    record = {
        "what": "simulated belt, 1280 x 720, one core",
        "machine": machine,
        "photos": sim.belt.stock_told,
        "items": len(sim.belt.truth),
        "drawn": {name: round(value, 4) for name, value in drawn.items()},
        "times": times,
    }
    checks = [Check("a frame, ms (median)", times["frame"]["ms_p50"], most=MOST_FRAME_MS)]
    finish(record, checks, given)


if __name__ == "__main__":
    main()
