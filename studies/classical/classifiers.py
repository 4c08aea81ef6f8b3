"""Support vector machines and a forest over one or several feature sets; pure functions.

Kernels are computed here with one matrix product and given to scikit-learn's SVC, which is much
faster for wide features than computing them inside it, with the same result.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """A classifier and its settings; those of other classifiers are ignored.

    Args:
        classifier: ``rbf``, ``linear`` or ``forest``.
        penalty: C of a support vector machine.
        width: gamma, in 1 / (mean squared distance between training photos).
        leaf: fewest training photos in a leaf of the forest.
    """

    classifier: str
    penalty: float = 1.0
    width: float = 1.0
    leaf: int = 1


def join_sets(
    blocks: Sequence[Floats], reference: Sequence[Floats], standardised: Sequence[bool]
) -> Floats:
    """Put feature sets side by side so that each weighs the same in a distance.

    Args:
        blocks: (N, D_k) per feature set.
        reference: (M, D_k), the training photos.
        standardised: per set, whether each dimension is divided by its own deviation first.

    Returns:
        (N, sum of D_k). Between training photos the mean squared distance is 1.
    """
    parts = []
    for block, known, own in zip(blocks, reference, standardised, strict=True):
        deviation = known.std(axis=0, dtype=np.float64)
        centred = block - known.mean(axis=0, dtype=np.float64)
        if own:  # what never varies in training says nothing
            centred *= np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 0)
        variance = float((deviation > 0).sum()) if own else float((deviation**2).sum())
        # Over all pairs the mean squared distance is twice the variance.
        parts.append(centred / np.sqrt(2 * max(variance, 1e-12) * len(blocks)))
    return np.concatenate(parts, axis=1).astype(np.float32)


def squared_distances(rows: Floats, columns: Floats) -> NDArray[np.float64]:
    """(N, M) from (N, D) and (M, D)."""
    squares = (rows.astype(np.float64) ** 2).sum(axis=1)[:, None] + (
        columns.astype(np.float64) ** 2
    ).sum(axis=1)
    return np.asarray(np.maximum(squares - 2.0 * (rows @ columns.T), 0.0))


def answers(
    setting: Setting, train: Floats, labels: Labels, other: Floats, *, seed: int, trees: int
) -> Labels:
    """Fit on ``train``, answer for ``other``: class indices (N,)."""
    if setting.classifier == "forest":
        forest = RandomForestClassifier(trees, min_samples_leaf=setting.leaf, random_state=seed)
        return np.asarray(forest.fit(train, labels).predict(other), np.int64)
    known, asked = _kernels(setting, train, other)
    machine = SVC(kernel="precomputed", C=setting.penalty)
    return np.asarray(machine.fit(known, labels).predict(asked), np.int64)


def try_all(
    settings: Sequence[Setting],
    train: Floats,
    labels: Labels,
    other: Floats,
    *,
    seed: int,
    trees: int,
) -> Iterator[tuple[Setting, Labels]]:
    """As :func:`answers` for each setting; neighbours of one width share their kernel."""
    for key, group in itertools.groupby(settings, key=lambda s: (s.classifier, s.width)):
        if key[0] == "forest":
            for setting in group:
                yield setting, answers(setting, train, labels, other, seed=seed, trees=trees)
            continue
        members = list(group)
        known, asked = _kernels(members[0], train, other)
        for setting in members:
            machine = SVC(kernel="precomputed", C=setting.penalty).fit(known, labels)
            yield setting, np.asarray(machine.predict(asked), np.int64)


def grid(classifier: str, study: dict[str, Any]) -> list[Setting]:
    """The settings that the study tries for a classifier, the mildest first."""
    if classifier == "rbf":
        pairs = itertools.product(study["widths"], study["penalties"])
        return [Setting("rbf", penalty, width) for width, penalty in pairs]
    if classifier == "linear":
        return [Setting("linear", penalty) for penalty in study["linear_penalties"]]
    return [Setting("forest", leaf=leaf) for leaf in study["forest_leaves"]]


def _kernels(setting: Setting, train: Floats, other: Floats) -> tuple[Any, Any]:
    if setting.classifier == "linear":
        return train @ train.T, other @ train.T
    return tuple(  # type: ignore[return-value]
        np.exp(-setting.width * squared_distances(rows, train)) for rows in (train, other)
    )
