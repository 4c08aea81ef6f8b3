"""From logits to probabilities that mean what they say: one temperature per task.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DatasetError

FEW_PHOTOS = 50
"""With fewer photos a fitted temperature may be far off."""

_LEAST_T, _MOST_T = 0.05, 20.0
_LOG_T_RANGE = (float(np.log(_LEAST_T)), float(np.log(_MOST_T)))
_LOG_T_DEVIATION = 0.5


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits divided by a temperature.

    Args:
        logits: (N, C), any real numbers.
        temperature: above 0; larger is less sure.

    Returns:
        float64 (N, C); rows sum to 1.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def negative_log_likelihood(
    logits: NDArray[np.floating], labels: NDArray[np.integer], temperature: float = 1.0
) -> float:
    """Mean of -log p(label) in nats.

    Args:
        logits: (N, C).
        labels: (N,) class indices.
        temperature: above 0.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    peak = scaled.max(axis=1)
    log_sum = peak + np.log(np.exp(scaled - peak[:, None]).sum(axis=1))
    return float((log_sum - scaled[np.arange(len(labels)), labels]).mean())


def fit_temperature(
    logits: NDArray[np.floating], labels: NDArray[np.integer], usual: float = 1.0
) -> float:
    """The most probable temperature on held-out photos.

    Few photos say little: where all their answers are right, the likelihood alone would call the
    model sure without bound. So the likelihood is weighed with what temperatures usually are: log T
    about that of ``usual``, with a standard deviation of 0.5. Hundreds of photos hardly feel it,
    unless all are right: see :func:`temperature_doubt`.

    Args:
        logits: (N, C) of a validation split.
        labels: (N,) class indices.
        usual: where the temperature would lie if there were no photo: what it was before, or 1.

    Returns:
        A value in 0.05 to 20, found by golden section. Source: Guo et al. 2017, with a prior.

    Raises:
        DatasetError: no labelled photo to fit on.

    Example:
        >>> sure = np.tile([4.0, 0.0], (4000, 1))
        >>> labels = (np.arange(4000) % 4 == 0).astype(int)
        >>> round(fit_temperature(sure, labels), 1)  # sigmoid(4 / T) = 3 / 4
        3.6
    """
    if len(labels) == 0:
        raise DatasetError("cannot fit a temperature: no labelled validation photo")
    centre = float(np.clip(np.log(usual), *_LOG_T_RANGE))

    def loss(log_t: float) -> float:
        likelihood = len(labels) * negative_log_likelihood(logits, labels, np.exp(log_t))
        return likelihood + 0.5 * ((log_t - centre) / _LOG_T_DEVIATION) ** 2

    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    low, high = _LOG_T_RANGE
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def likely_temperatures(usual: float) -> tuple[float, ...]:
    """What the temperature may be, said before any photo is looked at.

    Args:
        usual: what it was before, above 0.

    Returns:
        Five equally likely values, rising, of what :func:`fit_temperature` takes temperatures for.

    Example:
        >>> [round(each, 2) for each in likely_temperatures(1.0)]
        [0.53, 0.77, 1.0, 1.3, 1.9]
    """
    normal = NormalDist(float(np.log(usual)), _LOG_T_DEVIATION)
    return tuple(float(np.exp(normal.inv_cdf(share))) for share in (0.1, 0.3, 0.5, 0.7, 0.9))


def temperature_doubt(n: int, right: int, temperature: float) -> str | None:
    """What speaks against a fitted temperature, in words; None where nothing does.

    Args:
        n: labelled photos that it was fitted on.
        right: of them answered rightly.
        temperature: as fitted.
    """
    if n < FEW_PHOTOS:
        return f"fitted on {n} labelled photos only, it may be far off; {FEW_PHOTOS} do better"
    if right == n:
        return f"all {n} answers were right, so how sure to be of a wrong one is not known"
    if right == 0:
        return f"none of {n} answers was right: are the labels those of this model?"
    if not _LEAST_T * 1.01 < temperature < _MOST_T / 1.01:
        return "it lies at the end of the range that is searched: confidences mean little"
    return None


def expected_calibration_error(
    confidences: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over equally wide bins of confidence.

    Args:
        confidences: (N,) probability of the chosen class, 0 to 1.
        correct: (N,) whether the chosen class was right.
        bins: number of bins over (0, 1].

    Returns:
        0 (calibrated) to 1; 0 for no photos. Source: Guo et al. 2017, equation 3.
    """
    if len(confidences) == 0:
        return 0.0
    index = np.clip(np.ceil(np.asarray(confidences) * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    confidence = np.bincount(index, weights=confidences, minlength=bins)
    hits = np.bincount(index, weights=correct, minlength=bins)
    return float(np.abs(confidence - hits).sum() / count.sum())
