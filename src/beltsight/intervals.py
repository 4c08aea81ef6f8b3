"""Exact statements about a share, from binomial sums: they hold as certificates."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log

import numpy as np

from beltsight.errors import ConfigError


def binomial_cdf(successes: int, n: int, share: float) -> float:
    """Probability of at most this many successes in ``n`` independent trials.

    Args:
        successes: below 0 gives 0, ``n`` and above gives 1.
        n: number of trials, at least 0.
        share: probability of a success, 0 to 1.

    Example:
        >>> round(binomial_cdf(1, 3, 0.5), 6)  # (1 + 3) / 8
        0.5
    """
    if successes < 0:
        return 0.0
    if successes >= n or share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 0.0
    steps = np.arange(1, successes + 1)
    # log of (n choose i), built step by step; logarithms, since the powers underflow.
    ways = np.concatenate([[0.0], np.cumsum(np.log((n - steps + 1) / steps))])
    counts = np.arange(successes + 1)
    logs = ways + counts * np.log(share) + (n - counts) * np.log1p(-share)
    peak = logs.max()
    return float(min(1.0, np.exp(peak) * np.exp(logs - peak).sum()))


def exact_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of shares that ``successes`` of ``n`` are compatible with, never too narrow.

    :func:`beltsight.metrics.wilson_interval` is nearer to its nominal confidence on average; this
    one holds it for every share, which a certificate needs.

    Args:
        successes: 0 to n.
        n: number of trials; for 0 nothing is known and the interval is (0, 1).
        confidence: of the interval, 0 to 1, ends excluded; half of the rest lies on each side.

    Returns:
        (low, high), 0 to 1. Source: Clopper and Pearson 1934.

    Raises:
        ConfigError: not 0 <= successes <= n, or a confidence outside (0, 1).

    Example:
        >>> low, high = exact_interval(8, 10)
        >>> round(low, 4), round(high, 4)
        (0.4439, 0.9748)
    """
    if not 0 <= successes <= n:
        raise ConfigError(f"expected 0 <= successes <= n, got {successes} of {n}")
    _check_open("confidence", confidence)
    tail = (1.0 - confidence) / 2.0
    low = high = 0.0
    if successes > 0:
        low = _root(lambda share: 1.0 - binomial_cdf(successes - 1, n, share) - tail)
    high = 1.0
    if successes < n:
        high = _root(lambda share: tail - binomial_cdf(successes, n, share))
    return low, high


def fewest_without_mistake(share: float, confidence: float = 0.95) -> int:
    """How many trials without a mistake show, with this confidence, a share of successes.

    Args:
        share: to be shown, 0 to 1, ends excluded.
        confidence: 0 to 1, ends excluded.

    Returns:
        The least n with ``share ** n <= 1 - confidence``.

    Raises:
        ConfigError: a share or confidence outside (0, 1).

    Example:
        >>> fewest_without_mistake(0.97)
        99
    """
    _check_open("share", share)
    _check_open("confidence", confidence)
    n = max(1, ceil(log(1.0 - confidence) / log(share)))
    # Rounding of the logarithms may be one off where the power hits the level exactly.
    return n - 1 if n > 1 and share ** (n - 1) <= 1.0 - confidence else n


def _check_open(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise ConfigError(f"{name} must lie between 0 and 1, ends excluded; got {value}")


def _root(rising: Callable[[float], float]) -> float:
    """Where a rising function of a share crosses zero."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if rising(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
