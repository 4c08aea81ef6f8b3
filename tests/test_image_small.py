from __future__ import annotations

from pathlib import Path

import numpy as np

from beltsight.config import ASSETS
from beltsight.image import decode
from beltsight.image_small import decode_at_most, shrink
from beltsight.jpeg import encode_jpeg

PHOTO: Path = ASSETS / "demo" / "glass" / "glass155.jpg"


def test_a_photo_that_is_small_enough_comes_back_as_it_is() -> None:
    photo = np.zeros((30, 40, 3), np.uint8)
    assert shrink(photo, 40) is photo and shrink(photo, 4000) is photo


def test_a_block_becomes_its_mean() -> None:
    photo = np.zeros((4, 8, 3), np.uint8)
    photo[:2, :2] = [[[40, 0, 0], [80, 0, 0]], [[120, 0, 0], [160, 0, 0]]]
    small = shrink(photo, 4)
    assert small.shape == (2, 4, 3) and small[0, 0].tolist() == [100, 0, 0]


def test_a_sliver_keeps_a_pixel() -> None:
    assert shrink(np.zeros((5000, 1, 3), np.uint8), 100).shape == (100, 1, 3)


def test_a_file_is_decoded_no_larger_than_asked_for() -> None:
    whole = decode(PHOTO)
    assert max(whole.shape) > 100
    small = decode_at_most(PHOTO, 100)
    assert max(small.shape) == 100
    difference = np.abs(small.astype(int) - shrink(whole, 100).astype(int))
    assert difference.mean() < 2


def test_the_smallest_jpeg_shows_the_same() -> None:
    photo = decode(PHOTO)
    plain, smallest = encode_jpeg(photo, 84), encode_jpeg(photo, 84, smallest=True)
    assert len(smallest) < len(plain)
    assert np.array_equal(decode(plain), decode(smallest))
