"""The loss: cross-entropy per task over the photos that have a label of it, and per place."""

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


def place_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy of each place's share of dirt, in nats, over what the masks know.

    Args:
        logits: (N, h, w), of dirt.
        masks: (N, H, W) of 0 to 255: 0 where nobody knows, else 1 (clean) to 255 (dirty).

    Returns:
        A scalar; zero with a gradient of zero where no mask knows anything. A place counts by the
        part of it that is known.
    """
    masks = masks.float()
    known = (masks > 0).float()
    dirt = (masks - 1).clamp(min=0) / 254
    size = (logits.shape[-2], logits.shape[-1])
    parts = nn.functional.adaptive_avg_pool2d(torch.stack([known, dirt], 1), size)
    weight, covered = parts[:, 0], parts[:, 1]
    target = (covered / weight.clamp(min=1e-6)).clamp(0, 1)
    each = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (weight * each).sum() / weight.sum().clamp(min=1e-6)
