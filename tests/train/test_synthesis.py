"""Synthesised photos: of the right class and number, with bars like real ones, the same again."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.scene.drawn import draw_scene

from beltsight.errors import DatasetError
from beltsight.image import Preparation, prepare
from beltsight.scene import find_foreground
from beltsight.train.synthesis import Variation, synthesize

FILL = (128, 128, 128)
Photos = NDArray[np.uint8]
Labels = NDArray[np.int64]


@pytest.fixture(scope="module")
def drawn() -> tuple[Photos, Labels]:
    """Six photos of class 0 and ten of class 1, landscape, with bars above and below."""
    photos = [prepare(draw_scene(seed).photo, Preparation(128, 128, FILL)) for seed in range(16)]
    return np.stack(photos), np.array([0] * 6 + [1] * 10)


def test_as_many_as_wanted_of_each_class_in_order(drawn: tuple[Photos, Labels]) -> None:
    made = list(synthesize(*drawn, {1: 2, 0: 7}, seed=1, fill=FILL))
    assert [label for _, label in made] == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert all(photo.shape == (128, 128, 3) and photo.dtype == np.uint8 for photo, _ in made)
    assert len({photo.tobytes() for photo, _ in made}) == 9


def test_bars_are_those_of_real_photos(drawn: tuple[Photos, Labels]) -> None:
    for photo, _ in synthesize(*drawn, {0: 6}, seed=2, fill=FILL):
        assert (photo[:16] == FILL).all()
        assert (photo[112:] == FILL).all()
        inner = photo[16:112].astype(int)
        assert (inner != FILL).any(axis=2).mean() > 0.999


def test_the_same_seed_gives_the_same_photos_and_another_gives_others(
    drawn: tuple[Photos, Labels],
) -> None:
    first, again, other = (
        [photo for photo, _ in synthesize(*drawn, {0: 4}, seed=seed, fill=FILL)]
        for seed in (5, 5, 6)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_fewer_wanted_are_the_first_of_more(drawn: tuple[Photos, Labels]) -> None:
    few = [photo for photo, _ in synthesize(*drawn, {0: 2}, seed=5, fill=FILL)]
    many = [photo for photo, _ in synthesize(*drawn, {0: 5}, seed=5, fill=FILL)]
    assert np.array_equal(few, many[:2])


def test_the_item_is_whole_in_view_and_of_about_its_size(drawn: tuple[Photos, Labels]) -> None:
    shares = [find_foreground(photo[16:112]).share for photo in drawn[0][:6]]
    for photo, _ in synthesize(*drawn, {0: 12}, seed=3, fill=FILL):
        found = find_foreground(photo[16:112])
        solid = found.solid
        assert min(shares) * 0.5 < found.share < max(shares) * 1.8
        frame = (solid[0], solid[-1], solid[:, 0], solid[:, -1])
        assert not any(side.any() for side in frame)


def test_without_variation_an_item_keeps_its_colours(drawn: tuple[Photos, Labels]) -> None:
    """The reds of class 0's items are there again, whatever ground they lie on."""
    still = Variation(scale=(1, 1), exposure_ev=0, gradient_ev=0, warmth_mired=0, match=0)
    red = np.zeros((1, 128, 128, 3), np.uint8)
    red[:] = (225, 222, 216)
    red[0] = np.clip(red[0] + np.random.default_rng(0).normal(0, 2, red[0].shape), 0, 255)
    red[0, 40:90, 50:80] = (200, 30, 40)
    photos = np.concatenate([red, drawn[0][6:]])
    labels = np.array([0] + [1] * 10)
    for photo, _ in synthesize(photos, labels, {0: 4}, seed=1, fill=FILL, variation=still):
        is_red = np.abs(photo.astype(int) - (200, 30, 40)).max(axis=2) < 12
        assert is_red.sum() == pytest.approx(50 * 30, rel=0.12)


def test_it_is_lazy_and_reads_memory_mapped_photos(
    drawn: tuple[Photos, Labels], tmp_path: Path
) -> None:
    file = tmp_path / "photos"
    drawn[0].tofile(file)
    mapped = np.memmap(file, np.uint8, "r", shape=drawn[0].shape)
    endless = synthesize(mapped, drawn[1], {0: 10**9}, seed=5, fill=FILL)
    few = [photo for photo, _ in islice(endless, 2)]
    listed = [photo for photo, _ in synthesize(*drawn, {0: 2}, seed=5, fill=FILL)]
    assert np.array_equal(few, listed)


def test_a_class_without_any_usable_item_says_so(drawn: tuple[Photos, Labels]) -> None:
    flat = np.full((3, 128, 128, 3), 200, np.uint8)
    photos = np.concatenate([drawn[0], flat])
    labels = np.concatenate([drawn[1], [2, 2, 2]])
    made = synthesize(photos, labels, {2: 1}, seed=0, fill=FILL)
    with pytest.raises(DatasetError, match=r"class 2: none of its 3 photos.*copies"):
        next(made)


def test_an_item_that_the_frame_cuts_is_not_used(drawn: tuple[Photos, Labels]) -> None:
    cut = np.clip(np.random.default_rng(0).normal(220, 2, (1, 128, 128, 3)), 0, 255)
    cut[0, 40:128, 40:90] = (160, 30, 40)
    photos = np.concatenate([drawn[0], cut.astype(np.uint8)])
    labels = np.concatenate([drawn[1], [2]])
    with pytest.raises(DatasetError, match="cut by the frame"):
        next(synthesize(photos, labels, {2: 1}, seed=0, fill=FILL))


def test_a_photo_of_a_strip_lends_neither_item_nor_ground(drawn: tuple[Photos, Labels]) -> None:
    strip = prepare(np.full((30, 1000, 3), 90, np.uint8), Preparation(128, 128, FILL))
    photos = np.concatenate([np.repeat(strip[None], 16, axis=0), drawn[0]])
    labels = np.concatenate([np.repeat([0, 1, 2, 2], 4), drawn[1]])
    for photo, _ in synthesize(photos, labels, {0: 3}, seed=1, fill=FILL):
        assert (photo[16:112].astype(int) != FILL).any(axis=2).mean() > 0.999
    with pytest.raises(DatasetError, match=r"class 2: none of its 8 photos.*too small"):
        next(synthesize(photos, labels, {2: 1}, seed=1, fill=FILL))


def test_what_does_not_fit_is_refused_at_once(drawn: tuple[Photos, Labels]) -> None:
    photos, labels = drawn
    with pytest.raises(DatasetError, match=r"uint8 \(N, H, W, 3\), got float64"):
        synthesize(photos.astype(float), labels, {0: 1}, seed=0, fill=FILL)
    with pytest.raises(DatasetError, match="one class index for each of 16 photos"):
        synthesize(photos, labels[:-1], {0: 1}, seed=0, fill=FILL)
    with pytest.raises(DatasetError, match="class 7 has no photo"):
        synthesize(photos, labels, {7: 1}, seed=0, fill=FILL)
    with pytest.raises(DatasetError, match="class 0: the number of photos to make is -1"):
        synthesize(photos, labels, {0: -1}, seed=0, fill=FILL)
    assert list(synthesize(photos, labels, {7: 0}, seed=0, fill=FILL)) == []


def sharpness(photos: Photos) -> float:
    return float(
        np.median(
            [
                cv2.Laplacian(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std()
                for photo in photos
            ]
        )
    )


def test_real_trash_gives_photos_that_are_like_real_ones(trashnet: Path) -> None:
    with (trashnet / "splits.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    trash = sorted(row["file"] for row in rows if row["material"] == "trash")[:24]
    others = sorted(row["file"] for row in rows if row["material"] != "trash")[::60]
    photos = np.stack([prepare(trashnet / "images" / name) for name in (*trash, *others)])
    labels = np.array([1] * len(trash) + [0] * len(others))
    made = np.stack([photo for photo, _ in synthesize(photos, labels, {1: 16}, seed=0, fill=FILL)])
    real = photos[: len(trash)]
    assert ((made[:, :28] == FILL).all(), (made[:, 196:] == FILL).all()) == (True, True)
    inner, real_inner = made[:, 28:196], real[:, 28:196]
    assert inner.mean() == pytest.approx(real_inner.mean(), abs=35)  # brighter grounds, too
    assert sharpness(inner) == pytest.approx(sharpness(real_inner), rel=0.4)
    assert np.mean([find_foreground(photo).confidence > 0.5 for photo in inner]) > 0.8
