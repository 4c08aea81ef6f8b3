"""Draws the pictures of docs/dirt.md from training photos, and measures its table.

$ python docs/dirt_sheet.py ../shared/data/trashnet
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.image import decode
from beltsight.records import Floats, Photo
from beltsight.scene import KINDS, find_foreground, load_dirt_settings, soil, vary_photo
from beltsight.scene.dirt_settings import Harmless

IMAGES = Path(__file__).parent / "images"
SHARES = (0.03, 0.10, 0.25, 0.50, 0.80)
TILE = (216, 162)
# Training photos of all materials whose masks are good by eye.
FILES = (
    "paper/paper191.jpg", "metal/metal116.jpg", "cardboard/cardboard201.jpg",
    "plastic/plastic120.jpg", "glass/glass407.jpg", "metal/metal233.jpg",
    "plastic/plastic91.jpg", "paper/paper65.jpg", "glass/glass498.jpg", "trash/trash50.jpg",
    "cardboard/cardboard179.jpg", "plastic/plastic288.jpg", "metal/metal96.jpg",
    "paper/paper24.jpg", "trash/trash72.jpg", "metal/metal397.jpg", "plastic/plastic441.jpg",
)  # fmt: skip


def read(root: Path) -> list[tuple[Photo, Floats]]:
    """The photos with their masks."""
    with (root / "splits.csv").open(encoding="utf-8") as file:
        split = {row["file"]: row["split"] for row in csv.DictReader(file)}
    wrong = [name for name in FILES if split.get(name) != "train"]
    if wrong:
        sys.exit(f"not training photos: {wrong}")
    photos = [decode(root / "images" / name) for name in FILES]
    return [(photo, find_foreground(photo).mask) for photo in photos]


def tile(photo: Photo, mask: Floats, text: str = "") -> Photo:
    """The item with a little ground, in one size."""
    rows, columns = (np.flatnonzero((mask > 0.5).any(axis=axis)) for axis in (1, 0))
    height, width = mask.shape
    tall = max(rows[-1] - rows[0], (columns[-1] - columns[0]) * TILE[1] / TILE[0]) * 1.12
    tall = int(min(tall, height, width * TILE[1] / TILE[0]))
    wide = int(tall * TILE[0] / TILE[1])
    top = int(np.clip((rows[0] + rows[-1] - tall) // 2, 0, height - tall))
    left = int(np.clip((columns[0] + columns[-1] - wide) // 2, 0, width - wide))
    part = photo[top : top + tall, left : left + wide]
    page = np.asarray(cv2.resize(part, TILE, interpolation=cv2.INTER_AREA), np.uint8)
    for number, line in enumerate(text.split("\n") if text else []):
        place = (4, 13 + 13 * number)
        (wide, _), _ = cv2.getTextSize(line, 0, 0.38, 1)
        cv2.rectangle(page, (0, place[1] - 12), (wide + 8, place[1] + 4), (255, 255, 255), -1)
        cv2.putText(page, line, place, 0, 0.38, (20, 20, 20), 1, cv2.LINE_AA)
    return page


def sheet(tiles: list[Photo], columns: int, gap: int = 3) -> Photo:
    """Tiles in rows on white."""
    height, width = TILE[1], TILE[0]
    rows = -(-len(tiles) // columns)
    page = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for place, one in enumerate(tiles):
        top, left = (place // columns) * (height + gap), (place % columns) * (width + gap)
        page[top : top + height, left : left + width] = one
    return page


def write(page: NDArray[np.uint8], name: str, quality: int = 80) -> None:
    _, jpeg = cv2.imencode(".jpg", page[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    (IMAGES / name).write_bytes(jpeg.tobytes())
    print(f"{name}: {len(jpeg) / 1000:.0f} kB")


def kinds_sheet(items: list[tuple[Photo, Floats]], seed: int) -> Photo:
    """Rows: kinds; columns: shares."""
    tiles = []
    for row, kind in enumerate(KINDS):
        for column, share in enumerate(SHARES):
            photo, mask = items[(4 * row + column) % len(items)]
            soiled = soil(photo, mask, kind, share, seed + 100 * row + column)
            tiles.append(tile(soiled.photo, mask, f"{kind} {soiled.share:.0%}"))
    return sheet(tiles, len(SHARES))


def harmless_sheet(items: list[tuple[Photo, Floats]], seed: int) -> Photo:
    """Clean items, each with one kind of harmless thing."""
    settings = load_dirt_settings()
    tiles = []
    for number, name in enumerate(2 * list(Harmless.model_fields)):
        photo, mask = items[(3 * number) % len(items)]
        only = settings.model_copy(update={"harmless": Harmless.model_validate({name: 1.0})})
        made = vary_photo(photo, mask, seed + number, share=0, settings=only)
        tiles.append(tile(made.photo, mask, name))
    return sheet(tiles, 5)


def recipe_sheet(items: list[tuple[Photo, Floats]], seed: int) -> Photo:
    """Photos as the recipe draws them."""
    tiles = []
    for number in range(20):
        photo, mask = items[(7 * number) % len(items)]
        made = vary_photo(photo, mask, seed + number)
        dirt = " ".join(f"{kind} {share:.0%}" for kind, share in made.kinds.items())
        label = made.labels.get("dirt", "no label")
        text = f"{made.labels['contamination']} / {label}" + (f"\n{dirt}" if dirt else "")
        tiles.append(tile(made.photo, mask, text))
    return sheet(tiles, 5)


def measure(items: list[tuple[Photo, Floats]]) -> None:
    """Time per call and visible change, by kind."""
    for kind in KINDS:
        times, changes = [], []
        for number, (photo, mask) in enumerate(items):
            for share in SHARES:
                start = time.thread_time()
                soiled = soil(photo, mask, kind, share, number)
                times.append(1e3 * (time.thread_time() - start))
                moved = np.abs(soiled.photo.astype(float) - photo)[soiled.mask]
                changes.append(float(moved.mean()))
        low, middle = np.quantile(changes, [0.05, 0.5])
        print(f"| {kind} | {np.median(times):.0f} ms | {low:.0f} | {middle:.0f} |")
    times = []
    for number in range(60):
        photo, mask = items[number % len(items)]
        start = time.thread_time()
        vary_photo(photo, mask, number)
        times.append(1e3 * (time.thread_time() - start))
    print(f"| the whole recipe | {np.median(times):.0f} ms | | |")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/dirt_sheet.py DATA, the folder of TrashNet")
    cv2.setNumThreads(1)
    items = read(Path(sys.argv[1]))
    write(kinds_sheet(items, 23), "dirt.jpg")
    write(harmless_sheet(items, 11), "dirt-harmless.jpg")
    write(recipe_sheet(items, 40), "dirt-recipe.jpg")
    measure(items)


if __name__ == "__main__":
    main()
