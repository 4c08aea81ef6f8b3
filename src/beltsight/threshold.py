"""A task's threshold in the card, from labelled photos and a wanted purity."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from beltsight.card import PurityCard, TaskCard
from beltsight.selective import PurityChoice, choose_threshold

ACCEPTS_NOTHING = math.nextafter(1.0, 2.0)
"""A threshold over every confidence: a softmax reaches exactly 1."""


def set_threshold(
    task: TaskCard, probabilities: NDArray[np.float64], labels: NDArray[np.int64], target: float
) -> tuple[TaskCard, PurityChoice]:
    """The task's card with a threshold, and how it was chosen.

    Args:
        task: whose classes the columns are.
        probabilities: float64 (N, C), calibrated, of photos the model has not learned.
        labels: int64 (N,) class indices.
        target: share of accepted answers that must be right, 0 to 1, ends excluded.

    Returns:
        The certified threshold where the photos prove one, else the estimated one. Where no
        threshold reaches the target, nothing is accepted.

    Raises:
        DatasetError: no photos.
        ConfigError: a target outside (0, 1).
    """
    correct = probabilities.argmax(axis=1) == labels
    choice = choose_threshold(probabilities.max(axis=1), correct, target)
    point = choice.best
    purity = PurityCard(
        target=choice.target,
        certified=choice.is_certified,
        confidence=choice.confidence,
        n=choice.n,
        accepted=point.accepted if point else 0,
        right=point.right if point else 0,
    )
    threshold = point.threshold if point else ACCEPTS_NOTHING
    return task.model_copy(update={"threshold": threshold, "purity": purity}), choice
