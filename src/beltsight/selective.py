"""Answering only where sure enough: the risk-coverage curve, and thresholds for a wanted purity.

An answer is accepted where its confidence is at least the threshold. Coverage is the share of
photos accepted, purity the share of accepted answers that are right, risk the rest. The purity of
one predicted class is the purity of the stream that the plant blows out for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.certificate import find_laxest
from beltsight.errors import ConfigError
from beltsight.intervals import exact_interval, fewest_without_mistake
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


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold did on the validation photos.

    Args:
        threshold: accept where confidence >= threshold.
        accepted: photos accepted.
        right: accepted answers that were right.
        n: photos.
        interval: exact 95 % interval of the purity (Clopper and Pearson).
    """

    threshold: float
    accepted: int
    right: int
    n: int
    interval: tuple[float, float]

    @property
    def purity(self) -> float:
        """Share of accepted answers that were right."""
        return self.right / self.accepted

    @property
    def coverage(self) -> float:
        """Share of photos accepted."""
        return self.accepted / self.n

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        record = {**asdict(self), "interval": list(self.interval)}
        return {**record, "purity": self.purity, "coverage": self.coverage}


@dataclass(frozen=True, slots=True)
class PurityChoice:
    """Thresholds for a wanted purity, and whether the photos suffice to vouch for it.

    Args:
        target: the purity asked for, 0 to 1.
        confidence: of the certificate.
        n: photos (of the stream, where it is one class).
        mistakes: wrong answers among all of them that are not novel.
        tested: the laxest point that passes the test, or None.
        estimated: the laxest point whose measured purity reaches the target, or None. Its true
            purity is about as likely below the target as above.
        novel: photos that are accepted at no threshold, since they look unlike anything seen.
        known: why a passed test on these photos proves nothing, in words; empty where it does.
    """

    target: float
    confidence: float
    n: int
    mistakes: int
    tested: OperatingPoint | None
    estimated: OperatingPoint | None
    novel: int = 0
    known: str = ""

    @property
    def certified(self) -> OperatingPoint | None:
        """The tested point, where the photos are new to the model."""
        return None if self.known else self.tested

    @property
    def is_certified(self) -> bool:
        """Whether there is a threshold that the photos vouch for."""
        return self.certified is not None

    @property
    def best(self) -> OperatingPoint | None:
        """The tested point, else the estimate; None where no threshold reaches the target."""
        return self.tested or self.estimated

    @property
    def statement(self) -> str:
        """The result in plain words."""
        target, sure = f"{_percent(self.target)} purity", _percent(self.confidence)
        left_out = f"; {self.novel} of {self.n} are unlike anything seen" if self.novel else ""
        if self.certified:
            point = self.certified
            return (
                f"{target} is certified with {sure} confidence at threshold {point.threshold:.3f}: "
                f"{point.right} of {point.accepted} accepted were right, coverage "
                f"{_percent(point.coverage)}{left_out}"
            )
        why = f"{target} is not certified, since {self.known}" if self.known else self._too_few
        if self.best is None:
            return f"{why}; no threshold reaches it on them either, so nothing is accepted"
        point = self.best
        return (
            f"{why}; the threshold {point.threshold:.3f} is the best estimate ({point.right} of "
            f"{point.accepted} right, {_percent(point.interval[0])} to "
            f"{_percent(point.interval[1])}, coverage {_percent(point.coverage)}){left_out}"
        )

    @property
    def _too_few(self) -> str:
        left = self.n - self.novel
        fewest = fewest_without_mistake(self.target, self.confidence)
        most = "" if left >= fewest else f", and there are {left} in all"
        photos = "1 photo" if left == 1 else f"{left} photos"
        return (
            f"{_percent(self.target)} purity cannot be certified with these {photos}: "
            f"{_percent(self.confidence)} confidence needs at least {fewest} accepted without a "
            f"mistake, more with mistakes{most}"
        )

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        points = {
            "certified": self.certified, "estimated": self.estimated, "chosen": self.best
        }  # fmt: skip
        return {
            "target": self.target,
            "confidence": self.confidence,
            "n": self.n,
            "novel": self.novel,
            "mistakes": self.mistakes,
            "known": self.known or None,
            **{name: point and point.to_record() for name, point in points.items()},
            "statement": self.statement,
        }


@dataclass(frozen=True, slots=True)
class StreamChoices:
    """Thresholds for a wanted purity of all answers together and of each predicted class.

    Args:
        overall: one threshold for every answer.
        per_class: class name -> the choice for the photos that got this answer; a class that was
            never answered has none.
    """

    overall: PurityChoice
    per_class: dict[str, PurityChoice] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """As JSON holds it."""
        streams = {name: choice.to_record() for name, choice in self.per_class.items()}
        return {"overall": self.overall.to_record(), "per_class": streams}


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
    ranked = _rank(*check_answers(confidences, correct))
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
    novel: NDArray[np.bool_] | None = None,
    known: str = "",
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
            ``1 - confidence`` of all validation sets.
        novel: (N,) photos that are not accepted whatever their confidence; none by default.
        known: why the model knows some of these photos, so that nothing is certified; empty where
            they are new to it.

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
    left = ~_flags(novel, len(confidences))
    n, n_novel = len(left), int((~left).sum())
    if not left.any():
        return PurityChoice(target, confidence, n, 0, None, None, n_novel, known)
    ranked = _rank(confidences[left], correct[left])
    reached = np.flatnonzero(ranked.mistakes <= (1.0 - target) * ranked.counts + 1e-9)
    tested = None
    if ranked.n >= fewest:
        tested = find_laxest(
            ranked.counts, ranked.mistakes, ranked.promised, 1.0 - target, 1.0 - confidence
        )
    return PurityChoice(
        target=target,
        confidence=confidence,
        n=n,
        mistakes=int(ranked.mistakes[-1]),
        tested=None if tested is None else ranked.point(tested, n),
        estimated=ranked.point(int(reached[-1]), n) if len(reached) else None,
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
    novel: NDArray[np.bool_] | None = None,
    known: str = "",
) -> StreamChoices:
    """Thresholds for a wanted purity, overall and for the stream of each predicted class.

    Args:
        probabilities: (N, C) calibrated, of validation photos.
        labels: (N,) class indices.
        classes: C names.
        target: purity, 0 to 1, ends excluded.
        confidence: of each certificate by itself.
        novel, known: as for :func:`choose_threshold`.

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

    def choose(mine: NDArray[np.bool_]) -> PurityChoice:
        return choose_threshold(
            confidences[mine],
            right[mine],
            target,
            confidence=confidence,
            novel=strange[mine],
            known=known,
        )

    of_class = {name: answers == index for index, name in enumerate(classes)}
    streams = {name: choose(mine) for name, mine in of_class.items() if mine.any()}
    return StreamChoices(choose(np.ones(len(table), bool)), streams)


def _flags(given: NDArray[np.bool_] | None, n: int) -> NDArray[np.bool_]:
    flags = np.zeros(n, bool) if given is None else np.asarray(given)
    if flags.shape != (n,):
        raise ConfigError(f"expected one flag for each of {n} photos, got shape {flags.shape}")
    return flags.astype(np.bool_)


@dataclass(frozen=True, slots=True)
class _Ranked:
    """Photos from most to least confident, one entry per distinct confidence."""

    values: NDArray[np.float64]
    counts: NDArray[np.int64]  # at or above the value
    mistakes: NDArray[np.int64]  # among them
    promised: NDArray[np.float64]  # mistakes that the confidences promise among them

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


def _rank(confidences: NDArray[np.float64], correct: NDArray[np.bool_]) -> _Ranked:
    order = np.argsort(-confidences, kind="stable")
    values = confidences[order]
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    mistakes = np.cumsum(~correct[order])[last]
    return _Ranked(values[last], last + 1, mistakes, np.cumsum(1.0 - values)[last])


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
