from __future__ import annotations

import numpy as np
import pytest

from beltsight.confidence import confidence_figures


def test_what_a_threshold_accepts() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.7, 0.3]])
    labels = np.array([0, 0, 1, 0])
    accepted = confidence_figures(probabilities, labels, 0.7)["accepted"]
    assert (accepted["n"], accepted["right"], accepted["coverage"]) == (3, 2, 0.75)
    assert accepted["purity"] == pytest.approx(2 / 3)
    assert accepted["interval"][0] < 2 / 3 < accepted["interval"][1]


def test_what_is_novel_is_not_accepted_either() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.55, 0.45], [0.7, 0.3]])
    labels, novel = np.array([0, 0, 1, 0]), np.array([False, True, False, False])
    accepted = confidence_figures(probabilities, labels, 0.7, novel)["accepted"]
    assert (accepted["novel"], accepted["n"], accepted["coverage"]) == (1, 2, 0.5)
    assert accepted["purity"] == 1.0
    alone = confidence_figures(probabilities, labels, None, novel)["accepted"]
    assert (alone["threshold"], alone["n"], alone["right"]) == (None, 3, 2)


def test_nothing_accepted_has_no_purity() -> None:
    accepted = confidence_figures(np.array([[0.6, 0.4], [0.5, 0.5]]), np.array([0, 1]), 0.99)
    assert accepted["accepted"]["purity"] is None
    assert accepted["accepted"]["interval"] == [0.0, 1.0]


def test_a_model_that_is_too_sure_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.6, 1, 2000)
    right = np.where(rng.random(2000) < sure, 0, 1)
    honest = confidence_figures(np.stack([sure, 1 - sure], 1), right)
    assert honest["calibration"]["is_calibrated"]
    wrong = np.where(rng.random(2000) < sure - 0.15, 0, 1)
    boastful = confidence_figures(np.stack([sure, 1 - sure], 1), wrong)
    assert not boastful["calibration"]["is_calibrated"]
    assert boastful["calibration"]["error"] == pytest.approx(0.15, abs=0.03)


def test_bins_hold_equal_numbers_and_enough() -> None:
    rng = np.random.default_rng(0)
    sure = rng.beta(8, 1, 151) / 2 + 0.5
    right = np.where(rng.random(151) < sure, 0, 1)
    bins = confidence_figures(np.stack([sure, 1 - sure], 1), right)["reliability"]
    assert [one["n"] for one in bins] == [31, 30, 30, 30, 30]
    assert [one["confidence"] for one in bins] == sorted(one["confidence"] for one in bins)
    hits = sum(one["accuracy"] * one["n"] for one in bins)
    assert hits == pytest.approx((right == 0).sum())


def test_photos_of_one_item_widen_the_band_and_the_bins() -> None:
    rng = np.random.default_rng(1)
    sure, items = np.repeat(rng.uniform(0.6, 1, 60), 5), np.repeat(np.arange(60), 5)
    right = np.where(np.repeat(rng.random(60), 5) < sure, 0, 1)
    probabilities = np.stack([sure, 1 - sure], 1)
    blind = confidence_figures(probabilities, right)
    told = confidence_figures(probabilities, right, items=items)
    assert told["calibration"]["error"] == blind["calibration"]["error"]
    assert told["calibration"]["band"][1] > 1.5 * blind["calibration"]["band"][1]
    for one, other in zip(told["reliability"], blind["reliability"], strict=True):
        widths = [np.diff(each["interval"])[0] for each in (one, other)]
        assert one["accuracy"] == other["accuracy"] and widths[0] > widths[1]


@pytest.mark.parametrize("n", [2, 5, 15, 16, 29, 40])
def test_a_few_photos_all_wrong_are_not_called_calibrated(n: int) -> None:
    sure = np.linspace(0.9, 0.99, n)
    found = confidence_figures(np.stack([sure, 1 - sure], 1), np.ones(n, np.int64))["calibration"]
    assert found["error"] == pytest.approx(0.945, abs=0.02)
    assert not found["is_calibrated"]


def test_one_photo_has_no_calibration_but_a_curve() -> None:
    figures = confidence_figures(np.array([[0.9, 0.1]]), np.array([1]))
    assert figures["calibration"] is None and figures["accepted"] is None
    assert [one["n"] for one in figures["reliability"]] == [1]
    assert figures["risk_coverage"]["risk"] == [1.0]
