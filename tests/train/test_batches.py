from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from tests.train.tiny_settings import tiny

from beltsight.image import Preparation
from beltsight.records import Sample, TaskSpec
from beltsight.train.batches import (
    AugmentedPhotos,
    EpochOrder,
    augmentation_identity,
    make_loader,
    may_lie_over,
    view_batches,
)
from beltsight.train.photos import PreparedPhotos, prepare_photos


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


def two_colours(folder: Path, tasks: tuple[TaskSpec, ...]) -> PreparedPhotos:
    """Clean items are green, dirty ones magenta; every third has no level."""
    samples = []
    for number in range(24):
        level = ("clean", "heavily", "")[number % 3]
        photo = np.full((96, 96, 3), 225, np.uint8)
        colour = {"clean": (30, 160, 40), "heavily": (200, 20, 200), "": (200, 20, 200)}[level]
        cv2.ellipse(photo, (48, 48), (26, 18), 15 * number, 0, 360, colour, -1)
        cv2.imwrite(str(folder / f"{number}.png"), photo[:, :, ::-1])
        labels = {"material": ("glass", "metal")[number % 2]}
        labels |= {"contamination": level} if level else {}
        samples.append(Sample(folder / f"{number}.png", labels))
    return prepare_photos(samples, tasks, Preparation(96, 96), folder / "pixels")


def magenta_in_clean_views(photos: PreparedPhotos) -> int:
    """Views of green items that show a magenta one."""
    views = AugmentedPhotos(photos, tiny(augment="strong"), frozenset({"glass", "metal"}))
    shown = 0
    for index in range(0, 24, 3):
        for view in range(12):
            pixels = views[(view, index)][0].numpy().astype(int)
            excess = np.minimum(pixels[..., 0], pixels[..., 2]) - pixels[..., 1]
            shown += bool((excess > 40).sum() > 20)
    return shown


def test_no_dirty_item_is_laid_over_a_clean_one(tmp_path: Path) -> None:
    levels = TaskSpec("contamination", ("clean", "partly", "heavily"), True)
    material = TaskSpec("material", ("glass", "metal"))
    both = two_colours(tmp_path, (material, levels))
    assert may_lie_over(both).tolist() == [number % 3 == 0 for number in range(24)]
    assert magenta_in_clean_views(both) == 0
    one = two_colours(tmp_path, (material,))  # nobody learns levels: all may
    assert may_lie_over(one).all()
    assert magenta_in_clean_views(one) > 5


def test_synthesised_photos_give_no_item_where_levels_are_learned(tmp_path: Path) -> None:
    levels = TaskSpec("contamination", ("low", "high"), True)
    samples = [Sample(tmp_path / "x", {"contamination": each}) for each in ("low", "high")]
    photos = PreparedPhotos(
        tmp_path / "pixels", (3, 8, 8, 3), np.array([[0], [1], [-1]]), (levels.classes,),
        tuple(samples), ("a", "b"), (),
    )  # fmt: skip
    assert may_lie_over(photos).tolist() == [True, False, False]


def test_a_cache_knows_which_items_may_be_laid_over(tmp_path: Path) -> None:
    specs = (
        TaskSpec("material", ("glass", "metal")),
        TaskSpec("contamination", ("clean", "heavily")),
    )
    both, one = two_colours(tmp_path, specs), two_colours(tmp_path, specs[:1])
    identities = [augmentation_identity(each, tiny(), frozenset()) for each in (both, one)]
    assert identities[0] != identities[1]


def test_chosen_classes_are_augmented_more(prepared: PreparedPhotos) -> None:
    plain = AugmentedPhotos(prepared, tiny(augment="strong"), frozenset())
    some = AugmentedPhotos(prepared, tiny(augment="strong"), frozenset({"metal"}))
    differs = [
        not torch.equal(plain[0, index][0], some[0, index][0]) for index in range(len(prepared))
    ]
    metal = prepared.of_classes({"metal"})
    assert not np.array(differs)[~metal].any()
    assert np.array(differs)[metal].all()
