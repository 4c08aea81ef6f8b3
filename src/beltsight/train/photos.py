"""Prepared photos on disk, decoded once, and the batches made from them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from beltsight.card import content_hash
from beltsight.errors import DatasetError, DecodeError, ImageError, TrainError
from beltsight.image import Preparation, prepare, read_photo_bytes
from beltsight.records import Photo, Sample, TaskSpec
from beltsight.train.augment import make_augmentation
from beltsight.train.settings import TrainSettings

UNLABELLED = -1
_LISTED_ERRORS = 5
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class PreparedPhotos:
    """Photos as the network sees them, in a memory-mapped file.

    Args:
        file: raw uint8 (N, H, W, 3) RGB.
        shape: (N, H, W, 3).
        labels: int64 (N, tasks) class indices, ``UNLABELLED`` where unknown.
        samples: the photos, in the order of the file.
        hashes: SHA-256 of each photo's file, hexadecimal.
        unreadable: messages of photos left out.
    """

    file: Path
    shape: tuple[int, int, int, int]
    labels: NDArray[np.int64]
    samples: tuple[Sample, ...]
    hashes: tuple[str, ...]
    unreadable: tuple[str, ...]

    def pixels(self) -> NDArray[np.uint8]:
        """The photos, read from disk as they are touched."""
        return np.memmap(self.file, np.uint8, "r", shape=self.shape)

    def __len__(self) -> int:
        return self.shape[0]


def prepare_photos(
    samples: Sequence[Sample],
    tasks: Sequence[TaskSpec],
    preparation: Preparation,
    file: Path,
    *,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedPhotos:
    """Decode and prepare each photo once.

    Args:
        samples: photos with labels.
        tasks: gives the order of ``labels``' columns and of class indices.
        preparation: the model's.
        file: where the pixels go; replaced if there.
        skip_unreadable: leave out undecodable photos and list them.
        progress: told (done, total) after each photo.

    Raises:
        DatasetError: undecodable photos, or none left.
        TrainError: the disk is full.
    """
    readable: list[Sample] = []
    hashes: list[str] = []
    unreadable: list[str] = []
    try:
        with file.open("wb") as out:
            for done, (sample, result) in enumerate(_prepare_all(samples, preparation), 1):
                if isinstance(result, ImageError):
                    unreadable.append(str(result))
                else:
                    out.write(result[0].tobytes())
                    hashes.append(result[1])
                    readable.append(sample)
                progress(done, len(samples))
    except OSError as error:
        raise TrainError(
            f"{file}: prepared photos cannot be written ({error.strerror}); they need "
            f"{len(samples) * preparation.height * preparation.width * 3 / 1e6:.0f} MB"
        ) from error
    if unreadable and not (skip_unreadable and readable):
        raise DatasetError(_unreadable_message(unreadable, len(samples)))
    shape = (len(readable), preparation.height, preparation.width, 3)
    rows = [[_class_index(sample, task) for task in tasks] for sample in readable]
    labels = np.asarray(rows, np.int64).reshape(len(readable), len(tasks))
    return PreparedPhotos(file, shape, labels, tuple(readable), tuple(hashes), tuple(unreadable))


class AugmentedPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Photos of one epoch as (uint8 (H, W, 3), int64 (tasks,)).

    The augmentation of a photo depends on (seed, epoch, index) alone: not on the number of
    workers, nor on where a run was interrupted.
    """

    def __init__(self, photos: PreparedPhotos, settings: TrainSettings) -> None:
        self._photos = photos
        self._pixels: NDArray[np.uint8] | None = None
        self._augment = make_augmentation(settings.augment, settings.fill)
        self._seed = settings.seed
        self._labels = torch.from_numpy(photos.labels)

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        if self._pixels is None:  # opened in the worker that reads it
            self._pixels = self._photos.pixels()
        photo = torch.from_numpy(np.array(self._pixels[index]))
        if self._augment is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(_mix(self._seed, epoch, index))
                photo = self._augment(photo.permute(2, 0, 1)).permute(1, 2, 0).contiguous()
        return photo, self._labels[index]


class EpochOrder:
    """Batches of (epoch, index) keys; the order depends on (seed, epoch) alone."""

    def __init__(self, photos: PreparedPhotos, settings: TrainSettings) -> None:
        self.epoch = 0
        self._count = len(photos)
        self._batch_size = min(settings.batch_size, self._count)
        self._seed = settings.seed
        self._weights = _balancing_weights(photos.labels[:, 0], settings.sampling)

    def __len__(self) -> int:
        return max(1, self._count // self._batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(_mix(self._seed, self.epoch, -1))
        if self._weights is None:
            order = torch.randperm(self._count, generator=generator)
        else:
            order = torch.multinomial(self._weights, self._count, True, generator=generator)
        # The last, smaller batch is left out: batch-norm statistics of a few photos mislead.
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            chosen = order[start : start + self._batch_size].tolist()
            yield [(self.epoch, index) for index in chosen]


def make_loader(
    photos: PreparedPhotos, settings: TrainSettings
) -> tuple[DataLoader[tuple[Tensor, Tensor]], EpochOrder]:
    """The loader of augmented batches, and the order whose ``epoch`` is set before each pass."""
    order = EpochOrder(photos, settings)
    loader = DataLoader(
        AugmentedPhotos(photos, settings),
        batch_sampler=order,
        num_workers=settings.workers,
        # Workers stay for all epochs; keys carry the epoch, so they need no news of it.
        persistent_workers=settings.workers > 0,
        prefetch_factor=4 if settings.workers else None,
        # Its own, so that starting workers draws nothing from the generator of dropout.
        generator=torch.Generator(),
    )
    return loader, order


def fingerprint(parts: Iterable[PreparedPhotos]) -> str:
    """One digest of photos, labels and splits, whatever the folder is called."""
    lines = sorted(
        f"{digest} {sorted(sample.labels.items())} {sample.split}"
        for photos in parts
        for digest, sample in zip(photos.hashes, photos.samples, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _prepare_all(
    samples: Sequence[Sample], preparation: Preparation
) -> Iterator[tuple[Sample, tuple[Photo, str] | ImageError]]:
    with ThreadPoolExecutor(2) as pool:
        # In chunks: all at once would queue every photo, and go on when interrupted.
        for start in range(0, len(samples), _CHUNK):
            chunk = samples[start : start + _CHUNK]
            results = pool.map(lambda sample: _prepare_one(sample, preparation), chunk)
            yield from zip(chunk, results, strict=True)


def _prepare_one(sample: Sample, preparation: Preparation) -> tuple[Photo, str] | ImageError:
    try:
        content = read_photo_bytes(sample.path)
        return prepare(content, preparation), content_hash(content)
    except ImageError as error:
        return DecodeError(str(error).replace("image bytes", str(sample.path), 1))


def _class_index(sample: Sample, task: TaskSpec) -> int:
    label = sample.labels.get(task.name)
    return UNLABELLED if label is None else task.classes.index(label)


def _unreadable_message(unreadable: Sequence[str], total: int) -> str:
    shown = "; ".join(unreadable[:_LISTED_ERRORS])
    more = (
        f"; and {len(unreadable) - _LISTED_ERRORS} more" if len(unreadable) > _LISTED_ERRORS else ""
    )
    return (
        f"{len(unreadable)} of {total} photos cannot be read: {shown}{more}. List all with "
        "'beltsight check', or leave them out with skip_unreadable = true"
    )


def _balancing_weights(labels: NDArray[np.int64], sampling: str) -> Tensor | None:
    if sampling == "uniform":
        return None
    counts = np.bincount(labels[labels >= 0], minlength=1)
    weights = np.where(labels >= 0, 1.0 / np.maximum(counts, 1)[labels], 1.0 / len(labels))
    return torch.from_numpy(weights)


def _mix(*parts: int) -> int:
    """A 63-bit seed from several numbers; neighbours give unrelated seeds."""
    digest = hashlib.blake2b(",".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
