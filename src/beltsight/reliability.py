"""Do confidences mean what they say? Reliability, a debiased error, and what chance alone gives.

Every function takes (N,) probabilities of an event and (N,) whether it came true: the confidence
of the chosen class and whether it was right, or, class by class, ``probabilities[:, c]`` and
``labels == c``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import ConfigError, DatasetError, ModelError
from beltsight.metrics import CALIBRATION_BINS, share_interval

_MOST_CELLS = 4_000_000  # of one block of simulated outcomes: 32 MB


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One point of a reliability diagram.

    Args:
        low: least confidence in the bin.
        high: largest confidence in the bin.
        n: photos in it, at least 1.
        confidence: their mean confidence.
        accuracy: share of them that were right.
        interval: 95 % Wilson interval of the accuracy, wider where photos show the same item.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class CalibrationCheck:
    """A calibration error beside those that a perfectly calibrated model of this size shows.

    Args:
        error: debiased, 0 to 1: the root of the mean squared gap between confidence and accuracy
            over bins of equal mass, less the variance of each bin's accuracy, by which the plain
            square is too large, the more so the fewer photos there are; 0 where the subtraction
            leaves nothing. A bin of one photo adds nothing. The variance is that of photos of
            different items: of the same ones the error is larger, and so is the band.
        band: 95 % of perfectly calibrated models with these confidences lie in it: from 0 to the
            95th percentile, since an error can only be too large.
        p_value: share of them whose error is at least as large; below 0.05 outside the band.
        n: photos.
        bins: of equal mass.
        draws: simulated models.
    """

    error: float
    band: tuple[float, float]
    p_value: float
    n: int
    bins: int
    draws: int

    @property
    def is_calibrated(self) -> bool:
        """Whether the error lies inside the band: chance alone explains it."""
        return self.error <= self.band[1]

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        record = asdict(self)
        return {**record, "band": list(self.band), "is_calibrated": self.is_calibrated}


def reliability_bins(
    confidences: NDArray[np.floating],
    correct: NDArray[np.bool_],
    bins: int = CALIBRATION_BINS,
    *,
    items: NDArray[np.integer] | None = None,
) -> tuple[ReliabilityBin, ...]:
    """What a reliability diagram draws.

    Args:
        confidences: (N,) probability of the chosen class, 0 to 1.
        correct: (N,) whether the chosen class was right.
        bins: number of bins, at least 1, of about N / ``bins`` photos each, since confidences
            crowd near 1. Equal confidences share a bin.
        items: (N,) which item each photo shows; None where each shows its own.

    Raises:
        DatasetError: no photos.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match, or fewer than one bin.

    Example:
        >>> for b in reliability_bins(np.array([0.6, 0.7, 0.9, 1.0]), np.array([0, 1, 1, 1]), 2):
        ...     print(b.n, round(b.confidence, 2), b.accuracy)
        2 0.65 0.5
        2 0.95 1.0
    """
    confidences, correct = check_answers(confidences, correct)
    _check_items(items, len(correct))
    index = _bin_index(confidences, bins)
    found = []
    for number in np.unique(index):
        inside = index == number
        values, hits, n = confidences[inside], int(correct[inside].sum()), int(inside.sum())
        found.append(
            ReliabilityBin(
                low=float(values.min()),
                high=float(values.max()),
                n=n,
                confidence=float(values.mean()),
                accuracy=hits / n,
                interval=share_interval(correct[inside], None if items is None else items[inside]),
            )
        )
    return tuple(found)


def check_calibration(
    confidences: NDArray[np.floating],
    correct: NDArray[np.bool_],
    bins: int = CALIBRATION_BINS,
    *,
    items: NDArray[np.integer] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> CalibrationCheck:
    """Whether the calibration error is larger than chance alone explains.

    Many times, outcomes are drawn from the model's own confidences, which makes it perfectly
    calibrated, and the same debiased error is computed in the same bins. Photos of one item are
    drawn together: the surer ones are right wherever a less sure one is. No dependence scatters
    shares more, so that the band is rather too wide where photos of an item differ.

    Args:
        confidences: (N,) probability of the chosen class, 0 to 1.
        correct: (N,) whether the chosen class was right.
        bins: number of bins of equal mass.
        items: (N,) which item each photo shows; None where each shows its own.
        draws: simulated models, at least 100.
        seed: the same seed gives the same band.

    Returns:
        Source: for the error Kumar, Liang and Ma 2019, "Verified Uncertainty Calibration", section
        4, the debiased estimator of the squared l2 error; for the band the consistency resampling
        of Bröcker and Smith 2007, "Increasing the Reliability of Reliability Diagrams", applied to
        it. On photos that the temperature was fitted on the check is too mild.

    Raises:
        DatasetError: fewer than two photos.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match, fewer than one bin or 100 draws.
    """
    if draws < 100:
        raise ConfigError(f"a 95 % band needs at least 100 draws, got {draws}")
    confidences, correct = check_answers(confidences, correct, least=2)
    _check_items(items, len(correct))
    order = np.argsort(confidences, kind="stable")
    ranked, hits = confidences[order], correct[order]
    starts = _starts(_bin_index(ranked, bins))
    lots = np.arange(len(ranked)) if items is None else _lots(np.asarray(items)[order])
    generator = np.random.default_rng(seed)
    block = max(1, _MOST_CELLS // len(ranked))
    parts = []
    for first in range(0, draws, block):
        drawn = generator.random((min(block, draws - first), int(lots.max()) + 1))
        parts.append(_squares(ranked, drawn[:, lots] < ranked, starts))
    simulated = np.concatenate(parts)
    square = _squares(ranked, hits[None], starts)[0]
    # Rounding must not tell a simulated copy of the real outcomes from them.
    as_large = int((simulated >= square - 1e-12).sum())
    return CalibrationCheck(
        error=float(np.sqrt(max(square, 0.0))),
        band=(0.0, float(np.sqrt(max(np.quantile(simulated, 0.95), 0.0)))),
        p_value=(1 + as_large) / (1 + draws),
        n=len(ranked),
        bins=len(starts),
        draws=draws,
    )


def check_answers(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], least: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The two arrays, if they are (N,) probabilities and (N,) outcomes.

    Args:
        confidences: to be 0 to 1; rounding up to 1e-6 above 1 is cut off.
        correct: to be true or false.
        least: how many photos are needed.

    Raises:
        DatasetError: fewer photos than needed.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match.
    """
    values, outcomes = np.asarray(confidences, np.float64), np.asarray(correct).astype(np.bool_)
    if values.ndim != 1 or values.shape != outcomes.shape:
        raise ConfigError(
            f"expected one confidence and one outcome per photo, got arrays of shape "
            f"{values.shape} and {outcomes.shape}"
        )
    if len(values) < least:
        raise DatasetError(
            f"confidence cannot be measured on {len(values)} photos; at least {least} with a "
            "label and an answer are needed"
        )
    if not ((values >= 0.0) & (values <= 1.0 + 1e-6)).all():
        raise ModelError(
            "a confidence is not a number from 0 to 1; give probabilities (softmax of the logits), "
            "of a model that was not trained to divergence"
        )
    return np.minimum(values, 1.0), outcomes


def _check_items(items: NDArray[np.integer] | None, n: int) -> None:
    if items is not None and np.shape(items) != (n,):
        raise ConfigError(f"expected one item for each of {n} photos, got shape {np.shape(items)}")


def _lots(items: NDArray[np.integer]) -> NDArray[np.int64]:
    """Which draw decides each photo: numbered as they come, so single photos keep their own."""
    _, first, places = np.unique(items, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[places], np.int64)


def _bin_index(confidences: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    if bins < 1:
        raise ConfigError(f"expected at least one bin, got {bins}")
    # By the rank of the first equal value, so that the order of equal confidences is nothing.
    rank = np.searchsorted(np.sort(confidences), confidences)
    return np.asarray(rank * bins // len(confidences), np.int64)


def _starts(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each bin begins in sorted order."""
    return np.concatenate([[0], np.flatnonzero(np.diff(index)) + 1])


def _squares(
    ranked: NDArray[np.float64], outcomes: NDArray[np.bool_], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Debiased squared error of each row of outcomes; it may be negative."""
    counts = np.diff(np.concatenate([starts, [len(ranked)]]))
    confidence = np.add.reduceat(ranked, starts) / counts
    accuracy = np.add.reduceat(outcomes, starts, axis=1, dtype=np.int64) / counts
    variance = accuracy * (1.0 - accuracy) / np.maximum(counts - 1, 1)
    terms = (confidence - accuracy) ** 2 - variance
    return np.asarray((terms * np.where(counts > 1, counts, 0)).sum(axis=1) / counts.sum())
