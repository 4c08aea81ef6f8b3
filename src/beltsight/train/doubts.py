"""What to know before believing a run's figures, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from beltsight.calibrate import temperature_doubt
from beltsight.card import Card
from beltsight.dataset import Dataset
from beltsight.records import Sample, TaskSpec
from beltsight.train.photos import PreparedPhotos


def empty_classes(
    tasks: Sequence[TaskSpec], samples: tuple[Sequence[Sample], Sequence[Sample]]
) -> list[str]:
    """The classes that training or validation photos lack."""
    said = []
    for task in tasks:
        for split, part in zip(("training", "validation"), samples, strict=True):
            seen = {sample.labels.get(task.name) for sample in part}
            if empty := [label for label in task.classes if label not in seen]:
                said.append(
                    f"no {split} photo of {task.name} {', '.join(empty)}: nothing is "
                    f"{'learned' if split == 'training' else 'known'} of it"
                )
    return said


def left_out(dataset: Dataset, tasks: Sequence[TaskSpec]) -> list[str]:
    """How many photos take no part, though nobody set them aside as a test.

    Args:
        dataset: as it was given, before a validation split was made of it.
        tasks: what is learned.
    """
    names = [task.name for task in tasks]
    bare = [s for s in dataset.samples if dataset.splits and s.split is None]
    used = [s for s in dataset.samples if not dataset.splits or s.split in ("train", "val")]
    unlabelled = [s for s in used if s.labels.keys().isdisjoint(names)]
    lacking = {"split": bare, f"label of {' or '.join(names)}": unlabelled}
    return [
        f"{len(photos)} of {len(dataset.samples)} photos have no {what} and take no part"
        for what, photos in lacking.items()
        if photos
    ]


def shared_photos(train: PreparedPhotos, val: PreparedPhotos) -> list[str]:
    """How much of validation stands in training, too: equal files, and groups."""
    known = set(train.hashes)
    copies = sum(digest in known for digest in val.hashes)
    groups = len(_groups(train) & _groups(val))
    found = []
    if copies:
        found.append(f"{copies} of {len(val)} validation photos are training photos, byte for byte")
    if groups:
        have = "1 group has" if groups == 1 else f"{groups} groups have"
        found.append(f"{have} photos in training and in validation")
    if not found:
        return []
    return [f"{', and '.join(found)}: the figures flatter the model; see 'beltsight check'"]


def temperature_doubts(card: Card) -> list[str]:
    """Which temperatures rest on too few validation photos or on odd ones."""
    said = []
    for task in card.tasks:
        figures = card.metrics["tasks"][task.name]
        n = figures["n"]
        doubt = temperature_doubt(n, round(n * (figures["accuracy"] or 0)), task.temperature)
        if doubt:
            said.append(f"the temperature of {task.name}: {doubt}")
    return said


def _groups(photos: PreparedPhotos) -> set[str]:
    return {sample.group for sample in photos.samples if sample.group is not None}
