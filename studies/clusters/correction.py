"""Answers corrected by clusters of embeddings: pure functions, and their cross-validation.

A cluster knows how often each class occurs among the labelled photos in it. A photo's answer is
led towards the shares of its cluster, softly, or replaced by the cluster's majority where the model
is unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.model_selection import StratifiedKFold

Table = NDArray[np.float64]
Indices = NDArray[np.int64]
Marks = NDArray[np.bool_]
FOLDS = 5
_DIRECTIONS = 64
_STARTS = 4


@dataclass(frozen=True)
class Setting:
    """One way to correct.

    Args:
        kind: ``none`` leaves the answers; ``soft`` mixes probabilities; ``hard`` replaces answers.
        fit_on: which photos the clusters and their class shares are made of.
        clusters: how many.
        weight: of the cluster's shares in the mix, 0 to 1; of ``soft``.
        below: confidence under which an answer may be replaced; of ``hard``.
        majority: share that the cluster's first class must have; of ``hard``.
    """

    kind: Literal["none", "soft", "hard"] = "none"
    fit_on: Literal["train", "val"] = "train"
    clusters: int = 1
    weight: float = 0.0
    below: float = 0.0
    majority: float = 1.0

    def to_record(self) -> dict[str, Any]:
        """What says something for its kind."""
        told = {
            "none": ("kind",),
            "soft": ("kind", "fit_on", "clusters", "weight"),
            "hard": ("kind", "fit_on", "clusters", "below", "majority"),
        }[self.kind]
        return {name: value for name, value in asdict(self).items() if name in told}


def all_settings(
    clusters: Sequence[int],
    weights: Sequence[float],
    below: Sequence[float],
    majorities: Sequence[float],
) -> list[Setting]:
    """Every setting of the grid; leaving the answers comes first: it wins where all are equal."""
    found = [Setting()]
    sources: tuple[Literal["train", "val"], ...] = ("train", "val")
    for fit_on, count in product(sources, clusters):
        found += [Setting("soft", fit_on, count, weight=weight) for weight in weights]
        pairs = product(below, majorities)
        found += [Setting("hard", fit_on, count, below=b, majority=m) for b, m in pairs]
    return found


def cluster_shares(clusters: Indices, labels: Indices, shape: tuple[int, int]) -> Table:
    """How often each class occurs in each cluster.

    Args:
        clusters: (N,) the cluster of each labelled photo.
        labels: (N,) its class.
        shape: (clusters, classes).

    Returns:
        float64 of that shape, rows sum to 1. Each cluster gets one photo more, spread over the
        classes as they occur: a cluster of few photos is not sure.

    Example:
        >>> shares = cluster_shares(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), (2, 2))
        >>> shares.tolist()  # (2.5, 1.5) / 4 and (0.5, 1.5) / 2
        [[0.625, 0.375], [0.25, 0.75]]
    """
    counts = np.zeros(shape)
    np.add.at(counts, (clusters, labels), 1.0)
    counts += np.bincount(labels, minlength=shape[1]) / len(labels)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def correct(probabilities: Table, shares: Table, setting: Setting) -> Indices:
    """Answers after the correction.

    Args:
        probabilities: (N, C) of the model, calibrated.
        shares: (N, C) class shares of each photo's cluster.
        setting: how.

    Returns:
        (N,) class indices.

    Example:
        >>> probabilities = np.array([[0.6, 0.4], [0.9, 0.1]])
        >>> shares = np.array([[0.1, 0.9], [0.1, 0.9]])
        >>> correct(probabilities, shares, Setting("soft", weight=0.3)).tolist()
        [1, 0]
        >>> correct(probabilities, shares, Setting("hard", below=0.7, majority=0.8)).tolist()
        [1, 0]
    """
    answers = probabilities.argmax(axis=1)
    if setting.kind == "soft":
        mixed = (1 - setting.weight) * probabilities + setting.weight * shares
        return np.asarray(mixed.argmax(axis=1), np.int64)
    if setting.kind == "hard":
        unsure = probabilities.max(axis=1) < setting.below
        firm = shares.max(axis=1) >= setting.majority
        answers = np.where(unsure & firm, shares.argmax(axis=1), answers)
    return np.asarray(answers, np.int64)


@dataclass(frozen=True)
class Answers:
    """What a model said of some labelled photos: embeddings (N, D), probabilities, labels."""

    embeddings: Table
    probabilities: Table
    labels: Indices

    def rows(self, chosen: Indices) -> Answers:
        """Some of the photos."""
        return Answers(self.embeddings[chosen], self.probabilities[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Clustering:
    """Clusters of training photos, kept, and of validation photos, made anew for each fold.

    Args:
        train: photos that the model learned from.
        seed: of k-means.
    """

    train: Answers
    seed: int = 0
    _kept: dict[int, tuple[KMeans, Table]] = field(default_factory=dict)

    @cached_property
    def _axes(self) -> tuple[Table, Table]:
        """Mean and main directions of the training embeddings, at unit length."""
        rows = _unit(self.train.embeddings)
        mean = rows.mean(axis=0)
        return mean, np.linalg.svd(rows - mean, full_matrices=False)[2][:_DIRECTIONS]

    def shares(self, setting: Setting, fit: Answers, asked: Answers) -> Table:
        """(N, C) class shares of the cluster of each photo asked for.

        Args:
            setting: which photos are clustered, and into how many.
            fit: validation photos whose labels may be used.
            asked: photos whose labels are not looked at.
        """
        if setting.kind == "none":
            return asked.probabilities
        means, table = self._fitted(setting, fit)
        return np.asarray(table[means.predict(self._placed(asked))], np.float64)

    def _fitted(self, setting: Setting, fit: Answers) -> tuple[KMeans, Table]:
        if setting.fit_on == "val":
            return self._fit(setting.clusters, fit)
        if setting.clusters not in self._kept:
            self._kept[setting.clusters] = self._fit(setting.clusters, self.train)
        return self._kept[setting.clusters]

    def _fit(self, clusters: int, known: Answers) -> tuple[KMeans, Table]:
        means = KMeans(min(clusters, len(known.labels)), n_init=_STARTS, random_state=self.seed)
        found = means.fit_predict(self._placed(known))
        shape = (means.n_clusters, known.probabilities.shape[1])
        return means, cluster_shares(found, known.labels, shape)

    def _placed(self, photos: Answers) -> Table:
        mean, directions = self._axes
        return np.asarray((_unit(photos.embeddings) - mean) @ directions.T)


def right_by_setting(
    clustering: Clustering, settings: Sequence[Setting], fit: Answers, asked: Answers
) -> Marks:
    """(settings, N) whether each photo asked for is answered right."""
    known: dict[tuple[str, int], Table] = {}
    rows = []
    for setting in settings:
        key = ("none" if setting.kind == "none" else setting.fit_on, setting.clusters)
        if key not in known:
            known[key] = clustering.shares(setting, fit, asked)
        rows.append(correct(asked.probabilities, known[key], setting) == asked.labels)
    return np.array(rows)


def folded(clustering: Clustering, settings: Sequence[Setting], val: Answers, seed: int) -> Marks:
    """(settings, N) as :func:`right_by_setting`, each photo asked for by clusters without it."""
    right = np.zeros((len(settings), len(val.labels)), np.bool_)
    for fit, asked in _folds(val.labels, seed):
        right[:, asked] = right_by_setting(clustering, settings, val.rows(fit), val.rows(asked))
    return right


def choose(clustering: Clustering, settings: Sequence[Setting], val: Answers, seed: int) -> Setting:
    """The setting with the most right answers over folds; of equals the first."""
    return settings[int(folded(clustering, settings, val, seed).sum(axis=1).argmax())]


def nested(
    clustering: Clustering, settings: Sequence[Setting], val: Answers, seed: int
) -> tuple[Marks, list[Setting]]:
    """Choose and measure on different photos of validation.

    Returns:
        (N,) whether each photo is answered right by the setting that was chosen, by folds within
        the other folds, without it; and that setting of each fold.
    """
    right = np.zeros(len(val.labels), np.bool_)
    chosen = []
    for fit, asked in _folds(val.labels, seed):
        setting = choose(clustering, settings, val.rows(fit), seed)
        chosen.append(setting)
        right[asked] = right_by_setting(clustering, [setting], val.rows(fit), val.rows(asked))[0]
    return right, chosen


def _folds(labels: Indices, seed: int) -> list[tuple[Indices, Indices]]:
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return list(parts.split(np.zeros(len(labels)), labels))


def _unit(rows: Table) -> Table:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
