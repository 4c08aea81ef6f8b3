"""Does an item look like anything the model was trained on? A score from its embedding.

Embeddings of training photos vary mainly along few directions. What these directions do not explain
of a new embedding is strange: the residual. Divided by the root of the embedding's length it is the
geometric mean of the residual and of its share of the whole, which told strange photos better than
either, see ``studies/novelty``. No label is needed, so the score serves all tasks of a model.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from beltsight.errors import ConfigError, DatasetError, ModelError
from beltsight.records import Floats
from beltsight.strict import Strict

COMPONENTS = 64
"""Directions kept; fewer where the embedding is wide, so that the card stays small."""

_MOST_VALUES = 100_000  # of the basis: 267 kB of base64
_MOST_CHARS = 300_000
_FEWEST_PHOTOS = 10
_ROOM = 1.0 + 1e-4  # engines and batch sizes differ in the last digits of an embedding
_SHORTEST = 1e-3  # of the mean length: an embedding of nothing but zeros has a finite score


class NoveltyCard(Strict):
    """The part of a model's card that :class:`Novelty` is kept in.

    ``mean`` is little-endian float32 and ``basis`` little-endian float16, row by row, both in
    base64; ``n_fit`` and ``n_known`` count the photos that gave the basis and the threshold.
    """

    method: Literal["residual over root of length"] = "residual over root of length"
    width: int = Field(ge=2, le=_MOST_VALUES)
    components: int = Field(ge=1)
    mean: str = Field(max_length=8 * _MOST_VALUES)
    basis: str = Field(max_length=_MOST_CHARS)
    shortest: float = Field(gt=0, allow_inf_nan=False)
    threshold: float = Field(ge=0, allow_inf_nan=False)
    false_alarm: float = Field(gt=0, lt=1)
    n_fit: int = Field(ge=_FEWEST_PHOTOS)
    n_known: int = Field(ge=1)
    n_above: int = Field(ge=0)

    @model_validator(mode="after")
    def _arrays_fit(self) -> Self:
        if self.components >= self.width or self.components * self.width > _MOST_VALUES:
            raise ValueError(f"{self.components} directions of width {self.width} are too many")
        if self.n_above >= self.n_known:
            raise ValueError("all known photos lie above the threshold")
        _unpack("mean", self.mean, "<f4", self.width)
        basis = _unpack("basis", self.basis, "<f2", self.components * self.width)
        rows = basis.astype(np.float64).reshape(self.components, self.width)
        if not np.abs(rows @ rows.T - np.eye(self.components)).max() < 0.01:
            raise ValueError("the rows of 'basis' are not orthonormal")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Novelty:
    """What the embeddings of known photos look like, and where strangeness begins.

    Args:
        mean: float32 (D,), of the training embeddings.
        basis: float32 (K, D), orthonormal rows: the directions along which they vary most.
        shortest: shorter embeddings count as this long; above 0.
        threshold: a higher score is novel.
        false_alarm: share of known photos that may be called novel, as asked for.
        n_fit: training photos.
        n_known: validation photos that gave the threshold.
        n_above: of them above it.
    """

    mean: Floats
    basis: Floats
    shortest: float
    threshold: float
    false_alarm: float
    n_fit: int
    n_known: int
    n_above: int
    _wide: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("mean", "basis"):
            view = np.asarray(getattr(self, name), np.float32).view()
            view.setflags(write=False)
            object.__setattr__(self, name, view)
        # Converted here and not again for every photo.
        object.__setattr__(self, "_wide", self.basis.astype(np.float64))

    def score(self, embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
        """How strange embeddings are.

        Args:
            embeddings: (N, D), as the model gives them.

        Returns:
            float64 (N,), at least 0; higher is stranger. The unit is the root of the embedding's.

        Raises:
            ModelError: embeddings of another width, or that are not numbers.
        """
        table = _checked(embeddings, len(self.mean))
        return _score(table, self.mean, self._wide, self.shortest)

    def is_novel(self, embeddings: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether embeddings are stranger than known photos are; (N, D) -> (N,)."""
        return np.asarray(self.score(embeddings) > self.threshold)

    def to_card(self) -> NoveltyCard:
        """The form that a model file keeps; :meth:`from_card` gives equal scores."""
        return NoveltyCard(
            width=len(self.mean),
            components=len(self.basis),
            mean=_pack(self.mean, "<f4"),
            basis=_pack(self.basis, "<f2"),
            shortest=self.shortest,
            threshold=self.threshold,
            false_alarm=self.false_alarm,
            n_fit=self.n_fit,
            n_known=self.n_known,
            n_above=self.n_above,
        )

    @classmethod
    def from_card(cls, card: NoveltyCard) -> Novelty:
        """The inverse of :meth:`to_card`; the card has checked itself."""
        basis = _unpack("basis", card.basis, "<f2", card.components * card.width)
        return cls(
            mean=_unpack("mean", card.mean, "<f4", card.width).astype(np.float32),
            basis=basis.astype(np.float32).reshape(card.components, card.width),
            shortest=card.shortest,
            threshold=card.threshold,
            false_alarm=card.false_alarm,
            n_fit=card.n_fit,
            n_known=card.n_known,
            n_above=card.n_above,
        )


def fit_novelty(
    embeddings: NDArray[np.floating],
    known: NDArray[np.floating],
    *,
    components: int = COMPONENTS,
    false_alarm: float = 0.01,
) -> Novelty:
    """Learn what known photos look like.

    Args:
        embeddings: (N, D) of training photos, at least 10.
        known: (M, D) of validation photos: the network has pulled its training photos together, so
            the threshold needs others.
        components: directions to keep; fewer are kept of few photos or wide embeddings.
        false_alarm: share of known photos that may be called novel, 0 to 1, ends excluded. The
            threshold is the ``ceil((M + 1) * (1 - false_alarm))``-th smallest score, which holds
            this rate on average over validation sets; of too few photos for that it is the largest.

    Returns:
        Source: the residual outside the principal subspace is that of Wang, Li, Feng and Zhang
        2022, "ViM: Out-Of-Distribution with Virtual-logit Matching", without its logits; the rank
        of the threshold is that of conformal prediction (Vovk, Gammerman and Shafer 2005).

    Raises:
        DatasetError: fewer than 10 training photos, or no validation photo.
        ModelError: embeddings that do not match or are not numbers.
        ConfigError: no component, or a false alarm rate outside (0, 1).
    """
    if not 0.0 < false_alarm < 1.0:
        raise ConfigError(f"the false alarm rate must lie between 0 and 1, got {false_alarm}")
    if components < 1:
        raise ConfigError(f"expected at least one component, got {components}")
    if np.ndim(embeddings) != 2 or np.shape(embeddings)[1] < 2:
        raise ModelError(
            f"expected embeddings (N, D) with D at least 2, got shape {np.shape(embeddings)}"
        )
    width = np.shape(embeddings)[1]
    table, held_out = _checked(embeddings, width), _checked(known, width)
    if len(table) < _FEWEST_PHOTOS or not len(held_out):
        raise DatasetError(
            f"cannot learn what known photos look like: expected at least {_FEWEST_PHOTOS} "
            f"training photos and one of validation, got {len(table)} and {len(held_out)}"
        )
    kept = min(components, len(table) // 2, width // 2, max(1, _MOST_VALUES // width))
    mean = table.mean(axis=0).astype(np.float32)
    basis = _directions(table - mean, kept)
    shortest = max(_SHORTEST * float(np.linalg.norm(table, axis=1).mean()), 1e-12)
    scores = _score(held_out, mean, basis.astype(np.float64), shortest)
    threshold, above = _limit(scores, false_alarm)
    return Novelty(
        mean, basis, shortest, threshold, false_alarm, len(table), len(scores), above
    )  # fmt: skip


def refit_threshold(novelty: Novelty, scores: NDArray[np.floating]) -> Novelty:
    """The same score with a threshold for other known photos, e.g. those of a plant.

    Args:
        novelty: of the model.
        scores: (N,) of photos of known items that the model has not learned.

    Returns:
        As :func:`fit_novelty` sets it. Fewer photos than the false alarm rate can be seen in (99
        for 1 %) may raise the threshold, to the largest of their scores, but not lower it.

    Raises:
        DatasetError: no photo.
    """
    if not len(scores):
        raise DatasetError("no photo to set a threshold of novelty by; expected at least one")
    threshold, above = _limit(scores, novelty.false_alarm)
    few = (len(scores) + 1) * novelty.false_alarm < 1.0 - 1e-9
    if few and threshold <= novelty.threshold:
        return novelty
    return replace(novelty, threshold=threshold, n_known=len(scores), n_above=above)


def _limit(scores: NDArray[np.floating], false_alarm: float) -> tuple[float, int]:
    """The threshold that known scores give, and how many of them lie above it."""
    rank = min(len(scores), ceil((len(scores) + 1) * (1.0 - false_alarm) - 1e-9))
    threshold = _ROOM * float(np.sort(scores)[rank - 1])
    return threshold, int((scores > threshold).sum())


def auc(known: NDArray[np.floating], unknown: NDArray[np.floating]) -> float | None:
    """Probability that an unknown photo scores higher than a known one; a tie counts half.

    Args:
        known: (N,) scores.
        unknown: (M,) scores.

    Returns:
        0 to 1, 0.5 for scores that tell nothing; None where one side has no photo.

    Example:
        >>> auc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.875
    """
    if not len(known) or not len(unknown):
        return None
    ranked = np.sort(known)
    below = np.searchsorted(ranked, unknown, side="left")
    at_most = np.searchsorted(ranked, unknown, side="right")
    return float((below + at_most).sum() / (2 * len(known) * len(unknown)))


def _score(
    table: NDArray[np.float64], mean: Floats, basis: NDArray[np.float64], shortest: float
) -> NDArray[np.float64]:
    centred = table - mean
    rest = centred - (centred @ basis.T) @ basis
    length = np.maximum(np.linalg.norm(table, axis=1), shortest)
    return np.asarray(np.linalg.norm(rest, axis=1) / np.sqrt(length))


def _directions(centred: NDArray[np.float64], count: int) -> Floats:
    """Where the rows vary most, as a card keeps it: float32 that float16 holds exactly."""
    if len(centred) > centred.shape[1]:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        rows = vectors.T[::-1][:count]
    else:
        rows = np.linalg.svd(centred, full_matrices=False)[2][:count]
    return np.ascontiguousarray(rows).astype(np.float16).astype(np.float32)


def _checked(embeddings: NDArray[np.floating], width: int) -> NDArray[np.float64]:
    table = np.asarray(embeddings, np.float64)
    if table.ndim != 2 or table.shape[1] != width:
        raise ModelError(
            f"expected embeddings (N, {width}), got shape {table.shape}: of another model?"
        )
    if not np.isfinite(table).all():
        raise ModelError(
            "an embedding is not a number; the model file is damaged or was trained to divergence"
        )
    return table


def _pack(array: Floats, kind: str) -> str:
    return base64.b64encode(array.astype(kind).tobytes()).decode()


def _unpack(name: str, text: str, kind: str, count: int) -> NDArray[np.floating]:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"{name!r} is not base64") from error
    size = count * np.dtype(kind).itemsize
    if len(data) != size:
        raise ValueError(f"{name!r} holds {len(data)} bytes, expected {size}")
    values = np.frombuffer(data, kind)
    if not np.isfinite(values).all():
        raise ValueError(f"{name!r} holds a value that is not a number")
    return values
