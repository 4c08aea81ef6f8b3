"""The route of least expected cost among those that are allowed.

The expected cost of a route is the mean of its costs over the right routes, weighed by how probable
each is. Allowed are the routes that are right with at least their stream's purity, and
hand-sorting, which is always allowed. Ties go to the route that comes first.

Source: Chow 1970, "On optimum recognition error and reject tradeoff", for the rule with a reject
option; Elkan 2001, "The foundations of cost-sensitive learning", for the cost matrix.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
# What is closer is equal: costs by their ratio, probabilities by their difference. The same numbers
# summed in another order are.
_SAME = 1e-9
# Probabilities that were rounded to a few digits on their way sum to 1 within this.
_ROUNDED = 1e-3


def choose_routes(
    right: Array, costs: Array, purities: Array, by_hand: int
) -> tuple[Indices, Indices]:
    """The allowed route of least expected cost, and the one of least cost of all.

    Args:
        right: (N, R) probability that each route is the right one.
        costs: (R, R); row: taken, column: right.
        purities: (R,) least probability of being right with which a route is allowed.
        by_hand: index of the route that is always allowed.

    Returns:
        Two int64 (N,) arrays of route indices; among equal costs the first route.

    Example:
        >>> costs = np.array([[0, 5], [1, 1]])  # a stream, and hand-sorting at 1
        >>> right = np.array([[0.9, 0.1], [0.7, 0.3]])
        >>> choose_routes(right, costs, np.array([0.0, 0.0]), by_hand=1)[0].tolist()
        [0, 1]
    """
    expected = np.asarray(right, np.float64) @ np.asarray(costs, np.float64).T
    allowed = right >= purities - _SAME
    allowed[:, by_hand] = True
    return _first_least(np.where(allowed, expected, np.inf)), _first_least(expected)


def are_probabilities(rows: Array) -> NDArray[np.bool_]:
    """Whether each row holds numbers from 0 to 1 that sum to 1, give or take a thousandth.

    Args:
        rows: (N, C).

    Returns:
        bool (N,).

    Example:
        >>> rows = np.array([[0.7, 0.3], [0.6995, 0.3], [3.0, -2.0], [0.6, 0.6], [0.7, np.nan]])
        >>> are_probabilities(rows).tolist()
        [True, True, False, False, False]
    """
    rows = np.asarray(rows, np.float64)
    return np.asarray((rows >= -_SAME).all(axis=1) & (np.abs(rows.sum(axis=1) - 1.0) <= _ROUNDED))


def _first_least(expected: Array) -> Indices:
    # Not by the largest cost: who writes a huge one for "never" must not make all others equal.
    least = expected.min(axis=1, keepdims=True)
    # Rounding may put the least a little below 0, where a larger factor would leave none.
    return np.asarray((expected <= least + np.abs(least) * _SAME).argmax(axis=1), np.int64)
