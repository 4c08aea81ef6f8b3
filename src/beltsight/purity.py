"""What was found for a wanted purity: thresholds, what they did, and whether that is proof."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from beltsight.intervals import fewest_without_mistake


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What a threshold did on the validation photos.

    Args:
        threshold: accept where confidence >= threshold.
        accepted: photos accepted.
        right: accepted answers that were right.
        n: photos.
        interval: exact 95 % interval of the purity (Clopper and Pearson; Wilson's where photos
            share items), for a threshold that was not chosen on these photos; of one that was, the
            purity may well be below it.
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
        target, sure = f"{_asked(self.target)} purity", _asked(self.confidence)
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
            f"{why}; the threshold {point.threshold:.3f} is the best estimate, chosen on these "
            f"photos ({point.right} of {point.accepted} right, {_percent(point.interval[0])} to "
            f"{_percent(point.interval[1])}, coverage {_percent(point.coverage)}){left_out}"
        )

    @property
    def _too_few(self) -> str:
        left = self.n - self.novel
        fewest = fewest_without_mistake(self.target, self.confidence)
        most = "" if left >= fewest else f", and there are {left} in all"
        photos = "1 photo" if left == 1 else f"{left} photos"
        return (
            f"{_asked(self.target)} purity cannot be certified with these {photos}: "
            f"{_asked(self.confidence)} confidence needs at least {fewest} accepted without a "
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


def _asked(share: float) -> str:
    """To six digits: who asked for 99.96 % did not ask for all."""
    return f"{100 * share:.6g} %"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"
