"""The loss: cross-entropy per task over the photos that have a label of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from beltsight.train.photos import UNLABELLED


def masked_loss(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[Tensor | None] | None = None,
    tasks: Collection[str] = (),
) -> Tensor:
    """Sum over tasks of the mean cross-entropy of labelled photos, in nats.

    Args:
        logits: (N, C) per task, in the order of ``labels``' columns.
        labels: int64 (N, tasks); ``UNLABELLED`` takes no part.
        label_smoothing: share of probability spread over all classes.
        class_weights: per task (C,) or None.
        tasks: those that count; all where empty.

    Returns:
        A scalar; zero with a gradient of zero where no photo has a label.
    """
    total = torch.zeros((), device=labels.device)
    for column, (task, scores) in enumerate(logits.items()):
        if tasks and task not in tasks:
            continue
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
