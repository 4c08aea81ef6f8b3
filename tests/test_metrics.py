from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn import metrics as reference

from beltsight.metrics import (
    class_figures,
    confusion_matrix,
    effective_count,
    share_interval,
    task_metrics,
    wilson_interval,
)
from beltsight.records import TaskSpec

TASK = TaskSpec("material", ("a", "b", "c", "d"))


def draw(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a fair classifier."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    logits = rng.normal(size=(n, 4)).astype(np.float32)
    logits[np.arange(n), labels] += 1.2
    return logits, labels


def test_wilson_interval_by_hand() -> None:
    # 8 of 10 with z = 1.96: z^2 = 3.8416, centre (0.8 + 0.19208) / 1.38416 = 0.716738,
    # half width 1.96 / 1.38416 * sqrt(0.8 * 0.2 / 10 + 3.8416 / 400) = 0.226577.
    assert wilson_interval(8, 10) == pytest.approx((0.716738 - 0.226577, 0.943315), abs=1e-5)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (1, 1), (50, 100), (364, 431)])
def test_wilson_interval_agrees_with_scipy(successes: int, n: int, confidence: float) -> None:
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(successes, n, confidence)
    assert ours == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_photos_that_repeat_each_other_count_once() -> None:
    correct = np.arange(100) < 85
    items = np.arange(100)
    assert share_interval(correct) == share_interval(correct, items) == wilson_interval(85, 100)
    # The same photo four times tells no more than once, but for n - 1 in place of n.
    four = share_interval(np.repeat(correct, 4), np.repeat(items, 4))
    assert four == pytest.approx(wilson_interval(85, 100), abs=1e-3)
    # Of an item's photos as unlike as any photos, each counts; never more than there are.
    mixed = np.tile([True, False], 50)
    assert effective_count(mixed, np.repeat(items[:50], 2)) == 100
    assert effective_count(np.ones(12, bool), np.repeat([4, 7, 9], 4)) == 3
    assert share_interval(np.ones(12, bool), np.repeat([4, 7, 9], 4)) == wilson_interval(3, 3)
    assert effective_count(mixed, np.zeros(100, int)) == 1
    assert share_interval(correct[:0], items[:0]) == (0.0, 1.0)


def test_intervals_hold_the_truth_though_photos_show_the_same_items() -> None:
    rng = np.random.default_rng(0)
    held = plain = 0
    items = np.repeat(np.arange(60), 4)
    for _ in range(400):
        # Correlation 0.6 within items: Beta(a, b) with 1 / (a + b + 1) = 0.6.
        easy = rng.beta(0.9 * 2 / 3, 0.1 * 2 / 3, 60)
        correct = rng.random(240) < easy[items]
        low, high = share_interval(correct, items)
        held += low <= 0.9 <= high
        low, high = wilson_interval(int(correct.sum()), 240)
        plain += low <= 0.9 <= high
    assert held >= 0.91 * 400 and plain < 0.85 * 400


def test_figures_take_items_into_account() -> None:
    logits, labels = draw(100)
    items = np.arange(100) // 4
    once, more = task_metrics(TASK, logits, labels), task_metrics(TASK, logits, labels, 1.0, items)
    assert "n_items" not in once and more["n_items"] == 25
    correct = logits.argmax(axis=1) == labels
    assert tuple(more["interval"]) == share_interval(correct, items)
    own = labels == 2
    found = more["per_class"]["c"]["recall_interval"]
    assert tuple(found) == share_interval(correct[own], items[own])
    for record in (once, more):
        record.pop("interval"), record.pop("per_class"), record.pop("n_items", None)
    assert once == more


def test_wilson_interval_grows_with_confidence() -> None:
    narrow, wide = wilson_interval(30, 50, 0.8), wilson_interval(30, 50, 0.99)
    assert wide[0] < narrow[0] < 0.6 < narrow[1] < wide[1]


def test_confusion_matrix_agrees_with_sklearn() -> None:
    logits, labels = draw(300)
    answers = logits.argmax(axis=1)
    ours = confusion_matrix(labels, answers, 4)
    np.testing.assert_array_equal(ours, reference.confusion_matrix(labels, answers))
    assert ours[0, 1] != ours[1, 0]  # else a transposed matrix would pass


def test_class_figures_agree_with_sklearn() -> None:
    logits, labels = draw(300, seed=1)
    answers = logits.argmax(axis=1)
    precision, recall, f1, support = reference.precision_recall_fscore_support(labels, answers)
    figures = class_figures(confusion_matrix(labels, answers, 4))
    np.testing.assert_allclose([f["precision"] for f in figures], precision)
    np.testing.assert_allclose([f["recall"] for f in figures], recall)
    np.testing.assert_allclose([f["f1"] for f in figures], f1)
    assert [f["support"] for f in figures] == support.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_task_metrics_agree_with_sklearn(seed: int) -> None:
    logits, labels = draw(40, seed)
    ours, answers = task_metrics(TASK, logits, labels, 1.7), logits.argmax(axis=1)
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(labels, answers))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(labels, answers, average="macro"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class that occurs as answer only
        expected = reference.balanced_accuracy_score(labels, answers)
    assert ours["balanced_accuracy"] == pytest.approx(expected)
    assert ours["n"] == 40
    assert ours["interval"][0] < ours["accuracy"] < ours["interval"][1]


def test_a_class_without_photos_has_no_recall_and_does_not_lower_the_means() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]
    ours = task_metrics(TASK, logits, np.array([0, 0, 1, 0]))
    absent = ours["per_class"]["d"]
    assert (absent["recall"], absent["precision"], absent["f1"]) == (None, None, None)
    assert absent["support"] == 0
    assert ours["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert ours["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)


def test_no_photos_is_a_record_of_nothing_that_json_holds() -> None:
    ours = task_metrics(TASK, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert (ours["accuracy"], ours["macro_f1"], ours["n"]) == (None, None, 0)
    assert json.loads(json.dumps(ours, allow_nan=False)) == ours


def test_temperature_changes_calibration_and_nothing_else() -> None:
    logits, labels = draw(200)
    cold, warm = task_metrics(TASK, logits, labels, 0.3), task_metrics(TASK, logits, labels, 1.0)
    assert cold["confusion"] == warm["confusion"]
    assert cold["ece"] > warm["ece"]
