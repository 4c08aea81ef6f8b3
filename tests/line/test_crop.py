from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tiny import write_tiny

import beltsight
from beltsight.errors import ImageError
from beltsight.image import letterbox_box
from beltsight.line.crop import crop_item
from beltsight.line.segment import Region


def frame() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Each pixel tells its own place."""
    y, x = np.mgrid[0:200, 0:250]
    return np.stack([x, y, x * 0], axis=2).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "aspect", "expected"),
    [
        ((50, 60, 90, 80), 0.0, None, (50, 60, 90, 80)),
        ((50, 60, 90, 80), 0.25, None, (40, 50, 100, 90)),
        ((50, 60, 90, 80), 0.0, 1.0, (50, 50, 90, 90)),
        ((50, 60, 70, 100), 0.0, 2.0, (20, 60, 100, 100)),
        ((0, 0, 40, 20), 0.5, None, (0, 0, 60, 40)),  # the frame ends
        ((-30, 190, 40, 260), 0.0, None, (0, 190, 40, 200)),
    ],
)
def test_what_is_cut_out_by_hand(
    box: tuple[int, int, int, int],
    margin: float,
    aspect: float | None,
    expected: tuple[int, int, int, int],
) -> None:
    image = frame()
    x0, y0, x1, y1 = expected
    cropped = crop_item(image, box, margin, aspect)
    assert (cropped == image[y0:y1, x0:x1]).all()
    assert cropped.shape == (y1 - y0, x1 - x0, 3)


def test_the_crop_is_a_copy_in_one_piece() -> None:
    image = frame()
    cropped = crop_item(image, (10, 10, 50, 50), 0.1)
    before = cropped.copy()
    image[:] = 0
    assert (cropped == before).all()
    assert cropped.flags.c_contiguous
    assert cropped.flags.writeable


def test_a_region_is_cut_by_its_box() -> None:
    mask = np.ones((20, 40), bool)
    region = Region((50, 60, 90, 80), 800, (70, 70), mask, False, frozenset(), 1.0, 9.0)
    image = frame()
    assert (crop_item(image, region, 0.2) == crop_item(image, (50, 60, 90, 80), 0.2)).all()


def test_the_model_prepares_a_crop_like_any_photo(tmp_path: Path) -> None:
    model = beltsight.load(write_tiny(tmp_path / "tiny.onnx"))
    image = np.full((200, 250, 3), 30, np.uint8)
    image[60:80, 50:90] = (220, 40, 40)
    cropped = crop_item(image, (50, 60, 90, 80), 0.0)
    prepared = model.prepare(cropped)
    x0, y0, x1, y1 = letterbox_box(20, 40, model.card.image_preparation)
    assert (prepared[y0:y1, x0:x1] == (220, 40, 40)).all()  # nothing of the item is lost
    assert model.predict(cropped)[0].tasks["material"].label == "red"


@pytest.mark.parametrize(
    ("box", "margin", "aspect", "says"),
    [
        ((300, 10, 320, 20), 0.0, None, "nothing of the box"),
        ((20, 20, 20, 40), 0.0, None, "nothing of the box"),
        ((20, 20, 40, 40), -0.1, None, "margin"),
        ((20, 20, 40, 40), float("nan"), None, "margin"),
        ((20, 20, 40, 40), 0.0, 0.0, "aspect"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    box: tuple[int, int, int, int], margin: float, aspect: float | None, says: str
) -> None:
    with pytest.raises(ImageError, match=says):
        crop_item(frame(), box, margin, aspect)
