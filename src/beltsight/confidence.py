"""What confidences are worth: calibration, risk over coverage, what the model accepts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.metrics import CALIBRATION_BINS, share_interval
from beltsight.reliability import check_calibration, reliability_bins
from beltsight.selective import risk_coverage

_PHOTOS_A_BIN = 30  # of fewer, a bin's share right is too uncertain to be looked at
# A bin of one photo adds nothing to the debiased error: with as many bins as photos it is always 0.
_FEWEST_A_BIN = 10


def confidence_figures(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    threshold: float | None = None,
    novel: NDArray[np.bool_] | None = None,
    items: NDArray[np.integer] | None = None,
) -> dict[str, Any]:
    """All figures of confidence of one task, as they stand in ``metrics.json``.

    Args:
        probabilities: float64 (N, C), calibrated.
        labels: int64 (N,) class indices.
        threshold: confidence from which on the model does not abstain, or None.
        novel: bool (N,) whether the model abstains since a photo looks unlike anything seen, or
            None where it cannot tell.
        items: (N,) which item each photo shows, where items show in several; it widens all
            intervals and the band.

    Returns:
        ``calibration``: debiased error with the band of a perfectly calibrated model, None of
        fewer than two photos. ``reliability``: bins of about equal number, see
        :func:`beltsight.reliability.reliability_bins`. ``risk_coverage``: the curve. ``accepted``:
        None for a model that never abstains; else what is accepted after both: ``threshold``,
        ``novel`` (photos, or None), ``n``, ``coverage``, ``right``, ``purity`` (None of nothing
        accepted) and its Wilson ``interval``.
    """
    confidences = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    enough = len(labels) >= 2
    bins = _bins(len(labels), _PHOTOS_A_BIN)
    check = (
        check_calibration(confidences, correct, _bins(len(labels), _FEWEST_A_BIN), items=items)
        if enough
        else None
    )
    return {
        "calibration": check and check.to_record(),
        "reliability": [
            {**asdict(one), "interval": list(one.interval)}
            for one in reliability_bins(confidences, correct, bins, items=items)
        ],
        "risk_coverage": risk_coverage(confidences, correct).to_record(),
        "accepted": _accepted(confidences, correct, threshold, novel, items),
    }


def _bins(n: int, least: int) -> int:
    """Of ``n`` photos, so that each bin has that many at least."""
    return min(CALIBRATION_BINS, max(1, n // least))


def _accepted(
    confidences: NDArray[np.float64],
    correct: NDArray[np.bool_],
    threshold: float | None,
    novel: NDArray[np.bool_] | None,
    items: NDArray[np.integer] | None,
) -> dict[str, Any] | None:
    if threshold is None and novel is None:
        return None
    chosen = confidences >= (threshold or 0.0)
    if novel is not None:
        chosen &= ~novel
    n, right = int(chosen.sum()), int(correct[chosen].sum())
    return {
        "threshold": threshold,
        "novel": None if novel is None else int(novel.sum()),
        "n": n,
        "coverage": n / len(confidences),
        "right": right,
        "purity": right / n if n else None,
        "interval": list(share_interval(correct[chosen], None if items is None else items[chosen])),
    }
