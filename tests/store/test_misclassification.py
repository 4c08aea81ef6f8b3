from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from tests.tiny import CLASSES, tiny_card

from beltsight.errors import ConfigError
from beltsight.store import Confusion, confusion_of, fit_shares

COUNTS = [[9, 1, 0], [2, 7, 1], [0, 0, 10]]


def test_two_classes_are_corrected_by_rogan_and_gladen() -> None:
    sensitivity, specificity, apparent = 0.9, 0.8, 0.41
    rates = np.array([[sensitivity, 1 - sensitivity], [1 - specificity, specificity]])
    found = fit_shares(np.array([apparent, 1 - apparent]), rates)
    expected = (apparent + specificity - 1) / (sensitivity + specificity - 1)
    assert found[0] == pytest.approx(expected)


def test_where_the_inverse_is_below_0_the_most_likely_shares_are_found() -> None:
    rates = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]])
    observed = np.array([0.05, 0.80, 0.15])
    assert (np.linalg.solve(rates.T, observed) < 0).any()
    found = fit_shares(observed, rates)

    def loss(free: Any) -> float:
        shares = np.exp(free) / np.exp(free).sum()
        return -float(observed @ np.log(shares @ rates))

    close = {"xatol": 1e-9, "fatol": 1e-12}
    best = minimize(loss, np.zeros(3), method="Nelder-Mead", options=close)
    assert found == pytest.approx(np.exp(best.x) / np.exp(best.x).sum(), abs=2e-3)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)


def test_a_matrix_without_inverse_gives_shares_all_the_same() -> None:
    found = fit_shares(np.array([0.5, 0.5]), np.array([[0.5, 0.5], [0.5, 0.5]]))
    assert found == pytest.approx([0.5, 0.5])


def test_many_are_fitted_at_once() -> None:
    rates = Confusion(("a", "b", "c"), np.array(COUNTS)).rates
    truth = np.random.default_rng(0).dirichlet([2, 2, 2], 50)
    assert fit_shares(truth @ rates, rates) == pytest.approx(truth)


def test_drawn_rates_scatter_as_their_dirichlet_posterior() -> None:
    confusion = Confusion(("a", "b", "c"), np.array(COUNTS))
    drawn = confusion.draw_rates(np.random.default_rng(0), 20_000)
    alpha = np.array(COUNTS) + 1 / 3
    assert drawn.sum(axis=2) == pytest.approx(np.ones((20_000, 3)))
    assert drawn.mean(axis=0) == pytest.approx(alpha / 11, abs=0.005)
    spread = np.sqrt(alpha / 11 * (1 - alpha / 11) / 12)
    assert drawn.std(axis=0) == pytest.approx(spread, abs=0.003)


def figures(counts: Any, classes: Any = CLASSES, split: str = "val") -> dict[str, Any]:
    return {"split": split, "tasks": {"material": {"confusion": counts, "classes": list(classes)}}}


def square(size: int = len(CLASSES)) -> list[list[int]]:
    return (np.eye(size, dtype=int) * 5 + 1).tolist()


def test_the_card_s_test_figures_come_first() -> None:
    both = {**figures(square()), "test": figures((np.array(square()) + 1).tolist(), split="test")}
    found = confusion_of(tiny_card().model_copy(update={"metrics": both}))
    assert isinstance(found, Confusion)
    assert (found.split, int(found.counts[0, 0])) == ("test", 7)
    only = confusion_of(tiny_card().model_copy(update={"metrics": figures(square())}))
    assert isinstance(only, Confusion)
    assert only.split == "val"


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({}, "no confusion matrix"),
        ({"tasks": None}, "no confusion matrix"),
        (figures(square(), ["x", "y"]), "classes"),
        (figures(square(2)), "shape"),
        (figures([[0.5] * len(CLASSES)] * len(CLASSES)), "no counts"),
        (figures([[-1] * len(CLASSES)] * len(CLASSES)), "does not serve"),
        (figures([[0] * len(CLASSES)] * len(CLASSES)), "no photo of"),
        (figures([[10**300] * len(CLASSES)] * len(CLASSES)), "no counts"),
        (figures("text"), "does not serve"),
        (figures([[1], [2, 3]]), "does not serve"),
    ],
)
def test_a_card_without_a_matrix_that_serves_says_why(metrics: dict[str, Any], said: str) -> None:
    found = confusion_of(tiny_card().model_copy(update={"metrics": metrics}))
    assert isinstance(found, str)
    assert said in found


def test_a_task_that_the_model_does_not_answer() -> None:
    (material,) = tiny_card().tasks
    card = tiny_card().model_copy(update={"tasks": (material.model_copy(update={"name": "form"}),)})
    assert confusion_of(card) == "the model does not answer the task material"


def test_a_class_without_photos_gives_no_matrix() -> None:
    with pytest.raises(ConfigError, match="no photo of b was in the evaluation"):
        Confusion(("a", "b"), np.array([[3, 1], [0, 0]]))
