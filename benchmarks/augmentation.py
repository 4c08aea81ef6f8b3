"""Milliseconds to augment one prepared photo, by strength, beside torchvision's own transforms.

    python benchmarks/augmentation.py [--assert] [--out FILE]

One thread; CPU time, since the worker runs beside training. The peer draws from the same ranges as
``strong`` what torchvision has of it: no shadow, noise, warp or items.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.outcome import DEMO, Check, conditions, finish, options

import beltsight
from beltsight.train.augment import STRENGTHS, make_augmentation, more
from beltsight.train.changes import item_of

DRAWS = 400
WARM_UP = 20
SIDE_PX = 256
LIMITS_MS = {"strong": 3.5}
PEER = "torchvision, as strong"


def prepared_photos() -> list[Tensor]:
    preparation = beltsight.Preparation(SIDE_PX, SIDE_PX)
    paths = sorted(DEMO.glob("*/*.jpg"))
    return [torch.from_numpy(beltsight.prepare(p, preparation)).permute(2, 0, 1) for p in paths]


def torchvision_strong() -> Callable[[Tensor], Tensor]:
    steps: list[torch.nn.Module] = [
        v2.RandomHorizontalFlip(),
        v2.RandomVerticalFlip(),
        v2.RandomAffine(
            degrees=180, translate=(0.08, 0.08), scale=(0.75, 1.25), shear=10,
            interpolation=InterpolationMode.BILINEAR, fill=[128.0] * 3,
        ),
        v2.ColorJitter(0.35, 0.35, 0.35, 0.03),
        v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=0.15),
        v2.RandomErasing(p=0.25, scale=(0.02, 0.12), value=[128] * 3),
    ]  # fmt: skip
    composed: Callable[[Tensor], Tensor] = v2.Compose(steps)
    return composed


def augmentations(photos: list[Tensor]) -> dict[str, Callable[[Tensor], Tensor]]:
    items = [item_of(photo.permute(1, 2, 0).numpy(), (128, 128, 128)) for photo in photos]

    def other() -> Any:
        return items[int(torch.randint(len(items), ()))]

    strengths = {**STRENGTHS, "more(strong)": more(STRENGTHS["strong"])}
    made = {name: make_augmentation(one, (128, 128, 128), other) for name, one in strengths.items()}
    return {**{k: v for k, v in made.items() if v is not None}, PEER: torchvision_strong()}


def time_draws(photos: list[Tensor]) -> dict[str, list[float]]:
    """Milliseconds of each draw; taken in turns, so that the machine's moods meet all alike."""
    augments = augmentations(photos)
    spent: dict[str, list[float]] = {name: [] for name in augments}
    for draw in range(WARM_UP + DRAWS):
        for name, augment in augments.items():
            torch.manual_seed(draw)
            start = time.thread_time()
            augment(photos[draw % len(photos)])
            spent[name].append(1e3 * (time.thread_time() - start))
    return {name: times[WARM_UP:] for name, times in spent.items()}


def summary(times: list[float]) -> dict[str, float]:
    deciles = statistics.quantiles(times, n=10)
    figures = {
        "ms_median": statistics.median(times),
        "ms_mean": statistics.fmean(times),
        "ms_p10": deciles[0],
        "ms_p90": deciles[-1],
    }
    return {name: round(value, 2) for name, value in figures.items()}


def main() -> None:
    given = options(__doc__).parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    machine = conditions(given)
    rows = {name: summary(times) for name, times in time_draws(prepared_photos()).items()}
    for name, row in rows.items():
        spread = f"{row['ms_p10']:.2f} to {row['ms_p90']:.2f}, mean {row['ms_mean']:.2f}"
        print(f"{name:24} {row['ms_median']:6.2f} ms  ({spread})")
    ratio = rows[PEER]["ms_median"] / rows["strong"]["ms_median"]
    print(f"torchvision's transforms take {ratio:.1f} times as long as strong")
    record = {
        "draws": DRAWS,
        "photo": f"{SIDE_PX} x {SIDE_PX}",
        "time": "CPU time of one thread; median, mean, 10th and 90th percentile",
        "machine": machine,
        "times": rows,
        "torchvision_to_strong": round(ratio, 2),
    }
    checks = [
        Check(f"{name}, ms", rows[name]["ms_median"], most=limit)
        for name, limit in LIMITS_MS.items()
    ]
    finish(record, checks, given)


if __name__ == "__main__":
    main()
