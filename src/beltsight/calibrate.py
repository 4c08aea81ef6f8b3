"""From logits to probabilities that mean what they say: one temperature per task.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DatasetError

_LOG_T_RANGE = (np.log(0.05), np.log(20.0))


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


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature with the least negative log-likelihood on held-out photos.

    Args:
        logits: (N, C) of a validation split.
        labels: (N,) class indices.

    Returns:
        A value in 0.05 to 20. The likelihood has one minimum in log T, found by golden section.

    Raises:
        DatasetError: no labelled photo to fit on.

    Example:
        >>> sure = np.array([[4.0, 0.0], [4.0, 0.0], [4.0, 0.0], [4.0, 0.0]])
        >>> round(fit_temperature(sure, np.array([0, 0, 0, 1])), 2)  # sigmoid(4 / T) = 3 / 4
        3.64
    """
    if len(labels) == 0:
        raise DatasetError("cannot fit a temperature: no labelled validation photo")
    ratio = (np.sqrt(5.0) - 1.0) / 2.0
    low, high = _LOG_T_RANGE
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if negative_log_likelihood(logits, labels, np.exp(left)) < negative_log_likelihood(
            logits, labels, np.exp(right)
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


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
