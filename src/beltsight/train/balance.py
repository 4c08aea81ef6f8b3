"""Help for rare classes: weights in the loss, copies, synthesised photos; and which classes to
augment more."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from beltsight.errors import TrainError
from beltsight.train.photos import UNLABELLED, PreparedPhotos
from beltsight.train.synthesis import synthesize


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """n / (classes in use * n of the class): each class weighs the same in all.

    Args:
        labels: (N,) class indices; ``UNLABELLED`` is passed over.
        classes: number of classes C.

    Returns:
        float32 (C,); 0 for a class without photos.

    Example:
        >>> class_weights(np.array([0, 0, 0, 1]), 2).tolist()
        [0.6666666865348816, 2.0]
    """
    counts = np.bincount(labels[labels != UNLABELLED], minlength=classes)
    used = counts > 0
    weights = np.where(used, counts.sum() / (used.sum() * np.maximum(counts, 1)), 0.0)
    return torch.tensor(weights, dtype=torch.float32)


def draw_weights(labels: NDArray[np.int64], balance: str) -> Tensor | None:
    """Per photo its weight in a draw in which each class comes equally often.

    Args:
        labels: (N,) class indices of the first task; unlabelled photos weigh as in a plain draw.
        balance: see ``TrainSettings.balance``.

    Returns:
        float64 (N,), or None where photos are drawn as they are.
    """
    if balance not in ("copies", "synthesis"):
        return None
    counts = np.bincount(labels[labels >= 0], minlength=1)
    # Each class weighs 1 in all; of a plain draw, a labelled photo would weigh this much.
    plain = max(1, (counts > 0).sum()) / max(1, counts.sum())
    weights = np.where(labels >= 0, 1.0 / np.maximum(counts, 1)[labels], plain)
    return torch.from_numpy(weights)


def with_synthesis(
    photos: PreparedPhotos,
    seed: int,
    fill: tuple[int, int, int],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PreparedPhotos:
    """The photos, with synthesised ones behind them until each class of the first task has as
    many as the largest.

    Args:
        photos: prepared; their file grows.
        seed: same seed, same photos.
        fill: RGB of the letterbox, 0 to 255.
        progress: told (done, total) after each photo.

    Raises:
        DatasetError: no item of a rare class can be cut out.
        TrainError: the disk is full.
    """
    labels = photos.labels[:, 0]
    counts = np.bincount(labels[labels >= 0])
    wanted = {int(i): int(counts.max() - n) for i, n in enumerate(counts) if 0 < n < counts.max()}
    total = sum(wanted.values())
    added: list[int] = []
    try:
        with photos.file.open("ab") as out:
            made = synthesize(
                photos.pixels(), labels, wanted, seed=seed, fill=fill, names=photos.classes[0]
            )
            for photo, label in made:
                out.write(photo.tobytes())
                added.append(label)
                progress(len(added), total)
    except OSError as error:
        raise TrainError(
            f"{photos.file}: synthesised photos cannot be written ({error.strerror})"
        ) from error
    rows = np.full((len(added), photos.labels.shape[1]), UNLABELLED, np.int64)
    rows[:, 0] = added
    return replace(
        photos,
        shape=(photos.shape[0] + len(added), *photos.shape[1:]),
        labels=np.concatenate([photos.labels, rows]),
    )


def confused_classes(
    labels: Sequence[NDArray[np.int64]], answers: Sequence[NDArray[np.int64]]
) -> list[list[int]]:
    """Per task the classes that are told apart worse than the mean class, by F1.

    Args:
        labels: per task (N,) class indices; ``UNLABELLED`` is passed over.
        answers: per task (N,) predicted class indices.

    Example:
        >>> confused_classes([np.array([0, 0, 1, 1, 2, 2])], [np.array([0, 0, 1, 2, 2, 1])])
        [[1, 2]]
    """
    return [_below_mean(*pair) for pair in zip(labels, answers, strict=True)]


def _below_mean(labels: NDArray[np.int64], answers: NDArray[np.int64]) -> list[int]:
    known = labels != UNLABELLED
    labels, answers = labels[known], answers[known]
    scores = {
        int(each): 2.0
        * float(((labels == each) & (answers == each)).sum())
        / float((labels == each).sum() + (answers == each).sum())
        for each in np.unique(labels)
    }
    mean = sum(scores.values()) / max(1, len(scores))
    return [each for each, score in scores.items() if score < mean]
