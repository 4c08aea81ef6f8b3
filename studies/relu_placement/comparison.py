"""Which placement is better, and how sure that is: pure functions over errors and answers.

Two kinds of chance are kept apart. Other photos: paired tests over the test photos, seeds pooled.
Other trainings: tests over cells, a cell being one size and seed with its own weights and order,
while photos are shared. Some trainings fail outright (a class is never answered, or the loss
is no number), so over cells medians and ranks are compared, and failures are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import friedmanchisquare, rankdata, spearmanr, wilcoxon
from scipy.stats import t as student
from studies.relu_placement.model import NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.tables import Marks, Share, difference, pooled

Floats = NDArray[np.float64]
_FLIPS = 19_999
_RESAMPLES = 10_000
LEVEL = 0.05


@dataclass(frozen=True)
class Pair:
    """How much more of the photos one placement answers wrongly than another.

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


def against(marks: Mapping[str, Marks], reference: str = PUBLISHED_NAME) -> dict[str, Pair]:
    """Each other placement against one of them: 15 pairs.

    Args:
        marks: per placement (seeds, photos), 1 where right.
        reference: name of the one.
    """
    return _pairs({name: (own, marks[reference]) for name, own in marks.items()
                   if name != reference})  # fmt: skip


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
    """The mean with its 95 % t interval; of one value, no interval, of none, no mean (NaN).

    Example:
        >>> share = mean_interval(np.array([1.0, 2.0, 3.0]))
        >>> round(share.mean, 3), round(share.low, 3), round(share.high, 3)
        (2.0, -0.484, 4.484)
    """
    if not len(values):
        return Share(float("nan"), float("nan"), float("nan"))
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


def failures(errors: Floats, chance: float = 90.0) -> NDArray[np.bool_]:
    """Which trainings failed outright: far above the best of their cell, or not far below chance.

    Args:
        errors: (cells, placements), in percent.
        chance: error of a guess, in percent.

    Returns:
        Where the error is over one and a half times the cell's best plus 5 points (a class of
        MNIST that is never answered costs 10), or over three quarters of chance, whatever the best.

    Example:
        >>> failures(np.array([[2.0, 2.5, 3.0, 12.0, 98.0]])).tolist()
        [[False, False, False, True, True]]
    """
    limit = np.minimum(1.5 * errors.min(axis=1, keepdims=True) + 5, 0.75 * chance)
    found: NDArray[np.bool_] = ~(errors <= limit)
    return found


@dataclass(frozen=True)
class Effect:
    """What one ReLU changes where both networks of a pair, with it and without, did not fail.

    Args:
        gap: error with it less error without, in points; mean and t interval over cells.
        failed_with: trainings with it that failed.
        failed_without: those without it.
        trainings: on either side.
    """

    gap: Share
    failed_with: int
    failed_without: int
    trainings: int


def relu_effects(errors: Floats, chance: float = 90.0) -> list[Effect]:
    """What a ReLU after each convolution changes: paired differences, the other three alike.

    A ReLU on the logits makes trainings fail, so those of the first three convolutions are
    compared without it: four pairs a cell. For the last, eight.

    Args:
        errors: (cells, placements), in percent.
        chance: as for :func:`failures`.

    Returns:
        One for each of p1 to p4; NaN where every pair had a failure.
    """
    has, lost = np.array(PLACEMENTS), failures(errors, chance)
    found = []
    for p in range(has.shape[1]):
        asked = ~has[:, -1] | (p == has.shape[1] - 1)
        # In the order of PLACEMENTS, the n-th with it is the pair of the n-th without.
        own, other = np.flatnonzero(has[:, p] & asked), np.flatnonzero(~has[:, p] & asked)
        whole = ~(lost[:, own] | lost[:, other])
        gaps = np.where(whole, errors[:, own] - errors[:, other], 0).sum(axis=1)
        cells = (gaps / np.maximum(whole.sum(axis=1), 1))[whole.any(axis=1)]
        found.append(
            Effect(
                mean_interval(cells), int(lost[:, own].sum()), int(lost[:, other].sum()),
                lost[:, own].size,
            )
        )  # fmt: skip
    return found


def kept_error(marks: Marks, lost: NDArray[np.bool_]) -> Share:
    """Error in percent of the trainings that did not fail, of all where all did.

    Args:
        marks: (seeds, photos), 1 where right.
        lost: (seeds,), which failed.

    Returns:
        Their mean, with the 95 % interval over photos.
    """
    share = pooled(marks if lost.all() else marks[~lost])
    return Share(100 - 100 * share.mean, 100 - 100 * share.high, 100 - 100 * share.low)


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


def rank_agreement(own: Floats, other: Floats, *, apart: bool = False) -> float:
    """How alike single trainings order the placements: Spearman's correlation, mean over pairs.

    Args:
        own: (seeds, placements), errors.
        other: likewise.
        apart: leave out pairs of the same seed, which share their starting weights; with
            ``other`` the same as ``own`` this is the yardstick: what chance alone leaves.

    Returns:
        -1 to 1; NaN where there is no pair to compare.
    """
    pairs = [
        (a, b)
        for i, a in enumerate(own)
        for j, b in enumerate(other)
        if not (apart and i == j) and np.ptp(a) and np.ptp(b)
    ]
    found = [float(spearmanr(a, b).statistic) for a, b in pairs]
    return float(np.mean(found)) if found else float("nan")


def agreement_by_size(errors: Mapping[int, Floats]) -> dict[int, float]:
    """Per size: how alike its trainings order the placements as those of all other sizes do."""
    return {
        size: rank_agreement(own, np.concatenate([e for s, e in errors.items() if s != size]))
        for size, own in errors.items()
    }


def best_name(errors: Floats) -> str:
    """The placement with the lowest mean error, failed trainings among them.

    Args:
        errors: (cells, placements).
    """
    return NAMES[int(errors.mean(axis=0).argmin())]
