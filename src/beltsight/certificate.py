"""Which of many thresholds may be vouched for: exact tests in an order fixed beforehand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beltsight.intervals import binomial_cdf

_MOST_TESTS = 60


def find_laxest(
    counts: NDArray[np.int64],
    mistakes: NDArray[np.int64],
    promised: NDArray[np.float64],
    risk: float,
    level: float,
) -> int | None:
    """The laxest of many nested selections that a series of tests vouches for.

    The series starts where the promised mistakes make a pass most probable and goes on to ever
    laxer selections; the first that fails ends it. Neither the start nor the order looks at the
    mistakes that happened, which is why the level holds for the whole series. So ``promised`` must
    not come from confidences that were fitted to the same labels.

    Args:
        counts: (K,) photos accepted, rising.
        mistakes: (K,) mistakes among them.
        promised: (K,) mistakes among them that the model expected before it saw their labels, or
            (S, K) of as many equally likely guesses of how far its confidences were right.
        risk: share of mistakes that is not to be exceeded, 0 to 1.
        level: how often the answer may be wrong; so many photos are there that the last selection
            without a mistake would pass.

    Returns:
        A place in the arrays, or None. Source: fixed-sequence testing, Angelopoulos, Bates, Candès,
        Jordan and Lei 2021, "Learn then Test".

    Example:
        >>> find_laxest(np.array([80, 99, 200]), np.array([0, 0, 9]), np.zeros(3), 0.03, 0.05)
        1
    """
    places, allowed = _series(counts, risk, level)
    start = int(np.argmax([
        sum(_poisson_cdf(most, float(mean)) for mean in np.atleast_2d(promised)[:, place])
        for place, most in zip(places, allowed, strict=True)
    ]))  # fmt: skip
    certified = None
    for place in places[start:]:
        if binomial_cdf(int(mistakes[place]), int(counts[place]), risk) > level:
            break
        certified = place
    return certified


def _series(counts: NDArray[np.int64], risk: float, level: float) -> tuple[list[int], list[int]]:
    """The places to test, strict to lax, and how many mistakes each may hold.

    Each number of mistakes is tested where it is first allowed: in between, a new mistake would
    end the series although a few photos later it is forgiven.
    """
    n = int(counts[-1])
    last = _most_mistakes(n, risk, level)
    numbers = np.unique(np.linspace(0, last, _MOST_TESTS).round().astype(int))
    wanted = [_fewest_accepted(int(number), n, risk, level) for number in numbers]
    places = sorted({int(np.searchsorted(counts, count)) for count in [*wanted, n]})
    return places, [_most_mistakes(int(counts[place]), risk, level) for place in places]


def _most_mistakes(accepted: int, risk: float, level: float) -> int:
    """The most mistakes that still certify; the caller knows that none would."""
    low, high = 0, accepted
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(middle, accepted, risk) <= level:
            low = middle
        else:
            high = middle
    return low


def _fewest_accepted(mistakes: int, n: int, risk: float, level: float) -> int:
    """The least number of accepted photos at which so many mistakes certify; at most ``n``."""
    low, high = mistakes, n
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_cdf(mistakes, middle, risk) <= level:
            high = middle
        else:
            low = middle
    return high


def _poisson_cdf(most: int, mean: float) -> float:
    """Probability of at most so many rare events."""
    if mean <= 0.0:
        return 1.0
    counts = np.arange(1, most + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(mean / counts))]) - mean
    return float(np.exp(logs).sum())
