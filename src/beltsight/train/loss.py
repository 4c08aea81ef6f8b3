"""The loss: cross-entropy per task over the photos that have a label of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from beltsight.train.photos import UNLABELLED


def masked_loss(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[Tensor | None] | None = None,
) -> Tensor:
    """Sum over tasks of the mean cross-entropy of labelled photos, in nats.

    Args:
        logits: (N, C) per task, in the order of ``labels``' columns.
        labels: int64 (N, tasks); ``UNLABELLED`` takes no part.
        label_smoothing: share of probability spread over all classes.
        class_weights: per task (C,) or None.

    Returns:
        A scalar; zero with a gradient of zero where no photo has a label.
    """
    total = torch.zeros((), device=labels.device)
    for column, scores in enumerate(logits.values()):
        target = labels[:, column]
        known = target != UNLABELLED
        if not known.any():
            total = total + 0.0 * scores.float().sum()
            continue
        total = total + nn.functional.cross_entropy(
            scores[known].float(),
            target[known],
            weight=class_weights[column] if class_weights else None,
            label_smoothing=label_smoothing,
        )
    return total


def balanced_class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """n / (classes in use * n of the class): each class weighs the same in all.

    Args:
        labels: (N,) class indices; ``UNLABELLED`` is passed over.
        classes: number of classes C.

    Returns:
        float32 (C,); 0 for a class without photos.

    Example:
        >>> balanced_class_weights(np.array([0, 0, 0, 1]), 2).tolist()
        [0.6666666865348816, 2.0]
    """
    counts = np.bincount(labels[labels != UNLABELLED], minlength=classes)
    used = counts > 0
    weights = np.where(used, counts.sum() / (used.sum() * np.maximum(counts, 1)), 0.0)
    return torch.tensor(weights, dtype=torch.float32)
