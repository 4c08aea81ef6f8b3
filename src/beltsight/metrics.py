"""Figures of a classifier: pure functions over arrays of labels, answers and probabilities.

Conventions: a confusion matrix has the truth in its rows; a share of nothing (the recall of a
class without photos, the precision of a class never answered) is None and not 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.calibrate import expected_calibration_error, softmax
from beltsight.records import Floats, TaskSpec

CALIBRATION_BINS = 15


def confusion_matrix(
    truth: NDArray[np.integer], answer: NDArray[np.integer], classes: int
) -> NDArray[np.int64]:
    """How often each true class got each answer.

    Args:
        truth: (N,) class indices.
        answer: (N,) class indices.
        classes: number of classes C.

    Returns:
        int64 (C, C); row: truth, column: answer.

    Example:
        >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
        [[1, 1], [0, 1]]
    """
    pairs = np.asarray(truth, np.int64) * classes + np.asarray(answer, np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of shares that ``successes`` of ``n`` are compatible with.

    Args:
        successes: 0 to n.
        n: number of trials, or the number of independent ones that dependent trials are worth
            (:func:`effective_count`); for 0 nothing is known and the interval is (0, 1).
        confidence: of the interval, 0 to 1, ends excluded.

    Returns:
        (low, high), 0 to 1. Source: Wilson 1927, without continuity correction.

    Example:
        >>> low, high = wilson_interval(8, 10)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula gives exactly 0 or 1; rounding must not push it past them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def effective_count(
    correct: NDArray[np.bool_] | NDArray[np.integer], items: NDArray[np.integer] | None = None
) -> float:
    """How many photos of different items tell as much as these photos do.

    Photos of one item are right or wrong together, so four of each of 100 items are worth fewer
    than 400 photos.

    Args:
        correct: bool (N,), or another figure of each photo, such as -1, 0 or 1.
        items: (N,) which item each photo shows; None where each shows its own.

    Returns:
        s / v, at most N: s is the variance of the photos, p (1 - p) where a share p is right, v
        that of their mean as a mean over items of unequal numbers of photos. The number of items
        where all photos are alike: how alike an item's photos are cannot be seen then. Source: Kish
        1965, design effect; the variance of a ratio, Cochran 1977, 11.2.

    Example:
        >>> correct = np.array([True, True, False, False])
        >>> effective_count(correct), effective_count(correct, np.array([0, 0, 1, 1]))
        (4.0, 1.0)
    """
    n = len(correct)
    if items is None or not n:
        return float(n)
    _, places = np.unique(items, return_inverse=True)
    photos = np.bincount(places)
    values = np.asarray(correct, np.float64)
    count, mean, spread = len(photos), float(values.mean()), float(values.var())
    if count in (1, n) or spread == 0:
        return float(count)
    off = np.bincount(places, values) - mean * photos
    variance = float((off**2).sum()) / n**2 * count / (count - 1)
    if variance == 0:
        return float(n)
    return min(float(n), spread / variance)


def share_interval(
    correct: NDArray[np.bool_], items: NDArray[np.integer] | None = None, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval of the share right, at the :func:`effective_count` of the photos.

    Args:
        correct: bool (N,).
        items: (N,) which item each photo shows; None where each shows its own.
        confidence: of the interval, 0 to 1, ends excluded.

    Example:
        >>> low, high = share_interval(np.arange(10) < 8)
        >>> round(low, 4), round(high, 4)
        (0.4902, 0.9433)
    """
    if not len(correct):
        return 0.0, 1.0
    right, n = int(np.sum(correct)), len(correct)
    if items is None:
        return wilson_interval(right, n, confidence)
    count = effective_count(correct, items)
    return wilson_interval(count if right == n else right * count / n, count, confidence)


def class_figures(confusion: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, in the order of the matrix.

    Args:
        confusion: (C, C) of :func:`confusion_matrix`.

    Returns:
        Per class ``precision``, ``recall``, ``f1`` (0 to 1, or None for a share of nothing),
        ``support`` (photos of the class) and ``recall_interval`` (Wilson, 95 %).
    """
    figures = []
    for index in range(len(confusion)):
        hits = int(confusion[index, index])
        support, answered = int(confusion[index].sum()), int(confusion[:, index].sum())
        figures.append(
            {
                "precision": _share(hits, answered),
                "recall": _share(hits, support),
                "f1": _share(2 * hits, support + answered),
                "support": support,
                "recall_interval": list(wilson_interval(hits, support)),
            }
        )
    return figures


def task_metrics(
    task: TaskSpec,
    logits: Floats,
    labels: NDArray[np.integer],
    temperature: float = 1.0,
    items: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """All figures of one task, as they stand in ``metrics.json`` and in a model's card.

    Args:
        task: its classes, in the order of the logits.
        logits: float32 (N, C).
        labels: (N,) class indices; every photo is labelled.
        temperature: of the calibration; it changes the confidence, never the answer.
        items: (N,) which item each photo shows, where items show in several photos: intervals
            are wider by what such photos have in common. None where each shows its own.

    Returns:
        A record that JSON can hold; see ``assets/schemas/metrics.schema.json``. Macro F1 is the
        mean over classes that occur as truth or answer, balanced accuracy the mean recall over
        classes that occur as truth. ``n_items`` stands there with ``items`` alone.
    """
    probabilities = softmax(logits, temperature)
    answers, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = answers == labels
    confusion = confusion_matrix(labels, answers, len(task.classes))
    figures = class_figures(confusion)
    n, hits = len(labels), int(correct.sum())
    if items is not None:
        for index, figure in enumerate(figures):
            own = labels == index
            figure["recall_interval"] = list(share_interval(correct[own], items[own]))
    return {
        "accuracy": _share(hits, n),
        "interval": list(share_interval(correct, items)),
        "n": n,
        **({} if items is None else {"n_items": len(np.unique(items))}),
        "macro_f1": _mean([figure["f1"] for figure in figures]),
        "balanced_accuracy": _mean([figure["recall"] for figure in figures]),
        "ece": expected_calibration_error(confidences, correct, CALIBRATION_BINS),
        "temperature": temperature,
        "per_class": dict(zip(task.classes, figures, strict=True)),
        "confusion": confusion.tolist(),
        "classes": list(task.classes),
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(shares: Sequence[float | None]) -> float | None:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else None
