"""Prepared photos on disk, decoded once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from beltsight.card import content_hash
from beltsight.errors import DatasetError, DecodeError, ImageError, TrainError
from beltsight.flow import ordered_map
from beltsight.image import Preparation, decode, prepare, read_photo_bytes
from beltsight.machine import usable_cores
from beltsight.records import Photo, Sample, TaskSpec

R = TypeVar("R")
UNLABELLED = -1
_LISTED_ERRORS = 5
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PreparedPhotos:
    """Photos as the network sees them, in a memory-mapped file.

    Args:
        file: raw uint8 (N, H, W, 3) RGB.
        shape: (N, H, W, 3).
        labels: int64 (N, tasks) class indices, ``UNLABELLED`` where unknown.
        classes: per task the names that the indices stand for.
        samples: the photos, in the order of the file; synthesised ones follow them.
        hashes: SHA-256 of each photo's file, hexadecimal.
        unreadable: messages of photos left out.
        masks: raw uint8 (samples, H, W): 0 where nobody knows, else 1 (clean) to 255 (dirty); None
            where no mask was asked for. Synthesised photos have none.
    """

    file: Path
    shape: tuple[int, int, int, int]
    labels: NDArray[np.int64]
    classes: tuple[tuple[str, ...], ...]
    samples: tuple[Sample, ...]
    hashes: tuple[str, ...]
    unreadable: tuple[str, ...]
    masks: Path | None = None

    def pixels(self) -> NDArray[np.uint8]:
        """The photos, read from disk as they are touched."""
        return np.memmap(self.file, np.uint8, "r", shape=self.shape)

    def known_masks(self) -> NDArray[np.uint8] | None:
        """The masks, read from disk as they are touched."""
        if self.masks is None:
            return None
        shape = (len(self.samples), *self.shape[1:3])
        return np.memmap(self.masks, np.uint8, "r", shape=shape)

    def of_classes(self, names: Collection[str]) -> NDArray[np.bool_]:
        """(N,) whether a photo has one of these labels in any task."""
        found = np.zeros(len(self), np.bool_)
        for column, classes in enumerate(self.classes):
            indices = [index for index, name in enumerate(classes) if name in names]
            found |= np.isin(self.labels[:, column], indices)
        return found

    def __len__(self) -> int:
        return self.shape[0]


def prepare_photos(
    samples: Sequence[Sample],
    tasks: Sequence[TaskSpec],
    preparation: Preparation,
    file: Path,
    *,
    skip_unreadable: bool = False,
    masks: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedPhotos:
    """Decode and prepare each photo once.

    Args:
        samples: photos with labels.
        tasks: gives the order of ``labels``' columns and of class indices.
        preparation: the model's.
        file: where the pixels go; replaced if there.
        skip_unreadable: leave out undecodable photos and list them.
        masks: prepare the samples' masks, too, into a file beside.
        progress: told (done, total) after each photo, and after each mask, which count as many
            as the photos.

    Raises:
        DatasetError: undecodable photos, none left, or a mask that is none of its photo.
        TrainError: the disk is full.
    """
    readable: list[Sample] = []
    hashes: list[str] = []
    unreadable: list[str] = []
    total = len(samples) * (2 if masks else 1)
    try:
        with file.open("wb") as out:
            results = _prepare_all(_prepare_one, samples, preparation)
            for done, (sample, result) in enumerate(results, 1):
                if isinstance(result, ImageError):
                    unreadable.append(str(result))
                else:
                    out.write(result[0].tobytes())
                    hashes.append(result[1])
                    readable.append(sample)
                progress(done, total)
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
    classes = tuple(task.classes for task in tasks)
    prepared = PreparedPhotos(
        file, shape, labels, classes, tuple(readable), tuple(hashes), tuple(unreadable)
    )
    return _with_masks(prepared, preparation, total, progress) if masks else prepared


def fingerprint(parts: Iterable[PreparedPhotos]) -> str:
    """One digest of photos, labels and splits, whatever the folder is called."""
    lines = sorted(
        f"{digest} {sorted(sample.labels.items())} {sample.split}"
        for photos in parts
        for digest, sample in zip(photos.hashes, photos.samples, strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def pixels_digest(parts: Iterable[PreparedPhotos]) -> str:
    """SHA-256 of the prepared pixels in their order."""
    return _files_digest(photos.file for photos in parts)


def masks_digest(photos: PreparedPhotos) -> str:
    """SHA-256 of the prepared masks in their order; empty where there are none."""
    return "" if photos.masks is None else _files_digest([photos.masks])


def _files_digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def _prepare_all(
    function: Callable[[Sample, Preparation], R],
    samples: Sequence[Sample],
    preparation: Preparation,
) -> Iterator[tuple[Sample, R]]:
    cores = usable_cores()
    results = ordered_map(lambda each: function(each, preparation), samples, cores, 2 * cores)
    with closing(results):
        yield from zip(samples, results, strict=True)


def _prepare_one(sample: Sample, preparation: Preparation) -> tuple[Photo, str] | ImageError:
    try:
        content = read_photo_bytes(sample.path)
        return prepare(content, preparation), content_hash(content)
    except ImageError as error:
        return DecodeError(str(error).replace("image bytes", str(sample.path), 1))


def _with_masks(
    photos: PreparedPhotos,
    preparation: Preparation,
    total: int,
    progress: Callable[[int, int], None],
) -> PreparedPhotos:
    file = photos.file.with_name(f"{photos.file.name}.masks")
    first = total - len(photos.samples) + 1  # photos left out have no mask to wait for
    try:
        with file.open("wb") as out:
            masks = _prepare_all(_prepare_mask, photos.samples, preparation)
            for done, (_, mask) in enumerate(masks, first):
                out.write(mask.tobytes())
                progress(done, total)
    except OSError as error:
        raise TrainError(f"{file}: masks cannot be written ({error.strerror})") from error
    return replace(photos, masks=file)


def _prepare_mask(sample: Sample, preparation: Preparation) -> NDArray[np.uint8]:
    """uint8 (H, W): 0 where nobody knows, else 1 (clean) to 255 (dirty)."""
    if sample.mask is None:
        return np.zeros((preparation.height, preparation.width), np.uint8)
    try:
        mask, photo = decode(sample.mask), decode(sample.path)
    except ImageError as error:
        raise DatasetError(f"mask of {sample.path}: {error}") from error
    if mask.shape != photo.shape:
        raise DatasetError(
            f"{sample.mask}: {mask.shape[1]} x {mask.shape[0]} pixels, but its photo has "
            f"{photo.shape[1]} x {photo.shape[0]}; a mask has its photo's size"
        )
    # What the letterbox adds is no dirt.
    dirt = prepare(mask, replace(preparation, fill=(0, 0, 0)))[:, :, 0]
    return np.maximum(dirt, 1)


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
