from __future__ import annotations

import numpy as np
import pytest

from beltsight.calibrate import softmax
from beltsight.card import TaskCard
from beltsight.errors import ConfigError
from beltsight.threshold import purity_task, set_threshold

TASK = TaskCard(name="material", classes=("glass", "metal"))


def spread(confidences: list[float]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array([[value, 1 - value] for value in confidences])


def test_the_least_sure_mistake_is_left_out() -> None:
    labels = np.array([1, 0, 0, 0, 0])
    card, choice = set_threshold(TASK, spread([0.6, 0.7, 0.8, 0.9, 0.95]), labels, 0.9)
    assert card.threshold is not None and 0.6 < card.threshold <= 0.7
    assert card.purity is not None and not card.purity.certified
    assert (card.purity.accepted, card.purity.right, card.purity.n) == (4, 4, 5)
    assert "cannot be certified" in choice.overall.statement


def test_where_nothing_reaches_the_target_nothing_is_accepted() -> None:
    card, choice = set_threshold(TASK, spread([0.9, 0.8]), np.array([1, 1]), 0.9)
    assert choice.overall.best is None
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
    best = choice.overall.best
    assert best is not None and best.accepted >= 99
    same, of_known = set_threshold(
        TASK, spread(confidences), np.zeros(500, np.int64), 0.97, known="they chose the model"
    )
    assert same.threshold == card.threshold
    assert same.purity is not None and not same.purity.certified
    assert "not certified, since they chose the model" in of_known.overall.statement


def test_the_purity_is_that_of_materials_whatever_the_order_of_columns() -> None:
    dirt = TaskCard(name="dirt", classes=("none", "dust"))
    assert purity_task((dirt, TASK)) == 1 and purity_task((TASK, dirt)) == 0
    assert purity_task((dirt,)) == 0
    assert purity_task((TASK, dirt), "dirt") == 1
    with pytest.raises(ConfigError, match="did you mean 'dirt'"):
        purity_task((TASK, dirt), "dirts")


def test_a_novel_photo_is_not_counted_as_accepted() -> None:
    novel = np.array([False, True, False])
    card, _ = set_threshold(TASK, spread([0.9, 0.8, 0.7]), np.zeros(3, int), 0.9, novel=novel)
    assert card.purity is not None
    assert (card.purity.n, card.purity.accepted, card.purity.right) == (3, 2, 2)
