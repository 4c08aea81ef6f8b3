"""A task's threshold in the card, from labelled photos and a wanted purity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from beltsight.card import PurityCard, TaskCard
from beltsight.config import nearest
from beltsight.errors import ConfigError
from beltsight.purity import StreamChoices
from beltsight.records import MATERIAL
from beltsight.selective import choose_thresholds

ACCEPTS_NOTHING = math.nextafter(1.0, 2.0)
"""A threshold over every confidence: a softmax reaches exactly 1."""


def purity_task(tasks: Sequence[TaskCard], wanted: str | None = None) -> int:
    """Which task a wanted purity is of, as its index: a stream of a plant is one of materials.

    Args:
        tasks: of the model, in any order.
        wanted: the task's name; None for ``material``, or the first task where there is none.

    Raises:
        ConfigError: no task of this name.
    """
    names = [task.name for task in tasks]
    if wanted is not None and wanted not in names:
        raise ConfigError(
            f"no task {wanted!r} whose purity could be wanted; {nearest(wanted, names)}"
        )
    name = wanted or MATERIAL
    return names.index(name) if name in names else 0


def set_threshold(
    task: TaskCard,
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    target: float,
    *,
    before: NDArray[np.float64] | None = None,
    novel: NDArray[np.bool_] | None = None,
    known: str = "",
    items: NDArray[np.int64] | None = None,
) -> tuple[TaskCard, StreamChoices]:
    """The task's card with a threshold, and how it was chosen.

    Args:
        task: whose classes the columns are.
        probabilities: float64 (N, C), calibrated, of photos the model has not learned.
        labels: int64 (N,) class indices.
        target: share of accepted answers that must be right, 0 to 1, ends excluded.
        before: float64 (S, N) confidences from before these labels were used for anything, as S
            equally likely guesses, where the probabilities were fitted to them.
        novel: bool (N,) photos that the model does not accept whatever its confidence.
        known: why the model knows some of these photos, in words, so that they certify nothing.
        items: int64 (N,) which item each photo shows; None where each shows its own.

    Returns:
        The threshold of all answers together: the certified one where the photos prove one, else
        an estimate. Where no threshold reaches the target, nothing is accepted. The choices also
        tell what each class by itself would need.

    Raises:
        DatasetError: no photos.
        ConfigError: a target outside (0, 1).
    """
    choices = choose_thresholds(
        probabilities, labels, task.classes, target,
        before=before, novel=novel, known=known, items=items,
    )  # fmt: skip
    choice = choices.overall
    point = choice.best
    purity = PurityCard(
        target=choice.target,
        certified=choice.is_certified,
        confidence=choice.confidence,
        n=choice.n,
        accepted=point.accepted if point else 0,
        right=point.right if point else 0,
    )
    threshold = point.threshold if point else ACCEPTS_NOTHING
    return task.model_copy(update={"threshold": threshold, "purity": purity}), choices
