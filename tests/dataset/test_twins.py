from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.dataset.scenes import class_folders, jpeg, put, scene

from beltsight.dataset import load_dataset
from beltsight.dataset.twins import find_twins


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for number, split in enumerate(("train", "val", "test")):
        class_folders(tmp_path / split, {"glass": 4, "paper": 4}, first_seed=100 * number)
    return tmp_path


def test_no_twins(data: Path) -> None:
    assert find_twins(load_dataset(data), "test") == {}


def test_copies_and_near_copies_in_other_splits_are_found(data: Path) -> None:
    shutil.copyfile(data / "test/glass/000.jpg", data / "train/paper/copy.jpg")
    put(data / "val/paper/smaller.jpg", jpeg(scene(205, 96, 128)[::2, ::2].copy(), 60))
    # Within one split: doubled, but no leak.
    shutil.copyfile(data / "test/glass/002.jpg", data / "test/glass/again.jpg")
    # The twin of a copy is a twin.
    shutil.copyfile(data / "test/paper/001.jpg", data / "test/paper/again.jpg")
    dataset = load_dataset(data)
    assert find_twins(dataset, "test") == {
        "test/glass/000.jpg": "train/paper/copy.jpg",
        "test/paper/001.jpg": "val/paper/smaller.jpg",
        "test/paper/again.jpg": "val/paper/smaller.jpg",
    }
    assert find_twins(dataset, "train") == {"train/paper/copy.jpg": "test/glass/000.jpg"}


def test_a_photo_that_does_not_decode_has_its_exact_twin_alone(data: Path) -> None:
    put(data / "train/glass/x.jpg", b"no photo")
    put(data / "test/glass/x.jpg", b"no photo")
    put(data / "test/glass/y.jpg", b"no photo, too")
    assert find_twins(load_dataset(data), "test") == {"test/glass/x.jpg": "train/glass/x.jpg"}


def test_where_there_is_no_other_split_nobody_looks(data: Path, tmp_path: Path) -> None:
    dataset = load_dataset(data)
    assert find_twins(dataset, "all") is None
    assert find_twins(dataset.select("test"), "test") is None
    assert find_twins(load_dataset(data / "test"), "all") is None


def test_progress_counts_the_photos_of_all_splits(data: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    find_twins(load_dataset(data), "val", progress=lambda *call: calls.append(call))
    assert calls == [("Reading photos", 24, 24)]


def test_trashnets_test_split_has_ten_twins(trashnet: Path) -> None:
    twins = find_twins(load_dataset(trashnet), "test")
    assert twins is not None
    names = {Path(path).stem: Path(other).stem for path, other in twins.items()}
    assert len(names) == 10
    assert names["plastic152"] == "glass176"  # byte for byte
    assert names["metal394"] == "metal76"
