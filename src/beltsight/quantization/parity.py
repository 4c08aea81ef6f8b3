"""How far the int8 model's answers are from the float model's, and what is too far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.card import ParityCard
from beltsight.errors import ConfigError, ParityError
from beltsight.metrics import effective_count, share_interval, wilson_interval


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an int8 model may change; where it changes more, nothing is written.

    Args:
        min_agreement: share of photos whose label stays, 0 to 1.
        max_accuracy_drop: by how much the accuracy may fall, 0 to 1.
        max_probability_change: of any class on any photo, 0 to 1; None sets no bound.

    Raises:
        ConfigError: a bound that is no share.
    """

    min_agreement: float = 0.985
    max_accuracy_drop: float = 0.005
    max_probability_change: float | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not 0.0 <= value <= 1.0:
                raise ConfigError(f"{name} lies between 0 and 1, e.g. 0.985; got {value}")

    def tightened(self) -> Bounds:
        """Bounds that allow half as many labels to change, but as much accuracy to go.

        Accuracy stays as it is, as on few photos half a point is less than one photo.
        """
        most = self.max_probability_change
        return Bounds(
            1.0 - (1.0 - self.min_agreement) / 2,
            self.max_accuracy_drop,
            None if most is None else most / 2,
        )


def measure_parity(
    float_probabilities: NDArray[np.float64],
    int8_probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    items: NDArray[np.int64] | None = None,
) -> ParityCard:
    """Compare the answers to one task, photo by photo.

    Args:
        float_probabilities, int8_probabilities: (N, C), each with its own temperature.
        labels: (N,) class indices.
        items: (N,) which item each photo shows, since those of one item change together; None
            where each shows its own.
    """
    before, after = float_probabilities.argmax(axis=1), int8_probabilities.argmax(axis=1)
    was_right, is_right = before == labels, after == labels
    n = len(labels)
    lost, gained = int((was_right & ~is_right).sum()), int((~was_right & is_right).sum())
    both = int((was_right & is_right).sum())
    changed = int((before != after).sum())
    counts = np.array([both, lost, gained, n - both - lost - gained], np.float64)
    worth = effective_count(is_right.astype(np.int64) - was_right, items) / n
    return ParityCard(
        n=n,
        changed=changed,
        agreement=(n - changed) / n,  # as a bound's share is written: 93 of 100 is 0.93
        agreement_interval=share_interval(before == after, items),
        float_accuracy=float(was_right.mean()),
        accuracy=float(is_right.mean()),
        lost=lost,
        gained=gained,
        accuracy_change=(gained - lost) / n,
        accuracy_change_interval=paired_interval(*(counts * worth).tolist()),
        probability_change=float(np.abs(float_probabilities - int8_probabilities).max()),
    )


def paired_interval(
    both: float, first_only: float, second_only: float, neither: float
) -> tuple[float, float]:
    """95 % interval of the second's share less the first's, on the same photos.

    Args:
        both, first_only, second_only, neither: photos that both, one or none of two models gets
            right; a share of them where they are worth fewer (:func:`effective_count`).

    Returns:
        (low, high), -1 to 1. Source: Newcombe 1998, "Improved confidence intervals for the
        difference between binomial proportions based on paired data", method 10.

    Raises:
        ConfigError: no photo.

    Example:
        >>> low, high = paired_interval(300, 3, 1, 24)
        >>> round(low, 4), round(high, 4)
        (-0.0231, 0.0098)
    """
    n = both + first_only + second_only + neither
    if n < 1:
        raise ConfigError("an interval needs at least one photo")
    first, second = both + first_only, both + second_only
    p1, p2 = first / n, second / n
    low1, high1 = wilson_interval(first, n)
    low2, high2 = wilson_interval(second, n)
    product = first * (n - first) * second * (n - second)
    cross = float(both * neither - first_only * second_only)
    cross = max(0.0, cross - n / 2) if cross > 0 else cross
    phi = cross / sqrt(product) if product else 0.0
    below = _distance(p2 - low2, high1 - p1, phi)
    above = _distance(high2 - p2, p1 - low1, phi)
    return p2 - p1 - below, p2 - p1 + above


def broken_bounds(parity: Mapping[str, ParityCard], bounds: Bounds) -> list[str]:
    """What passes a bound, in words; empty where all is well.

    Args:
        parity: per task.
        bounds: what may change.
    """
    broken = []
    for task, found in parity.items():
        if found.agreement < bounds.min_agreement:
            broken.append(
                f"{task}: {found.changed} of {found.n} labels change, agreement "
                f"{found.agreement:.2%} (at least {bounds.min_agreement:.2%})"
            )
        if -found.accuracy_change > bounds.max_accuracy_drop:
            broken.append(
                f"{task}: accuracy falls by {-100 * found.accuracy_change:.2f} points "
                f"(at most {100 * bounds.max_accuracy_drop:.2f})"
            )
        most = bounds.max_probability_change
        if most is not None and found.probability_change > most:
            broken.append(
                f"{task}: a probability changes by {found.probability_change:.3f} "
                f"(at most {most:.3f})"
            )
    return broken


def check_bounds(parity: Mapping[str, ParityCard], bounds: Bounds) -> None:
    """Refuse an int8 model that changes too much.

    Raises:
        ParityError: a task passes a bound; the message names each.
    """
    broken = broken_bounds(parity, bounds)
    if broken:
        raise ParityError(
            f"int8 refused, nothing is written: {'; '.join(broken)}. Keep more layers in float, "
            "calibrate on more photos, or set other bounds"
        )


def parity_record(parity: Mapping[str, ParityCard]) -> dict[str, Any]:
    """As JSON can hold it."""
    return {task: found.model_dump(mode="json") for task, found in parity.items()}


def _distance(one: float, other: float, phi: float) -> float:
    return sqrt(max(0.0, one**2 - 2.0 * phi * one * other + other**2))
