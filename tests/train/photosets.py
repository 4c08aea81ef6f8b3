"""Small data sets that are made in a moment: coloured shapes that a tiny network can learn."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from beltsight.records import Photo

COLOURS = {"glass": (40, 160, 90), "metal": (120, 120, 200), "paper": (220, 200, 60)}
LEVELS = ("clean", "partly", "heavily")
TINY: dict[str, Any] = {
    "backbone": "test_resnet",
    "weights": "random",
    "image_size": 64,
    "batch_size": 16,
    "workers": 0,
    "threads": 1,
    "augment": "light",
    "ema_decay": 0.8,
    "precision": "float32",
}


def make_photo(colour: tuple[int, int, int], rng: np.random.Generator) -> Photo:
    """A filled rectangle of about that colour on a noisy bright ground; uint8 (48, 64, 3) RGB."""
    photo = rng.integers(200, 240, (48, 64, 3)).astype(np.uint8)
    shade = np.clip(np.array(colour) + rng.integers(-25, 25, 3), 0, 255)
    x, y = int(rng.integers(8, 24)), int(rng.integers(6, 16))
    cv2.rectangle(photo, (x, y), (x + 28, y + 24), [int(v) for v in shade], -1)
    return photo


def write_photoset(
    root: Path, per_class: int = 24, *, seed: int = 0, contamination: bool = False
) -> Path:
    """A data set with ``splits.csv``: per class 3/4 train and 1/4 val photos.

    With ``contamination`` every second photo also has a level, shown by dark dots.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for material, colour in COLOURS.items():
        for index in range(per_class):
            photo = make_photo(colour, rng)
            level = LEVELS[index % 3] if contamination and index % 5 != 2 else ""
            for _ in range(12 * LEVELS.index(level) if level else 0):
                spot = (int(rng.integers(10, 50)), int(rng.integers(8, 40)))
                cv2.circle(photo, spot, 2, (30, 20, 10), -1)
            path = root / "images" / material / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), photo[:, :, ::-1])
            split = "val" if index % 4 == 3 else "train"
            rows.append([f"{material}/{index}.png", material, level, split])
    with (root / "splits.csv").open("w", newline="", encoding="utf-8") as file:
        columns = ["file", "material", "contamination", "split"]
        writer = csv.writer(file)
        writer.writerow(columns if contamination else [columns[0], columns[1], columns[3]])
        writer.writerows(rows if contamination else [[a, b, d] for a, b, _, d in rows])
    return root
