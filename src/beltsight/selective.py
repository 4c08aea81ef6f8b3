"""Answering only where sure enough: the risk-coverage curve, and thresholds for a wanted purity.

An answer is accepted where its confidence is at least the threshold. Coverage is the share of
photos accepted, purity the share of accepted answers that are right, risk the rest. The purity of
one predicted class is the purity of the stream that the plant blows out for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.certificate import find_laxest
from beltsight.errors import ConfigError
from beltsight.intervals import exact_interval, fewest_without_mistake
from beltsight.metrics import share_interval
from beltsight.purity import OperatingPoint, PurityChoice, StreamChoices
from beltsight.reliability import check_answers


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """How risk falls as the unsure answers are left to people.

    Args:
        thresholds: (K,) confidences, falling; the k-th point accepts all at or above it.
        coverage: (K,) share accepted, rising to 1.
        risk: (K,) share of accepted answers that are wrong.
        area: AURC: the mean risk over all coverages 1/N, 2/N, ... 1.
        excess_area: AURC less that of the best order, which accepts every right answer first; 0
            where confidence orders the answers perfectly.
        n: photos.
    """

    thresholds: NDArray[np.float64]
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    area: float
    excess_area: float
    n: int

    def to_record(self, points: int = 100) -> dict[str, Any]:
        """As JSON holds it, with at most this many points of the curve."""
        kept = np.unique(np.linspace(0, len(self.risk) - 1, points).round().astype(int))
        curves = {name: getattr(self, name) for name in ("thresholds", "coverage", "risk")}
        return {
            "n": self.n,
            "area": self.area,
            "excess_area": self.excess_area,
            **{name: values[kept].round(6).tolist() for name, values in curves.items()},
        }


def risk_coverage(confidences: NDArray[np.floating], correct: NDArray[np.bool_]) -> RiskCoverage:
    """The risk-coverage curve and the area below it.

    Args:
        confidences: (N,) probability of the chosen class, 0 to 1.
        correct: (N,) whether the chosen class was right.

    Returns:
        One point per distinct confidence; inside a run of equal ones the area takes the mean over
        their orders. Source: Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural
        Networks"; excess area: Geifman, Uziel and El-Yaniv 2019.

    Raises:
        DatasetError: no photos.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match.

    Example:
        >>> curve = risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 0, 1]))
        >>> curve.risk.round(3).tolist(), round(curve.area, 4), round(curve.excess_area, 4)
        ([0.0, 0.0, 0.333, 0.25], 0.1458, 0.0833)
    """
    values, outcomes = check_answers(confidences, correct)
    ranked = _rank(values, outcomes, values[None])
    n, mistakes = ranked.n, int(ranked.mistakes[-1])
    counts = np.arange(1, n + 1)
    wrong = np.interp(counts, [0, *ranked.counts], [0, *ranked.mistakes])
    area = float((wrong / counts).mean())
    best = float((np.maximum(counts - (n - mistakes), 0) / counts).mean())
    return RiskCoverage(
        thresholds=ranked.values,
        coverage=ranked.counts / n,
        risk=ranked.mistakes / ranked.counts,
        area=area,
        excess_area=max(0.0, area - best),
        n=n,
    )


def choose_threshold(
    confidences: NDArray[np.floating],
    correct: NDArray[np.bool_],
    target: float,
    *,
    confidence: float = 0.95,
    before: NDArray[np.floating] | None = None,
    novel: NDArray[np.bool_] | None = None,
    known: str = "",
    items: NDArray[np.integer] | None = None,
) -> PurityChoice:
    """The lowest threshold that keeps a wanted purity.

    Certificate: a few numbers of accepted photos are put in order, from the one where the model's
    own confidences promise the clearest case to ever laxer ones, without looking at who was right.
    Each is tested exactly (binomial, "the purity is below the target"), the first that fails ends
    the series, and the last that passed is certified. Testing in a fixed order needs no correction
    for the number of tests.

    Args:
        confidences: (N,) calibrated probability of the chosen class on validation photos that are
            drawn like those of the plant.
        correct: (N,) whether the chosen class was right.
        target: purity, 0 to 1, ends excluded.
        confidence: a threshold is certified whose purity is below the target in at most
            ``1 - confidence`` of all validation sets; in about so many where ``confidences`` of
            more than two classes were fitted to these labels, which may swap answers of nearly the
            same confidence.
        before: (S, N) the confidences from before these labels were used for anything, as S equally
            likely guesses; needed where ``confidences`` were fitted to them. They say where the
            tests begin.
        novel: (N,) photos that are not accepted whatever their confidence; none by default.
        known: why the model knows some of these photos, so that nothing is certified; empty where
            they are new to it.
        items: (N,) which item each photo shows, which widens the intervals; None where each shows
            its own. Say so in ``known``, since the certificate counts photos.

    Returns:
        Both the certified and the estimated point. Source: fixed-sequence testing as in
        Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then Test"; selection with
        guaranteed risk: Geifman and El-Yaniv 2017.

    Raises:
        DatasetError: no photos.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match, a target or confidence outside (0, 1).

    Example:
        >>> choice = choose_threshold(np.linspace(0.9, 1.0, 200), np.arange(200) >= 5, 0.97)
        >>> choice.certified.accepted, choice.certified.right, choice.estimated.accepted
        (157, 157, 200)
    """
    fewest = fewest_without_mistake(target, confidence)
    confidences, correct = check_answers(confidences, correct)
    guesses = _guesses(before, confidences)
    left = ~_flags(novel, len(confidences))
    n, n_novel = len(left), int((~left).sum())
    if not left.any():
        return PurityChoice(target, confidence, n, 0, None, None, n_novel, known)
    ranked = _rank(confidences[left], correct[left], guesses[:, left])
    reached = np.flatnonzero(ranked.mistakes <= (1.0 - target) * ranked.counts + 1e-9)
    tested = None
    if ranked.n >= fewest:
        tested = find_laxest(
            ranked.counts, ranked.mistakes, ranked.promised, 1.0 - target, 1.0 - confidence
        )

    def point(place: int) -> OperatingPoint:
        plain = ranked.point(place, n)
        if items is None:
            return plain
        accepted = left & (confidences >= plain.threshold)
        return replace(plain, interval=share_interval(correct[accepted], items[accepted]))

    return PurityChoice(
        target=target,
        confidence=confidence,
        n=n,
        mistakes=int(ranked.mistakes[-1]),
        tested=None if tested is None else point(tested),
        estimated=point(int(reached[-1])) if len(reached) else None,
        novel=n_novel,
        known=known,
    )


def choose_thresholds(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    classes: Sequence[str],
    target: float,
    *,
    confidence: float = 0.95,
    before: NDArray[np.floating] | None = None,
    novel: NDArray[np.bool_] | None = None,
    known: str = "",
    items: NDArray[np.integer] | None = None,
) -> StreamChoices:
    """Thresholds for a wanted purity, overall and for the stream of each predicted class.

    Args:
        probabilities: (N, C) calibrated, of validation photos.
        labels: (N,) class indices.
        classes: C names.
        target: purity, 0 to 1, ends excluded.
        confidence: of each certificate by itself.
        before, novel, known, items: as for :func:`choose_threshold`.

    Raises:
        DatasetError: no photos.
        ModelError: a confidence that is no probability.
        ConfigError: arrays that do not match, a target or confidence outside (0, 1).
    """
    table, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if table.ndim != 2 or table.shape[1] != len(classes) or truth.shape != table.shape[:1]:
        raise ConfigError(
            f"expected probabilities (N, {len(classes)}) and N labels, got arrays of shape "
            f"{table.shape} and {truth.shape}"
        )
    answers, confidences = table.argmax(axis=1), table.max(axis=1)
    right, strange = answers == truth, _flags(novel, len(table))
    guesses = _guesses(before, confidences)

    def choose(mine: NDArray[np.bool_]) -> PurityChoice:
        return choose_threshold(
            confidences[mine],
            right[mine],
            target,
            confidence=confidence,
            before=guesses[:, mine],
            novel=strange[mine],
            known=known,
            items=None if items is None else items[mine],
        )

    of_class = {name: answers == index for index, name in enumerate(classes)}
    streams = {name: choose(mine) for name, mine in of_class.items() if mine.any()}
    return StreamChoices(choose(np.ones(len(table), bool)), streams)


def _flags(given: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    flags = np.zeros(n, bool) if given is None else np.asarray(given)
    if flags.shape != (n,):
        raise ConfigError(f"expected one flag for each of {n} photos, got shape {flags.shape}")
    return flags.astype(np.bool_)


def _guesses(
    before: NDArray[np.floating] | None, confidences: NDArray[np.float64]
) -> NDArray[np.float64]:
    guesses = confidences[None] if before is None else np.asarray(before, np.float64)
    if guesses.ndim != 2 or guesses.shape[1:] != confidences.shape:
        raise ConfigError(
            f"expected guesses (S, {len(confidences)}) made before, got shape {guesses.shape}"
        )
    return guesses


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Photos from most to least confident, one entry per distinct confidence."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]  # at or above the value
    mistakes: NDArray[np.int64]  # among them
    promised: NDArray[np.float64]  # (S, entries) mistakes among them by S guesses made beforehand

    @property
    def n(self) -> int:
        return int(self.counts[-1])

    def point(self, place: int, n: int) -> OperatingPoint:
        """At this place, of ``n`` photos in all."""
        accepted = int(self.counts[place])
        right = accepted - int(self.mistakes[place])
        interval = exact_interval(right, accepted)
        return OperatingPoint(self._threshold(place), accepted, right, n, interval)

    def _threshold(self, place: int) -> float:
        """Halfway to the first value left out: a rounding error elsewhere changes no answer."""
        if place + 1 == len(self.values):
            return 0.0
        least, next_below = float(self.values[place]), float(self.values[place + 1])
        middle = (least + next_below) / 2.0
        return middle if next_below < middle else least


def _rank(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], guesses: NDArray[np.float64]
) -> _Ranked:
    order = np.argsort(-confidences, kind="stable")
    values = confidences[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    mistakes = np.cumsum(~correct[order])[last]
    return _Ranked(
        values[last], last + 1, mistakes, np.cumsum(1.0 - guesses[:, order], axis=1)[:, last]
    )
