from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.train.tiny_settings import tiny

from beltsight import load_dataset, prepare
from beltsight.errors import DatasetError, TrainError
from beltsight.records import Sample
from beltsight.train.photos import PreparedPhotos, fingerprint, make_loader, prepare_photos


@pytest.fixture
def prepared(photoset: Path, tmp_path: Path) -> PreparedPhotos:
    dataset = load_dataset(photoset).select("train")
    return prepare_photos(
        dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "train.pixels"
    )


def batches(photos: PreparedPhotos, epoch: int = 0, **values: object) -> list[torch.Tensor]:
    loader, order = make_loader(photos, tiny(**values))
    order.epoch = epoch
    return [batch for batch, _ in loader]


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


def test_augmentation_depends_on_seed_epoch_and_photo_alone(prepared: PreparedPhotos) -> None:
    first, again = batches(prepared), batches(prepared)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    parallel = batches(prepared, workers=2)
    assert all(torch.equal(a, b) for a, b in zip(first, parallel, strict=True))
    assert not torch.equal(first[0], batches(prepared, epoch=1)[0])
    assert not torch.equal(first[0], batches(prepared, seed=5)[0])


def test_augmenting_leaves_the_global_generator_alone(prepared: PreparedPhotos) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    loader, _ = make_loader(prepared, tiny())
    torch.manual_seed(3)
    _ = loader.dataset[(0, 1)]
    assert torch.equal(torch.rand(4), expected)


def test_an_epoch_draws_each_photo_at_most_once(prepared: PreparedPhotos) -> None:
    _, order = make_loader(prepared, tiny())
    keys = [key for batch in order for key in batch]
    assert len(keys) == len(set(keys)) == 48  # 54 photos, batches of 16
    assert len(order) == 3


def test_balanced_sampling_draws_classes_equally_often(prepared: PreparedPhotos) -> None:
    labels = prepared.labels.copy()
    labels[:, 0] = (np.arange(54) >= 50).astype(np.int64)  # 50 to 4
    skewed = replace(prepared, labels=labels)
    counts = np.zeros(2)
    for epoch in range(60):
        _, order = make_loader(skewed, tiny(sampling="balanced"))
        order.epoch = epoch
        for batch in order:
            counts += np.bincount([labels[index, 0] for _, index in batch], minlength=2)
    assert 0.45 < counts[1] / counts.sum() < 0.55


def test_fingerprint_changes_with_a_label_not_with_the_order(prepared: PreparedPhotos) -> None:
    base = fingerprint([prepared])
    samples, hashes = prepared.samples, prepared.hashes
    turned = replace(prepared, samples=samples[::-1], hashes=hashes[::-1])
    assert fingerprint([turned]) == base
    for index in (0, 53):
        other = replace(samples[index], labels={"material": "other"})
        changed = (*samples[:index], other, *samples[index + 1 :])
        assert fingerprint([replace(prepared, samples=changed)]) != base


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


def test_an_interruption_stops_at_once(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    asked = []

    class Counting(Sequence[Sample]):
        def __len__(self) -> int:
            return 10_000

        def __getitem__(self, index: Any) -> Any:
            asked.append(index)
            count = index.stop - index.start
            return [dataset.samples[0]] * count

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_photos(
            Counting(), dataset.tasks, tiny().preparation, tmp_path / "x.pixels", progress=stop
        )
    assert len(asked) == 1


def test_a_folder_that_cannot_be_written_is_said(photoset: Path, tmp_path: Path) -> None:
    dataset = load_dataset(photoset)
    with pytest.raises(TrainError, match="prepared photos cannot be written"):
        prepare_photos(
            dataset.samples, dataset.tasks, tiny().preparation, tmp_path / "no" / "x.pixels"
        )
