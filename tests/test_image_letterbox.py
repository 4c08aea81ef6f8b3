"""Letterboxing: nothing of the photo is cropped, nor its proportions changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beltsight.errors import ConfigError
from beltsight.image import Preparation, is_photo_path, letterbox_box, prepare

SIZES = st.integers(1, 3000)
TARGETS = st.integers(8, 600)


@given(SIZES, SIZES, TARGETS, TARGETS)
def test_letterbox_geometry(height: int, width: int, rows: int, columns: int) -> None:
    x0, y0, x1, y1 = letterbox_box(height, width, Preparation(rows, columns))
    assert 0 <= x0 < x1 <= columns
    assert 0 <= y0 < y1 <= rows
    # One side is filled, and the other is within half a pixel of the true proportion.
    assert x1 - x0 == columns or y1 - y0 == rows
    scale = min(rows / height, columns / width)
    assert abs((x1 - x0) - max(1, width * scale)) <= 0.5 + 1e-9
    assert abs((y1 - y0) - max(1, height * scale)) <= 0.5 + 1e-9
    # Centred to a pixel.
    assert abs(x0 - (columns - x1)) <= 1
    assert abs(y0 - (rows - y1)) <= 1


@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 120), st.integers(8, 120))
def test_letterbox_crops_nothing_and_fills_the_rest(
    height: int, width: int, rows: int, columns: int
) -> None:
    preparation = Preparation(rows, columns, fill=(1, 2, 3))
    x0, y0, x1, y1 = letterbox_box(height, width, preparation)
    plain = prepare(np.full((height, width, 3), 200, np.uint8), preparation)
    assert plain.shape == (rows, columns, 3)
    outside = np.ones((rows, columns), bool)
    outside[y0:y1, x0:x1] = False
    assert (plain[~outside] == 200).all()
    assert (plain[outside] == (1, 2, 3)).all()
    # An item that touches an edge of the photo is still seen at the edge of the box.
    for edge, seen in (
        (np.s_[:, :1], np.s_[y0:y1, x0]),
        (np.s_[:, -1:], np.s_[y0:y1, x1 - 1]),
        (np.s_[:1], np.s_[y0, x0:x1]),
        (np.s_[-1:], np.s_[y1 - 1, x0:x1]),
    ):
        photo = np.zeros((height, width, 3), np.uint8)
        photo[edge] = 255
        smallest = 255 * min(1.0, (y1 - y0) / height, (x1 - x0) / width)
        assert prepare(photo, preparation)[seen].mean() >= smallest / 2 - 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 65_535), (65_535, 1), (1, 2), (3, 20_000)])
def test_extreme_shapes_are_prepared(shape: tuple[int, int]) -> None:
    got = prepare(np.full((*shape, 3), 9, np.uint8))
    x0, y0, x1, y1 = letterbox_box(*shape, Preparation())
    assert (got[y0:y1, x0:x1] == 9).all()


def test_shrinking_averages_over_areas() -> None:
    """A fine chequerboard becomes grey, not a moire: each output pixel is the mean of its area."""
    board = np.indices((896, 896)).sum(axis=0) % 2 * 255
    photo = board.astype(np.uint8)[:, :, None].repeat(3, axis=2)
    assert np.abs(prepare(photo).astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    "wrong",
    [{"height": 7}, {"width": 5000}, {"fill": (0, 0)}, {"fill": (0, 0, 256)}, {"fill": (-1, 0, 0)}],
)
def test_a_preparation_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="must be"):
        Preparation(**wrong)


def test_photo_names() -> None:
    assert all(is_photo_path(Path(name)) for name in ("a.jpg", "A.JPEG", "b.TIFF", "c.webp"))
    assert not any(is_photo_path(Path(name)) for name in ("a.csv", "jpg", ".jpg.txt", "a.svg"))
