"""Exact binomial sums, against scipy."""

from __future__ import annotations

import pytest
from scipy.stats import binom, binomtest

from beltsight.errors import ConfigError
from beltsight.intervals import binomial_cdf, exact_interval, fewest_without_mistake


@pytest.mark.parametrize("n", [1, 7, 328, 20_000])
@pytest.mark.parametrize("share", [1e-6, 0.03, 0.5, 0.97])
def test_the_sum_agrees_with_scipy(n: int, share: float) -> None:
    for successes in {0, 1, n // 50, n // 2, n - 1, n}:
        expected = binom.cdf(successes, n, share)
        assert binomial_cdf(successes, n, share) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_the_ends_of_the_sum() -> None:
    assert binomial_cdf(-1, 5, 0.5) == 0
    assert binomial_cdf(5, 5, 0.5) == 1
    assert binomial_cdf(0, 5, 0.0) == 1
    assert binomial_cdf(4, 5, 1.0) == 0


@pytest.mark.parametrize(("successes", "n"), [(0, 9), (9, 9), (1, 2), (291, 300), (4_900, 5_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_interval_is_that_of_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="exact")
    assert exact_interval(successes, n, confidence) == pytest.approx(
        (expected.low, expected.high), abs=1e-9
    )


def test_of_nothing_nothing_is_known() -> None:
    assert exact_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.97, 0.99])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95])
def test_the_fewest_are_enough_and_one_less_is_not(share: float, confidence: float) -> None:
    n = fewest_without_mistake(share, confidence)
    assert share**n <= 1 - confidence + 1e-12
    assert n == 1 or share ** (n - 1) > 1 - confidence - 1e-12
    # The same, asked of the interval's one-sided form.
    assert exact_interval(n, n, 2 * confidence - 1 or 1e-9)[0] >= share - 1e-9


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 <= successes <= n, got 6 of 5"):
        exact_interval(6, 5)
    with pytest.raises(ConfigError, match="confidence must lie between 0 and 1"):
        exact_interval(1, 5, 1.0)
    with pytest.raises(ConfigError, match=r"share must lie between 0 and 1.*1\.5"):
        fewest_without_mistake(1.5)
