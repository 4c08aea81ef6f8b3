from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.train.tiny_settings import tiny

from beltsight import load_dataset, prepare
from beltsight.errors import DatasetError, TrainError
from beltsight.records import Sample
from beltsight.train import photos
from beltsight.train.photos import (
    PreparedPhotos,
    fingerprint,
    pixels_digest,
    prepare_photos,
)


def test_training_sees_what_prepare_gives(photoset: Path, prepared: PreparedPhotos) -> None:
    samples = load_dataset(photoset).select("train").samples
    pixels = prepared.pixels()
    for index in (0, 17, 53):
        expected = prepare(samples[index].path, tiny().preparation)
        np.testing.assert_array_equal(pixels[index], expected)


def test_labels_are_class_indices(photoset: Path, prepared: PreparedPhotos) -> None:
    dataset = load_dataset(photoset).select("train")
    names = [dataset.tasks[0].classes[i] for i in prepared.labels[:, 0]]
    assert names == [sample.labels["material"] for sample in dataset.samples]


def test_fingerprint_changes_with_a_label_not_with_the_order(prepared: PreparedPhotos) -> None:
    base = fingerprint([prepared])
    samples, hashes = prepared.samples, prepared.hashes
    turned = replace(prepared, samples=samples[::-1], hashes=hashes[::-1])
    assert fingerprint([turned]) == base
    for index in (0, 53):
        other = replace(samples[index], labels={"material": "other"})
        changed = (*samples[:index], other, *samples[index + 1 :])
        assert fingerprint([replace(prepared, samples=changed)]) != base


def test_the_digest_of_pixels_sees_each_of_them(prepared: PreparedPhotos) -> None:
    base = pixels_digest([prepared])
    content = bytearray(prepared.file.read_bytes())
    content[-1] ^= 1
    prepared.file.write_bytes(content)
    assert pixels_digest([prepared]) != base


def test_photos_of_classes(prepared: PreparedPhotos) -> None:
    found = prepared.of_classes({"metal", "no such"})
    names = [sample.labels["material"] for sample in prepared.samples]
    assert found.tolist() == [name == "metal" for name in names] and found.any()


def test_a_photo_left_out_shifts_nothing(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset).select("train")
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"no photo")
    samples = (Sample(damaged, {"material": "glass"}), *dataset.samples[:4])
    photos = prepare_photos(
        samples, dataset.tasks, tiny().preparation, tmp_path / "x.pixels", skip_unreadable=True
    )
    assert photos.samples == dataset.samples[:4] and len(photos.hashes) == len(photos) == 4
    assert len(photos.unreadable) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_pipe_among_the_photos_does_not_block(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    os.mkfifo(tmp_path / "pipe.jpg")
    samples = (Sample(tmp_path / "pipe.jpg", {"material": "glass"}), *dataset.samples[:1])
    with pytest.raises(DatasetError, match=r"pipe\.jpg"):
        prepare_photos(samples, dataset.tasks, tiny().preparation, tmp_path / "x.pixels")


def test_an_interruption_stops_at_once(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "usable_cores", lambda: 2)
    dataset = load_dataset(photoset)
    asked = []

    class Counting(Sequence[Sample]):
        def __len__(self) -> int:
            return 10_000

        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            return dataset.samples[0]

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_photos(
            Counting(), dataset.tasks, tiny().preparation, tmp_path / "x.pixels", progress=stop
        )
    assert 0 < len(asked) <= 10


def test_a_folder_that_cannot_be_written_is_said(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    with pytest.raises(TrainError, match="prepared photos cannot be written"):
        prepare_photos(
            dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "no" / "x.pixels"
        )
