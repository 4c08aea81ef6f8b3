"""Photos of the study: MNIST resized bilinearly to N, TrashNet letterboxed to N."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from studies.relu_placement.plan import Job
from torch import Tensor

import beltsight
from beltsight.dataset.idx import read_idx

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]

_MNIST_PX = 28
_VALIDATION_PHOTOS = 5000
# The subset and the validation photos are drawn once for all seeds, sizes and variants.
_DRAW_SEED = 20
_QUICK_PHOTOS = 300


@dataclass(frozen=True)
class Photos:
    """Photos with their classes.

    Args:
        pixels: uint8 (n, N, N, channels).
        labels: (n,) from 0.
    """

    pixels: Pixels
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: NDArray[np.int64] | slice) -> Photos:
        """The photos at these places."""
        return Photos(self.pixels[places], self.labels[places])

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """In their order: uint8 (B, N, N, channels) and labels (B,)."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield torch.from_numpy(self.pixels[part]), torch.from_numpy(self.labels[part])


@dataclass(frozen=True)
class Sets:
    """What a job learns from and is measured on.

    Args:
        train: learned from.
        validation: of the curves.
        test: looked at once; None where nothing is measured on test.
        classes: how many there are.
    """

    train: Photos
    validation: Photos
    test: Photos | None
    classes: int

    @property
    def channels(self) -> int:
        """Of a photo."""
        return int(self.train.pixels.shape[3])

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from: a checkpoint belongs to it."""
        content = hashlib.sha256(self.train.pixels.tobytes())
        content.update(self.train.labels.tobytes())
        return content.hexdigest()


@dataclass(frozen=True)
class Scaler:
    """Pixels to what the network takes: (pixels - shift) * factor.

    Args:
        shift: broadcasts with (B, channels, N, N).
        factor: likewise.
    """

    shift: Tensor
    factor: Tensor

    def __call__(self, pixels: Tensor) -> Tensor:
        """float32 (B, channels, N, N) of uint8 (B, N, N, channels)."""
        return (pixels.permute(0, 3, 1, 2).float() - self.shift) * self.factor


def make_scaler(train: Photos, inputs: str) -> Scaler:
    """The scaling that a recipe's ``inputs`` names, from the training photos.

    Example:
        >>> photos = Photos(np.full((2, 1, 1, 1), 51, np.uint8), np.zeros(2, np.int64))
        >>> scaled = make_scaler(photos, "unit")(torch.from_numpy(photos.pixels))
        >>> [round(value, 6) for value in scaled.flatten().tolist()]
        [0.2, 0.2]
    """
    channels = train.pixels.shape[3]
    if inputs == "unit":
        return Scaler(torch.zeros(1), torch.full((1,), 1 / 255))
    if inputs == "matconvnet":
        mean = train.pixels.mean(axis=0).astype(np.float32)
        return Scaler(torch.from_numpy(mean).permute(2, 0, 1), torch.ones(1))
    # Over counts of the 256 values: no float copy of all photos.
    counts = np.stack([np.bincount(train.pixels[..., c].ravel(), minlength=256)
                       for c in range(channels)])  # fmt: skip
    values = np.arange(256.0)
    mean = (counts @ values) / counts.sum(axis=1)
    deviation = np.sqrt((counts @ values**2) / counts.sum(axis=1) - mean**2)
    factor = 1 / np.maximum(deviation, 1e-6)
    shape = (channels, 1, 1)
    return Scaler(
        torch.from_numpy(mean).float().reshape(shape),
        torch.from_numpy(factor).float().reshape(shape),
    )


@lru_cache(maxsize=1)
def read_mnist(folder: Path) -> tuple[Photos, Photos]:
    """The training and the test file.

    Raises:
        DatasetError: a file is missing or damaged.
        SystemExit: the files are idx files, but not MNIST's.
    """
    found = []
    for part in ("train", "t10k"):
        images = read_idx(folder / f"{part}-images-idx3-ubyte")
        labels = read_idx(folder / f"{part}-labels-idx1-ubyte")
        right_form = images.dtype == np.uint8 and images.shape[1:] == (_MNIST_PX, _MNIST_PX)
        if not right_form or labels.shape != images.shape[:1]:
            raise SystemExit(
                f"{folder}: expected {part} photos of 28 x 28 bytes and a label for each, got "
                f"{images.dtype} {images.shape} and labels {labels.shape}"
            )
        if not len(labels) or labels.max() > 9:
            raise SystemExit(f"{folder}: expected {part} labels from 0 to 9")
        found.append(Photos(images[..., None], labels.astype(np.int64)))
    return found[0], found[1]


def resized(photos: Photos, size_px: int) -> Photos:
    """The photos, resized bilinearly to squares of ``size_px``."""
    if photos.pixels.shape[1] == size_px:
        return photos
    out = np.empty((len(photos), size_px, size_px, 1), np.uint8)
    for place, pixels in enumerate(photos.pixels):
        cv2.resize(pixels, (size_px, size_px), dst=out[place], interpolation=cv2.INTER_LINEAR)
    return Photos(out, photos.labels)


def mnist_sets(folder: Path, job: Job, *, quick: bool = False) -> Sets:
    """MNIST for a job; the subset is the same for all jobs of one count.

    Args:
        folder: of the four idx files.
        job: says what of it.
        quick: few photos to measure on, those of "test" from the training file, too.

    Raises:
        DatasetError: a file is missing or damaged.
        SystemExit: fewer photos than asked for.
    """
    known, unseen = read_mnist(folder)
    order = np.random.default_rng(_DRAW_SEED).permutation(len(known))
    held = min(_VALIDATION_PHOTOS, len(known) // 10)
    held_out, rest = order[:held], order[held:]
    count = job.photos or len(rest)
    if count > len(rest):
        raise SystemExit(
            f"{job.name}: asks for {count:,} training photos, but {folder} leaves {len(rest):,} "
            f"beside the {held:,} of validation"
        )
    validation, test = known.take(held_out), unseen
    if quick:  # a slice is no reason to look at test
        few = min(_QUICK_PHOTOS, held // 2)
        validation, test = validation.take(slice(few)), validation.take(slice(few, 2 * few))
    size = job.size_px
    measured = resized(test, size) if job.test else None
    return Sets(resized(known.take(rest[:count]), size), resized(validation, size), measured, 10)


@lru_cache(maxsize=4)
def trashnet_sets(folder: Path, size_px: int, few: int = 0) -> Sets:
    """TrashNet's training and validation split, each photo whole, with grey where it ends.

    Args:
        folder: of the data set.
        size_px: N.
        few: take so many of each split, spread over it; 0 takes all.

    Raises:
        BeltsightError: the data set or one of its photos cannot be read.
    """
    dataset = beltsight.load_dataset(folder)
    task = dataset.task("material")
    preparation = beltsight.Preparation(size_px, size_px)
    parts = []
    for split in ("train", "val"):
        samples = [s for s in dataset.select(split).samples if task.name in s.labels]
        samples = samples[:: max(1, len(samples) // few)][:few] if few else samples
        pixels = np.stack([beltsight.prepare(sample.path, preparation) for sample in samples])
        labels = [task.classes.index(sample.labels[task.name]) for sample in samples]
        parts.append(Photos(pixels, np.array(labels, np.int64)))
    return Sets(parts[0], parts[1], None, len(task.classes))


def load_sets(job: Job, folders: dict[str, Path], *, quick: bool = False) -> Sets:
    """The photos of a job.

    Args:
        job: says which.
        folders: of the data, by name.
        quick: fewer photos to measure on, none of them from test.

    Raises:
        SystemExit: the folder of the data is not known.
    """
    if job.data not in folders:
        raise SystemExit(f"{job.name}: no folder of {job.data}; set BELTSIGHT_DATA")
    folder = folders[job.data]
    if job.data == "mnist":
        return mnist_sets(folder, job, quick=quick)
    return trashnet_sets(folder, job.size_px, job.photos)
