"""Draws the contact sheets of ``augmentation.md`` from the packaged photos.

Run: ``python docs/augmentation_sheets.py``; one row a photo, as prepared on the left, eight draws.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import beltsight
from beltsight.train.augment import STRENGTHS, Strength, make_augmentation, more
from beltsight.train.changes import item_of

IMAGES = Path(__file__).with_name("images")
DEMO = Path(beltsight.__file__).parent / "assets" / "demo"
SHOWN = ("glass/glass329", "metal/metal33", "paper/paper319", "plastic/plastic126")
DRAWS = 8
SIDE_PX = 224
SHOWN_PX = 128
GAP_PX = 6
PREPARATION = beltsight.Preparation(SIDE_PX, SIDE_PX)


def prepared(path: Path) -> Tensor:
    """A photo as training holds it: uint8 (3, H, W)."""
    return torch.from_numpy(beltsight.prepare(path, PREPARATION)).permute(2, 0, 1)


def sheet(strength: Strength) -> Image.Image:
    """Photos down, draws across; every draw has a seed of its own."""
    photos = [beltsight.prepare(path, PREPARATION) for path in sorted(DEMO.glob("*/*.jpg"))]
    items = [item_of(photo, PREPARATION.fill) for photo in photos]
    augment = make_augmentation(
        strength, PREPARATION.fill, lambda: items[int(torch.randint(len(items), ()))]
    )
    assert augment is not None
    step = SHOWN_PX + GAP_PX
    width = SHOWN_PX + 3 * GAP_PX + DRAWS * step - GAP_PX
    page = Image.new("RGB", (width, len(SHOWN) * step - GAP_PX), "white")
    for row, name in enumerate(SHOWN):
        photo = prepared(DEMO / f"{name}.jpg")
        page.paste(thumbnail(photo), (0, row * step))
        for column in range(DRAWS):
            torch.manual_seed(100 * row + column + 40)
            left = SHOWN_PX + 3 * GAP_PX + column * step
            page.paste(thumbnail(augment(photo)), (left, row * step))
    return page


def thumbnail(picture: Tensor) -> Image.Image:
    """A picture as it is shown on the page."""
    pixels = np.ascontiguousarray(picture.permute(1, 2, 0).numpy())
    return Image.fromarray(pixels).resize((SHOWN_PX, SHOWN_PX), Image.Resampling.LANCZOS)


def main() -> None:
    """Write ``images/augment-NAME.jpg`` for each strength."""
    strengths = {**STRENGTHS, "more": more(STRENGTHS["strong"])}
    for name, strength in strengths.items():
        sheet(strength).save(IMAGES / f"augment-{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
