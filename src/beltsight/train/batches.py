"""Batches of augmented views, the same whatever works beside and wherever a run was stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import beltsight
from beltsight.records import CONTAMINATION
from beltsight.scene import LEVELS, CutOut
from beltsight.train.augment import STRENGTHS, Augmentation, make_augmentation, more
from beltsight.train.balance import draw_weights
from beltsight.train.changes import item_of
from beltsight.train.photos import PreparedPhotos
from beltsight.train.settings import TrainSettings

Key = tuple[int, int]
_PREFETCHED = 4
_ITEMS = 128
_LOWEST_PRIORITY = 19


class AugmentedPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Views of photos as (uint8 (H, W, 3), int64 (tasks,)), by (view, index).

    Where the photos have masks, a view has its mask as fourth channel.

    A view of a photo depends on (seed, view, index) alone: not on the number of workers, nor on
    where a run was interrupted.

    Args:
        photos: prepared.
        settings: give strength and seed.
        augmented_more: classes whose photos are augmented more.
    """

    def __init__(
        self, photos: PreparedPhotos, settings: TrainSettings, augmented_more: frozenset[str]
    ) -> None:
        self._photos = photos
        self._pixels: NDArray[np.uint8] | None = None
        self._masks: NDArray[np.uint8] | None = None
        self._seed = settings.seed
        self._fill = settings.fill
        self._items: dict[int, CutOut | None] = {}
        self._others = np.flatnonzero(may_lie_over(photos))
        self._labels = torch.from_numpy(photos.labels)
        self._more = photos.of_classes(augmented_more)
        self._augment: Augmentation | None = None
        self._augment_more: Augmentation | None = None
        if settings.augment != "none":
            strength = STRENGTHS[settings.augment]
            self._augment = make_augmentation(strength, settings.fill, self._other)
            self._augment_more = make_augmentation(more(strength), settings.fill, self._other)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        view, index = key
        photo = self._with_mask(index, self._photo(index))
        augment = self._augment_more if self._more[index] else self._augment
        if augment is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_mix(self._seed, view, index))
                photo = augment(photo)
        return photo.permute(1, 2, 0).contiguous(), self._labels[index]

    def _photo(self, index: int) -> Tensor:
        if self._pixels is None:  # opened in the worker that reads it
            self._pixels = self._photos.pixels()
        return torch.from_numpy(np.array(self._pixels[index])).permute(2, 0, 1)

    def _with_mask(self, index: int, photo: Tensor) -> Tensor:
        if self._photos.masks is None:
            return photo
        if self._masks is None:
            self._masks = self._photos.known_masks()
        mask = torch.zeros_like(photo[:1])
        if self._masks is not None and index < len(self._masks):
            mask = torch.from_numpy(np.array(self._masks[index]))[None]
        return torch.cat([photo, mask])

    def _other(self) -> CutOut | None:
        """The item of one of a few photos of the data set, so that most are cut out already."""
        count = min(len(self._others), _ITEMS)
        if not count:
            return None
        number = int(torch.randint(count, ()))
        if number not in self._items:
            photo = self._photo(int(self._others[number * len(self._others) // count]))
            self._items[number] = item_of(photo.permute(1, 2, 0).numpy(), self._fill)
        return self._items[number]


class EpochOrder:
    """Batches of (view, index) keys; the order depends on (seed, epoch) alone.

    Args:
        photos: what is drawn from.
        settings: give batch size, seed and balance.
        views: views used in turn; 0 for a new one in every epoch.
    """

    def __init__(self, photos: PreparedPhotos, settings: TrainSettings, views: int = 0) -> None:
        self.epoch = 0
        self._views = views
        # Synthesised photos take the place of copies: an epoch stays as long as it was.
        self._count = len(photos.samples)
        self._batch_size = min(settings.batch_size, self._count)
        self._seed = settings.seed
        self._weights = draw_weights(photos.labels[:, 0], settings.balance)

    def __len__(self) -> int:
        return max(1, self._count // self._batch_size)

    def __iter__(self) -> Iterator[list[Key]]:
        view = self.epoch % self._views if self._views else self.epoch
        generator = torch.Generator().manual_seed(_mix(self._seed, self.epoch, -1))
        if self._weights is None:
            order = torch.randperm(self._count, generator=generator)
        else:
            order = torch.multinomial(self._weights, self._count, True, generator=generator)
        # The last, smaller batch is left out: batch-norm statistics of a few photos mislead.
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            chosen = order[start : start + self._batch_size].tolist()
            yield [(view, index) for index in chosen]


class Loader:
    """Batches made by worker processes; a new pass begins with each iteration.

    Args:
        dataset: gives views by key.
        batches: of keys.
        workers: processes; 0 works in this one.
        stays: workers stay for further passes. Keys carry the view, so they need no news of it.
    """

    def __init__(
        self, dataset: AugmentedPhotos, batches: Any, workers: int, *, stays: bool = True
    ) -> None:
        self.dataset = dataset
        self._loader = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            persistent_workers=stays and workers > 0,
            prefetch_factor=_PREFETCHED if workers else None,
            worker_init_fn=_give_way,
            # Its own, so that starting workers draws nothing from the generator of dropout.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        # A forked worker has OpenCV's settings but not its threads, and would wait for them.
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            batches = iter(self._loader)
        finally:
            cv2.setNumThreads(threads)
        yield from batches


def make_loader(
    photos: PreparedPhotos,
    settings: TrainSettings,
    *,
    views: int = 0,
    augmented_more: frozenset[str] = frozenset(),
) -> tuple[Loader, EpochOrder]:
    """The loader of augmented batches, and the order whose ``epoch`` is set before each pass."""
    order = EpochOrder(photos, settings, views)
    dataset = AugmentedPhotos(photos, settings, augmented_more)
    return Loader(dataset, order, settings.workers), order


def view_batches(
    photos: PreparedPhotos,
    settings: TrainSettings,
    keys: Sequence[Key],
    batch_size: int,
    *,
    augmented_more: frozenset[str] = frozenset(),
) -> Iterator[Tensor]:
    """Views of these keys in their order, as batches uint8 (N, H, W, 3)."""
    batches = [keys[start : start + batch_size] for start in range(0, len(keys), batch_size)]
    dataset = AugmentedPhotos(photos, settings, augmented_more)
    for views, _ in Loader(dataset, batches, settings.workers, stays=False):
        yield views[..., :3]


def may_lie_over(photos: PreparedPhotos) -> NDArray[np.bool_]:
    """(N,) whether a photo's item may be laid over others.

    Where levels of contamination are learned, only clean items: a dirty one would show dirt in a
    photo that is labelled clean. Of a synthesised photo nobody says how dirty it is.
    """
    levels = [sample.labels.get(CONTAMINATION) for sample in photos.samples]
    known = set(levels) - {None}
    classes = next((each for each in photos.classes if known and known <= set(each)), None)
    if classes is None:
        return np.ones(len(photos), np.bool_)
    lowest = LEVELS[0] if LEVELS[0] in classes else classes[0]
    clean = np.zeros(len(photos), np.bool_)
    clean[: len(levels)] = [level == lowest for level in levels]
    return clean


def augmentation_identity(
    photos: PreparedPhotos, settings: TrainSettings, augmented_more: frozenset[str]
) -> list[Any]:
    """All that a view depends on beside the pixels."""
    versions = (beltsight.__version__, torch.__version__, torchvision.__version__, cv2.__version__)
    parts: list[Any] = [
        settings.augment,
        settings.fill,
        settings.seed,
        sorted(augmented_more),
        versions,
    ]
    by_label = np.stack([photos.of_classes(augmented_more), may_lie_over(photos)])
    if augmented_more or not by_label[1].all():
        parts.append(hashlib.sha256(by_label.tobytes()).hexdigest())
    return parts


def _give_way(worker: int) -> None:
    # Learning takes all cores in step; a worker that takes one of them holds up the others. So
    # workers work while learning waits for them, all at once.
    if hasattr(os, "nice"):
        os.nice(_LOWEST_PRIORITY)


def _mix(*parts: int) -> int:
    """A 63-bit seed from several numbers; neighbours give unrelated seeds."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
