"""From what a model answered to what was there: shares corrected by its confusion matrix.

A model that takes 5 % of the glass for plastic finds plastic in a stream of glass alone. From the
matrix, which says how often each class gets each answer, the shares that make the observed answers
most probable are found.

Source: W. J. Rogan and B. Gladen, Estimating prevalence from the results of a screening test,
American Journal of Epidemiology 107 (1978) 71-76, for two classes; for more, the inverse of the
matrix, J. P. Buonaccorsi, Measurement Error (2010), chapters 2 and 3. Where the inverse gives
shares below 0, the most likely ones that are not are taken, by expectation and maximisation
(A. P. Dempster and others 1977; M. Saerens and others, Neural Computation 14 (2002) 21-41).
The intervals hold the uncertainty of the matrix, too, which comes of its few photos: its rows are
drawn from their Dirichlet posterior (for two classes compare Z. Lang and J. Reiczigel, Preventive
Veterinary Medicine 113 (2014) 13-22).

What is taken for granted: items of a class are mistaken on the belt as often as its photos were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.card import Card
from beltsight.errors import ConfigError
from beltsight.records import MATERIAL

Array = NDArray[np.float64]
DRAWS = 2_000
_EM_STEPS = 300
_CLOSE = 1e-7


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """How often each class got each answer, on photos whose class is known.

    Args:
        classes: C names.
        counts: int64 (C, C); row: truth, column: answer; every row has photos.
        split: of the photos, e.g. ``test``.

    Raises:
        ConfigError: another shape, or a class without photos.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    split: str = ""

    def __post_init__(self) -> None:
        size = len(self.classes)
        counts = np.asarray(self.counts)
        if counts.shape != (size, size) or (counts < 0).any():
            raise ConfigError(f"a confusion matrix of {size} classes has the shape {counts.shape}")
        empty = [name for name, n in zip(self.classes, counts.sum(axis=1), strict=True) if not n]
        if empty:
            raise ConfigError(f"no photo of {', '.join(empty)} was in the evaluation")

    @property
    def rates(self) -> Array:
        """float64 (C, C): the probability of each answer by class; rows sum to 1."""
        counts = np.asarray(self.counts, np.float64)
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))

    def draw_rates(self, rng: np.random.Generator, draws: int) -> Array:
        """float64 (draws, C, C): rates as they may truly be, the photos being few.

        Each row by its Dirichlet posterior; the prior weighs as much as one photo.
        """
        gammas = rng.standard_gamma(
            self.counts + 1 / len(self.classes), (draws, *self.counts.shape)
        )
        gammas = np.maximum(gammas, 1e-300)
        return np.asarray(gammas / gammas.sum(axis=2, keepdims=True))


def confusion_of(card: Card) -> Confusion | str:
    """A card's confusion matrix of materials, or why it holds none that serves.

    The figures of the test split are taken where the card has them: the model was not chosen by
    them.
    """
    classes = next((t.classes for t in card.tasks if t.name == MATERIAL), None)
    if classes is None:
        return f"the model does not answer the task {MATERIAL}"
    said = "the model's card has no confusion matrix"
    for figures in (card.metrics.get("test"), card.metrics):
        found = _matrix(figures, classes)
        if isinstance(found, Confusion):
            return found
        said = found or said
    return said


def fit_shares(observed: Array, rates: Array) -> Array:
    """The shares of classes that make the observed answers most probable.

    Args:
        observed: float (..., C) shares of answers; they sum to 1.
        rates: float (..., C, C) probability of each answer by class; rows sum to 1.

    Returns:
        float64 (..., C), none below 0; they sum to 1.

    Example:
        >>> rates = np.array([[0.9, 0.1], [0.2, 0.8]])  # Rogan-Gladen: (0.48 - 0.1) / (0.8 - 0.1)
        >>> fit_shares(np.array([0.52, 0.48]), rates).round(4).tolist()
        [0.4571, 0.5429]
    """
    lead = np.broadcast_shapes(observed.shape[:-1], rates.shape[:-2])
    size = observed.shape[-1]
    seen = np.broadcast_to(observed, (*lead, size)).reshape(-1, size)
    matrices = np.broadcast_to(rates, (*lead, size, size)).reshape(-1, size, size)
    shares = _inverted(seen, matrices)
    rest = ~np.isfinite(shares).all(axis=1) | (shares < 0).any(axis=1)
    if rest.any():
        shares[rest] = _most_likely(seen[rest], matrices[rest])
    shares = np.clip(shares, 0.0, None)
    return np.asarray((shares / shares.sum(axis=1, keepdims=True)).reshape(*lead, size))


def _inverted(seen: Array, matrices: Array) -> Array:
    """Shares p with p K = q; NaN where K has no inverse to speak of."""
    shares = np.full_like(seen, np.nan)
    sound = np.abs(np.linalg.det(matrices)) > 1e-9
    if sound.any():
        turned = matrices[sound].transpose(0, 2, 1)
        shares[sound] = np.linalg.solve(turned, seen[sound][..., None])[..., 0]
    return shares


def _most_likely(seen: Array, matrices: Array) -> Array:
    shares = np.full_like(seen, 1 / seen.shape[1])
    for _ in range(_EM_STEPS):
        expected = np.einsum("nt,nta->na", shares, matrices)
        ratio = np.divide(seen, expected, out=np.zeros_like(seen), where=expected > 0)
        after = shares * np.einsum("na,nta->nt", ratio, matrices)
        after /= np.maximum(after.sum(axis=1, keepdims=True), 1e-300)
        if np.abs(after - shares).max() < _CLOSE:
            return np.asarray(after)
        shares = after
    return shares


def _matrix(figures: Any, classes: Sequence[str]) -> Confusion | str | None:
    """The matrix of a card's figures, which may hold anything; or why not; None without one."""
    try:
        found = figures["tasks"][MATERIAL]
        counts, named = found["confusion"], tuple(found["classes"])
    except (KeyError, TypeError, IndexError):
        return None
    if named != tuple(classes):
        return "the classes of the card's confusion matrix are not the model's"
    try:
        matrix = np.asarray(counts, np.float64)
        if not (matrix == np.floor(matrix)).all() or not (matrix < 1e12).all():
            return "the card's confusion matrix holds no counts"
        return Confusion(tuple(classes), matrix.astype(np.int64), str(figures.get("split", "")))
    except (ValueError, TypeError, ConfigError) as error:
        return f"the card's confusion matrix does not serve: {error}"
