"""What confidences are worth: calibration, risk over coverage, the model's own threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.metrics import wilson_interval
from beltsight.reliability import check_calibration
from beltsight.selective import risk_coverage


def confidence_figures(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], threshold: float | None = None
) -> dict[str, Any]:
    """All figures of confidence of one task, as they stand in ``metrics.json``.

    Args:
        probabilities: float64 (N, C), calibrated.
        labels: int64 (N,) class indices.
        threshold: confidence from which on the model does not abstain, or None.

    Returns:
        ``calibration``: debiased error with the band of a perfectly calibrated model, None of
        fewer than two photos. ``risk_coverage``: the curve. ``accepted``: None without a
        threshold; else what it accepts: ``threshold``, ``n``, ``coverage``, ``right``, ``purity``
        (None of nothing accepted) and its Wilson ``interval``.
    """
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    enough = len(labels) >= 2
    return {
        "calibration": check_calibration(confidences, correct).to_record() if enough else None,
        "risk_coverage": risk_coverage(confidences, correct).to_record(),
        "accepted": None if threshold is None else _accepted(confidences, correct, threshold),
    }


def _accepted(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], threshold: float
) -> dict[str, Any]:
    chosen = confidences >= threshold
    n, right = int(chosen.sum()), int(correct[chosen].sum())
    return {
        "threshold": threshold,
        "n": n,
        "coverage": n / len(confidences),
        "right": right,
        "purity": right / n if n else None,
        "interval": list(wilson_interval(right, n)),
    }
