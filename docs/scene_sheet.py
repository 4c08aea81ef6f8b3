"""Draws the pictures of docs/scene.md, and measures its table.

$ python docs/scene_sheet.py                    # the pictures, from the packaged demo photos
$ python docs/scene_sheet.py ../shared/data/trashnet   # the table, from 204 training photos
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from beltsight.config import ASSETS
from beltsight.image import Preparation, decode, prepare
from beltsight.records import Photo
from beltsight.scene import Foreground, find_foreground, inner_box
from beltsight.train.synthesis import synthesize

IMAGES = Path(__file__).parent / "images"
FILL = (128, 128, 128)
PER_CLASS = 34
BESIDE = (40, 44, 120)


def shown(photo: Photo, found: Foreground) -> Photo:
    """The photo with its ground veiled."""
    alpha = found.mask[:, :, None]
    veiled = 0.3 * photo + 0.7 * np.array(BESIDE)
    page = np.asarray(alpha * photo + (1 - alpha) * veiled, np.uint8)
    place, face = (6, 18), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(page, f"{found.confidence:.2f}", place, face, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return page


def sheet(tiles: list[Photo], columns: int, gap: int = 3) -> Photo:
    """Tiles of one size in rows on white."""
    height, width = tiles[0].shape[:2]
    rows = -(-len(tiles) // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        page[top : top + height, left : left + width] = tile
    return page


def write(page: Photo, name: str) -> None:
    _, jpeg = cv2.imencode(".jpg", page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    (IMAGES / name).write_bytes(jpeg.tobytes())


def draw() -> None:
    paths = sorted((ASSETS / "demo").glob("*/*.jpg"))
    names = sorted({path.parent.name for path in paths})
    preparation = Preparation(224, 224, FILL)
    photos = np.stack([prepare(path, preparation) for path in paths])
    labels = np.array([names.index(path.parent.name) for path in paths])
    x0, y0, x1, y1 = inner_box(photos[0], FILL)
    inner = np.ascontiguousarray(photos[:, y0:y1, x0:x1])
    pairs = [
        tile
        for name in names
        for index in np.flatnonzero(labels == names.index(name))[:2]
        for tile in (inner[index], shown(inner[index], find_foreground(inner[index])))
    ]
    write(sheet(pairs, 4), "scene-masks.jpg")
    trash = names.index("trash")
    made = [photo for photo, _ in synthesize(photos, labels, {trash: 8}, seed=5, fill=FILL)]
    real = [inner[index] for index in np.flatnonzero(labels == trash)[:4]]
    write(sheet(real + [photo[y0:y1, x0:x1] for photo in made], 4), "scene-synthesis.jpg")


def plausible(found: Foreground) -> bool:
    """3 to 95 % of the photo, and not at all four borders."""
    solid = found.solid
    at_all = all(side.any() for side in (solid[0], solid[-1], solid[:, 0], solid[:, -1]))
    return 0.03 <= found.share <= 0.95 and not at_all


def measure(root: Path, seed: int = 77) -> None:
    cv2.setNumThreads(1)
    with (root / "splits.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    tiles: list[Photo] = []
    for material in sorted({row["material"] for row in rows}):
        files = sorted(row["file"] for row in rows if row["material"] == material)
        np.random.default_rng(seed).shuffle(files)
        photos = [decode(root / "images" / name) for name in files[:PER_CLASS]]
        found, times = [], []
        for photo in photos:
            start = time.thread_time()
            found.append(find_foreground(photo))
            times.append(time.thread_time() - start)
        good = np.mean([plausible(one) for one in found])
        trusted = np.mean([plausible(one) and one.confidence > 0.5 for one in found])
        print(
            f"| {material} | {good:.0%} | {trusted:.0%} | {1e3 * float(np.median(times)):.0f} ms |"
        )
        for photo, one in zip(photos, found, strict=True):
            seen = np.asarray(cv2.resize(photo, (160, 120), interpolation=cv2.INTER_AREA), np.uint8)
            mask = np.asarray(cv2.resize(one.mask, (160, 120)), np.float32)
            tiles.append(np.hstack([seen, shown(seen, Foreground(mask, one.confidence))]))
    if len(sys.argv) > 2:  # every mask, to be judged by eye
        cv2.imwrite(sys.argv[2], sheet(tiles, 6)[:, :, ::-1])


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        draw()
