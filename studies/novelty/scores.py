"""Ways to score how strange a photo is, from embedding and logits; each is fitted on training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Score = Callable[
    [Table, Table], Table
]  # embeddings (N, D), logits (N, C) -> (N,), higher: stranger


@dataclass(frozen=True)
class Training:
    """What a score may be fitted on: embeddings (N, D), logits (N, C), labels (N,)."""

    embeddings: Table
    logits: Table
    labels: NDArray[np.int64]

    @property
    def class_means(self) -> Table:
        return np.array([self.embeddings[self.labels == c].mean(axis=0) for c in self.classes])

    @property
    def classes(self) -> NDArray[np.int64]:
        return np.unique(self.labels)

    def directions(self, count: int) -> Table:
        centred = self.embeddings - self.embeddings.mean(axis=0)
        return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][:count])


def energy(logits: Table) -> Table:
    peak = logits.max(axis=1)
    return np.asarray(-(peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))))


def unit(rows: Table) -> Table:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def least_sure(temperature: float) -> Score:
    """1 less the largest probability."""
    return lambda _, logits: 1 - np.exp(energy(logits / temperature) + logits.max(1) / temperature)


def residual(training: Training, count: int, power: float = 0.0) -> Score:
    """Length of what the principal directions leave, over a power of the embedding's length."""
    mean, basis = training.embeddings.mean(axis=0), training.directions(count)

    def score(embeddings: Table, _: Table) -> Table:
        centred = embeddings - mean
        rest = np.linalg.norm(centred - centred @ basis.T @ basis, axis=1)
        return np.asarray(rest / np.linalg.norm(embeddings, axis=1) ** power)

    return score


def virtual_logit(training: Training, count: int) -> Score:
    """ViM: the residual, scaled to the logits, less the log-sum of the logits."""
    rest = residual(training, count)
    lengths = rest(training.embeddings, training.logits)
    scale = training.logits.max(axis=1).mean() / lengths.mean()
    return lambda embeddings, logits: scale * rest(embeddings, logits) + energy(logits)


def mahalanobis(training: Training, count: int, relative: bool = False) -> Score:
    """Squared distance to the nearest class mean, classes sharing a covariance."""
    basis, means = training.directions(count), training.class_means
    mean = training.embeddings.mean(axis=0)
    places = np.searchsorted(training.classes, training.labels)
    within = np.cov((training.embeddings - means[places]) @ basis.T, rowvar=False)
    inner = np.asarray(np.linalg.inv(within), np.float64)
    spread = np.cov((training.embeddings - mean) @ basis.T, rowvar=False)
    outer = np.asarray(np.linalg.inv(spread), np.float64)

    def distance(embeddings: Table, centre: Table, precision: Table) -> Table:
        gap = (embeddings - centre) @ basis.T
        return np.asarray(((gap @ precision) * gap).sum(axis=1))

    def score(embeddings: Table, _: Table) -> Table:
        near = np.min([distance(embeddings, centre, inner) for centre in means], axis=0)
        return np.asarray(near - distance(embeddings, mean, outer) if relative else near)

    return score


def cosine_to_mean(training: Training) -> Score:
    means = unit(training.class_means)
    return lambda embeddings, _: 1 - (unit(embeddings) @ means.T).max(axis=1)


def nearest_kept(training: Training, per_class: int, seed: int = 0) -> Score:
    """Cosine distance to the nearest of some kept training embeddings, in float16."""
    generator = np.random.default_rng(seed)
    kept = np.concatenate([
        generator.permutation(np.flatnonzero(training.labels == c))[:per_class]
        for c in training.classes
    ])  # fmt: skip
    rows = unit(training.embeddings[kept]).astype(np.float16).astype(np.float64)
    return lambda embeddings, _: 1 - (unit(embeddings) @ rows.T).max(axis=1)


def all_scores(training: Training, temperature: float) -> dict[str, Score]:
    """Name -> score, in the order of the table."""
    return {
        "largest probability": least_sure(temperature),
        "energy": lambda _, logits: energy(logits),
        "length of the embedding": lambda embeddings, _: -np.linalg.norm(embeddings, axis=1),
        "cosine to the nearest class mean": cosine_to_mean(training),
        "Mahalanobis, 64 directions": mahalanobis(training, 64),
        "Mahalanobis, 256 directions": mahalanobis(training, 256),
        "relative Mahalanobis, 64 directions": mahalanobis(training, 64, relative=True),
        "nearest of 300 kept embeddings": nearest_kept(training, 50),
        "residual, 64 directions": residual(training, 64),
        "residual / length, 64": residual(training, 64, 1.0),
        "residual / root of length, 32": residual(training, 32, 0.5),
        "residual / root of length, 64": residual(training, 64, 0.5),
        "residual / root of length, 128": residual(training, 128, 0.5),
        "ViM, 64 directions": virtual_logit(training, 64),
        "ViM, 128 directions": virtual_logit(training, 128),
    }
