"""What a confusion matrix of six materials says: pairs, mixes, sources; pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from studies.tables import Share

Counts = NDArray[np.int64]
_Z = NormalDist().inv_cdf(0.975)

CLASSES = ("PET", "HDPE", "glass", "metal", "paper", "organic")
# Motornyi, Kostyshyn and Kabachii 2026, rows true.
PAPER = np.array(
    [
        [188, 5, 2, 1, 3, 0],
        [7, 178, 4, 1, 6, 2],
        [1, 3, 194, 4, 1, 0],
        [0, 1, 3, 192, 1, 1],
        [4, 6, 2, 1, 168, 12],
        [2, 1, 1, 0, 15, 158],
    ]
)
PLASTICS = ("PET", "HDPE")
PAIRS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("PET",), ("HDPE",)),
    (("paper",), ("organic",)),
    (PLASTICS, ("organic",)),
)


def in_order(confusion: Counts, classes: Sequence[str], wanted: Sequence[str]) -> Counts:
    """A confusion matrix with its classes in another order."""
    places = [classes.index(name) for name in wanted]
    return np.asarray(confusion)[np.ix_(places, places)]


def pair_figures(
    confusion: Counts, classes: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> dict[str, Any]:
    """How often two groups of classes are taken for each other.

    Args:
        confusion: (C, C), row: truth, column: answer.
        classes: names of the rows.
        first, second: classes of each group.

    Returns:
        ``first_as_second`` and ``second_as_first`` (photos), ``n_first``, ``n_second``, and the
        ``share`` of all these photos that is taken for the other group, with its ``interval``.

    Example:
        >>> found = pair_figures(PAPER, CLASSES, ["PET"], ["HDPE"])
        >>> found["first_as_second"], found["second_as_first"], found["n_first"]
        (5, 7, 199)
    """
    a, b = ([classes.index(name) for name in group] for group in (first, second))
    matrix = np.asarray(confusion)
    there, back = int(matrix[np.ix_(a, b)].sum()), int(matrix[np.ix_(b, a)].sum())
    n_first, n_second = int(matrix[a].sum()), int(matrix[b].sum())
    n = n_first + n_second
    return {
        "first_as_second": there,
        "second_as_first": back,
        "n_first": n_first,
        "n_second": n_second,
        "share": (there + back) / n if n else None,
        "interval": wilson(there + back, n),
    }


def weighted_recall(confusion: Counts, weights: Sequence[float]) -> Share:
    """The accuracy that would be had if the classes occurred in another mix.

    Args:
        confusion: (C, C), row: truth.
        weights: how often each class occurs there; with equal ones this is balanced accuracy.

    Returns:
        The mean of recalls by weight, and its 95 % interval: a normal one, since recalls of
        different classes are independent, with two right and two wrong answers added to each
        class for its variance (Agresti and Coull 1998), so that a class without mistakes is not
        taken for certain.

    Raises:
        ValueError: a class that counts has no photo.
    """
    matrix, share = np.asarray(confusion, float), np.asarray(weights, float) / np.sum(weights)
    right, n = np.diag(matrix), matrix.sum(axis=1)
    if ((n == 0) & (share > 0)).any():
        raise ValueError("a class has no photo, so that its recall is not known")
    counted = share > 0
    right, n, share = right[counted], n[counted], share[counted]
    mean = float((share * right / n).sum())
    smoothed = (right + 2) / (n + 4)
    half = _Z * sqrt(float((share**2 * smoothed * (1 - smoothed) / (n + 4)).sum()))
    return Share(mean, max(0.0, mean - half), min(1.0, mean + half))


def within_source(
    probabilities: NDArray[np.floating],
    labels: Counts,
    classes: Sequence[str],
    source_of: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Accuracy among the classes of one source, where a photo's source gives nothing away.

    Args:
        probabilities: (N, C).
        labels: (N,) class indices.
        classes: names of the columns.
        source_of: the data set that each class comes from.

    Returns:
        Per source with several classes: its ``classes``, ``n``, photos answered ``right`` among
        these classes alone, ``accuracy`` and ``interval``; and ``outside``, photos that all
        classes together call something of another source.
    """
    found = {}
    for source in dict.fromkeys(source_of[name] for name in classes):
        own = np.array([place for place, name in enumerate(classes) if source_of[name] == source])
        rows = np.isin(labels, own)
        n = int(rows.sum())
        if len(own) < 2 or not n:
            continue
        inside = own[probabilities[rows][:, own].argmax(axis=1)]
        right = int((inside == labels[rows]).sum())
        found[source] = {
            "classes": [classes[place] for place in own],
            "n": n,
            "right": right,
            "accuracy": right / n,
            "interval": wilson(right, n),
            "outside": int((~np.isin(probabilities[rows].argmax(axis=1), own)).sum()),
        }
    return found


def wilson(right: int, n: int) -> list[float]:
    """The 95 % interval of a share; (0, 1) of nothing."""
    if n == 0:
        return [0.0, 1.0]
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]
