"""Which placement is better, and how sure that is: pure functions over errors and answers.

Two kinds of chance are kept apart. Other photos: paired tests over the test photos, seeds pooled.
Other trainings: tests over cells, a cell being one size and seed with its own draw of weights. A
training now and then fails outright (a class is never answered, or the loss is no number), so over
cells medians and ranks are compared, and failures are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, rankdata, spearmanr, wilcoxon
from scipy.stats import t as student
from studies.relu_placement.model import NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.tables import Marks, Share, difference

Floats = NDArray[np.float64]
_FLIPS = 19_999
_RESAMPLES = 10_000
LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """How much more of the photos one placement answers wrongly than another, or than the rest.

    Args:
        gap: in points, with the 95 % interval of a paired bootstrap over photos.
        p: of a sign-flip test over photos.
        p_holm: corrected for all pairs of the family.
        one_way: whether the gap has the same sign in every seed.
    """

    gap: Share
    p: float
    p_holm: float
    one_way: bool

    @property
    def is_shown(self) -> bool:
        """Whether the corrected test and every seed say so."""
        return self.p_holm < LEVEL and self.one_way


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction.

    Returns:
        Corrected values in the order given. Source: Holm 1979.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    count = len(p_values)
    corrected, highest = [0.0] * count, 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        corrected[place] = highest
    return corrected


def sign_flip_p(values: Floats, seed: int = 0) -> float:
    """Two-sided p of a mean of zero, were each value as likely to have the other sign.

    Args:
        values: paired differences.
        seed: of the drawn signs.

    Returns:
        At least 5e-5. Up to 16 values other than zero are counted out instead of drawn.

    Example:
        >>> sign_flip_p(np.array([1.0, 1.0, 1.0]))  # 2 of 8
        0.25
    """
    rounded = np.abs(values[values != 0]).round(9)
    observed = abs(float(values.sum())) - 1e-7
    if rounded.size == 0:
        return 1.0
    if rounded.size <= 16:
        signs = 1 - 2 * (np.arange(2**rounded.size)[:, None] >> np.arange(rounded.size) & 1)
        return float((np.abs(signs @ rounded) >= observed).mean())
    # Equal values flip alike: how many of them are positive is all that counts.
    sizes, counts = np.unique(rounded, return_counts=True)
    drawn = np.random.default_rng(seed).binomial(counts, 0.5, size=(_FLIPS, len(counts)))
    sums = (2 * drawn - counts) @ sizes
    return float((1 + (np.abs(sums) >= observed).sum()) / (1 + _FLIPS))


def against_published(marks: Mapping[str, Marks]) -> dict[str, Pair]:
    """Each other placement against the published winner: 15 pairs.

    Args:
        marks: per placement (seeds, photos), 1 where right.
    """
    reference = marks[PUBLISHED_NAME]
    return _pairs({name: (own, reference) for name, own in marks.items() if own is not reference})


def against_rest(marks: Mapping[str, Marks]) -> dict[str, Pair]:
    """Each placement against the mean of all others: 16 comparisons."""
    total = np.sum(list(marks.values()), axis=0)
    others = len(marks) - 1
    return _pairs({name: (own, (total - own) / others) for name, own in marks.items()})


def _pairs(pairs: Mapping[str, tuple[Marks, Marks]]) -> dict[str, Pair]:
    gaps = {name: b - a for name, (a, b) in pairs.items()}  # right turned into wrong
    p_values = [sign_flip_p(gap.mean(axis=0)) for gap in gaps.values()]
    found = {}
    for (name, gap), p, p_holm in zip(gaps.items(), p_values, holm(p_values), strict=True):
        share = difference(gap, np.zeros_like(gap))
        points = Share(100 * share.mean, 100 * share.low, 100 * share.high)
        signs = np.sign(gap.mean(axis=1))
        found[name] = Pair(points, p, p_holm, bool(abs(signs.sum()) == len(signs)))
    return found


def over_cells(errors: Floats) -> dict[str, Pair]:
    """Each other placement against the published winner, over cells.

    Args:
        errors: (cells, placements), in percent, in the order of ``NAMES``.

    Returns:
        Median gap in points with the bootstrap interval over cells; Wilcoxon's signed-rank test,
        corrected.
    """
    reference = errors[:, NAMES.index(PUBLISHED_NAME)]
    names = [name for name in NAMES if name != PUBLISHED_NAME]
    gaps = [errors[:, NAMES.index(name)] - reference for name in names]
    p_values = [float(wilcoxon(gap).pvalue) if gap.any() else 1.0 for gap in gaps]
    return {
        name: Pair(median_interval(gap), p, p_holm, True)
        for name, gap, p, p_holm in zip(names, gaps, p_values, holm(p_values), strict=True)
    }


def mean_interval(values: Floats) -> Share:
    """The mean with its 95 % t interval; of one value, no interval (NaN).

    Example:
        >>> share = mean_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(share.mean, 3), round(share.low, 3), round(share.high, 3)
        (2.0, -0.484, 4.484)
    """
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return Share(mean, float("nan"), float("nan"))
    half = float(student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Share(mean, mean - half, mean + half)


def median_interval(values: Floats, seed: int = 0) -> Share:
    """The median with the 95 % interval of a bootstrap; of one value, no interval (NaN)."""
    middle = float(np.median(values))
    if len(values) < 2:
        return Share(middle, float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).choice(values, size=(_RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return Share(middle, float(low), float(high))


def failures(errors: Floats) -> NDArray[np.bool_]:
    """Which trainings failed outright: far above what the better placements of their cell reach.

    The lower quartile stands for these, since a ReLU in the wrong place can fail half of all.

    Args:
        errors: (cells, placements), in percent.

    Returns:
        Where the error is over one and a half times the cell's lower quartile plus 5 points.

    Example:
        >>> failures(np.array([[2.0, 2.5, 3.0, 12.0, 98.0]])).tolist()
        [[False, False, False, True, True]]
    """
    usual: Floats = np.percentile(errors, 25, axis=1, keepdims=True)
    found: NDArray[np.bool_] = errors > 1.5 * usual + 5
    return found


def relu_effects(errors: Floats) -> list[Share]:
    """What a ReLU after each convolution changes, the other three being averaged over.

    Args:
        errors: (cells, placements), in percent.

    Returns:
        For p1 to p4 the median error of the eight placements with the ReLU less the median of
        the eight without, in points: below zero it helps. Mean and t interval over cells.
    """
    has = np.array(PLACEMENTS)
    return [
        mean_interval(
            np.median(errors[:, has[:, p]], axis=1) - np.median(errors[:, ~has[:, p]], axis=1)
        )
        for p in range(has.shape[1])
    ]


def mean_ranks(errors: Floats, seed: int = 0) -> list[Share]:
    """Each placement's mean rank over cells, 1 the best, with a bootstrap interval over cells."""
    ranks = np.array([rankdata(row) for row in errors])
    drawn = np.random.default_rng(seed).integers(len(ranks), size=(_RESAMPLES, len(ranks)))
    weights = np.array([np.bincount(row, minlength=len(ranks)) for row in drawn]) / len(ranks)
    low, high = np.percentile(weights @ ranks, [2.5, 97.5], axis=0)
    return [
        Share(float(mean), float(a), float(b))
        for mean, a, b in zip(ranks.mean(axis=0), low, high, strict=True)
    ]


def friedman_p(errors: Floats) -> float:
    """p of no difference between placements, by ranks over cells; NaN for fewer than two cells."""
    if len(errors) < 2:
        return float("nan")
    return float(friedmanchisquare(*errors.T).pvalue)


def rank_agreement(errors: Floats, other: Floats) -> float:
    """Spearman's correlation of the placements' errors in two experiments, medians over cells."""
    return float(spearmanr(np.median(errors, axis=0), np.median(other, axis=0)).statistic)
