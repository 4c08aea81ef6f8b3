"""What is said of the data before anything is learned from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.train.photosets import write_photoset
from tests.train.tiny_settings import tiny

from beltsight import Dataset, load_dataset
from beltsight.train.loop import Event
from beltsight.train.run import run_training


def doubts(dataset: Dataset, out: Path) -> list[str]:
    """All that a run says before its first step."""
    said: list[str] = []

    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(dataset, out, tiny(), doubting=said.append, watch=stop)
    return said


def test_photos_that_take_no_part_are_counted(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    samples = list(dataset.samples)
    for index in (0, 1, 30, 60):
        samples[index] = replace(samples[index], split=None)
    for index in (5, 6):
        samples[index] = replace(samples[index], labels={})
    samples[7] = replace(samples[7], split="test", labels={})  # which no test would use, either
    assert doubts(replace(dataset, samples=tuple(samples)), tmp_path / "x") == [
        "4 of 72 photos have no split and take no part",
        "2 of 72 photos have no label of material and take no part",
    ]


def test_where_no_photo_has_a_split_all_take_part(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    samples = tuple(replace(sample, split=None) for sample in dataset.samples)
    assert doubts(replace(dataset, samples=samples), tmp_path / "x") == []


@pytest.mark.parametrize(
    ("copies", "groups", "said"),
    [
        (2, 0, "2 of 18 validation photos are training photos, byte for byte"),
        (0, 1, "1 group has photos in training and in validation"),
        (
            1,
            2,
            "1 of 18 validation photos are training photos, byte for byte, and 2 groups have "
            "photos in training and in validation",
        ),
    ],
)
def test_what_stands_in_training_and_in_validation_is_said(
    copies: int, groups: int, said: str, tmp_path: Path
) -> None:
    dataset = load_dataset(write_photoset(tmp_path / "data"))
    train, val = (list(dataset.select(split).samples) for split in ("train", "val"))
    for index in range(copies):
        val[index].path.write_bytes(train[index].path.read_bytes())
    for index in range(groups):
        train[index] = replace(train[index], group=f"item-{index}")
        val[index] = replace(val[index], group=f"item-{index}")
    train[-1] = replace(train[-1], group="item-of-train-alone")
    found = doubts(replace(dataset, samples=(*train, *val)), tmp_path / "x")
    assert found == [f"{said}: the figures flatter the model; see 'beltsight check'"]
