from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import torch
from tests.train.tiny_settings import tiny

from beltsight.train.batches import AugmentedPhotos, EpochOrder, make_loader, view_batches
from beltsight.train.photos import PreparedPhotos


def batches(photos: PreparedPhotos, epoch: int = 0, **values: object) -> list[torch.Tensor]:
    loader, order = make_loader(photos, tiny(**values))
    order.epoch = epoch
    return [batch for batch, _ in loader]


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
        _, order = make_loader(skewed, tiny(balance="copies"))
        order.epoch = epoch
        for batch in order:
            counts += np.bincount([labels[index, 0] for _, index in batch], minlength=2)
    assert 0.45 < counts[1] / counts.sum() < 0.55


def test_views_come_in_turn(prepared: PreparedPhotos) -> None:
    order = EpochOrder(prepared, tiny(), views=3)
    seen = []
    for epoch in range(5):
        order.epoch = epoch
        seen.append({view for batch in order for view, _ in batch})
    assert seen == [{0}, {1}, {2}, {0}, {1}]


def test_a_view_is_the_same_in_every_epoch_that_uses_it(prepared: PreparedPhotos) -> None:
    loader, order = make_loader(prepared, tiny(), views=2)
    keys = [key for batch in order for key in batch][:20]
    found = torch.cat(list(view_batches(prepared, tiny(), keys, 8)))
    expected = torch.stack([loader.dataset[key][0] for key in keys])
    assert torch.equal(found, expected)


def test_workers_start_though_opencv_has_threads(prepared: PreparedPhotos) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        for _ in range(3):  # so that its threads are there when the workers are forked
            cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (9, 9), 2)
        assert len(batches(prepared, workers=2, augment="strong")) == 3
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_chosen_classes_are_augmented_more(prepared: PreparedPhotos) -> None:
    plain = AugmentedPhotos(prepared, tiny(augment="strong"), frozenset())
    some = AugmentedPhotos(prepared, tiny(augment="strong"), frozenset({"metal"}))
    differs = [
        not torch.equal(plain[0, index][0], some[0, index][0]) for index in range(len(prepared))
    ]
    metal = prepared.of_classes({"metal"})
    assert not np.array(differs)[~metal].any()
    assert np.array(differs)[metal].all()
