"""Draw the demo's photos from TrashNet's test split: six per class, by seed, never by answer.

    python studies/default_model/draw_demo_photos.py ../shared/data/trashnet

It copies the photos, as they are, to ``src/beltsight/assets/demo`` with a ``labels.csv``.
"""

from __future__ import annotations

import csv
import random
import shutil
import sys
from pathlib import Path

SEED = 2016
PER_CLASS = 6
DEMO = Path(__file__).resolve().parents[2] / "src" / "beltsight" / "assets" / "demo"


def draw(splits_csv: Path) -> list[tuple[str, str]]:
    """(file, material) of the drawn photos, class by class in sorted order."""
    with splits_csv.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    chance = random.Random(SEED)
    drawn = []
    for material in sorted({row["material"] for row in rows}):
        names = sorted(row["file"] for row in rows if row["material"] == material)
        drawn += [(name, material) for name in chance.sample(names, PER_CLASS)]
    return drawn


def main(trashnet: Path) -> None:
    drawn = draw(trashnet / "splits.csv")
    for name, _ in drawn:
        (DEMO / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trashnet / "images" / name, DEMO / name)
    with (DEMO / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "material", "split"))
        writer.writerows((name, material, "test") for name, material in sorted(drawn))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
