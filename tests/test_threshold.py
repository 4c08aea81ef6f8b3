from __future__ import annotations

import numpy as np

from beltsight.calibrate import softmax
from beltsight.card import TaskCard
from beltsight.threshold import set_threshold

TASK = TaskCard(name="material", classes=("glass", "metal"))


def spread(confidences: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[value, 1 - value] for value in confidences])


def test_the_least_sure_mistake_is_left_out() -> None:
    labels = np.array([1, 0, 0, 0, 0])
    card, choice = set_threshold(TASK, spread([0.6, 0.7, 0.8, 0.9, 0.95]), labels, 0.9)
    assert card.threshold is not None and 0.6 < card.threshold <= 0.7
    assert card.purity is not None and not card.purity.certified
    assert (card.purity.accepted, card.purity.right, card.purity.n) == (4, 4, 5)
    assert "cannot be certified" in choice.statement


def test_where_nothing_reaches_the_target_nothing_is_accepted() -> None:
    card, choice = set_threshold(TASK, spread([0.9, 0.8]), np.array([1, 1]), 0.9)
    assert choice.best is None
    assert card.threshold is not None
    surest = float(softmax(np.array([[60.0, 0.0]])).max())
    assert surest == 1.0 < card.threshold  # a softmax reaches 1
    assert TaskCard.model_validate_json(card.model_dump_json()) == card
    assert card.purity is not None and card.purity.accepted == 0


def test_many_right_answers_are_proof() -> None:
    rng = np.random.default_rng(0)
    confidences = rng.uniform(0.9, 1.0, 500).tolist()
    card, choice = set_threshold(TASK, spread(confidences), np.zeros(500, np.int64), 0.97)
    assert card.purity is not None and card.purity.certified
    assert choice.best is not None and choice.best.accepted >= 99
