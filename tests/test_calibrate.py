from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.metrics import log_loss

from beltsight.calibrate import (
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
    temperature_doubt,
)
from beltsight.errors import DatasetError


def draw(n: int, scale: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z); the logits handed out are ``scale * z``."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 5)) * 2
    labels = np.array([rng.choice(5, p=row) for row in softmax(z)])
    return (z * scale).astype(np.float32), labels


def test_softmax_by_hand() -> None:
    got = softmax(np.array([[0.0, np.log(3.0)], [1000.0, 1000.0]]))
    np.testing.assert_allclose(got, [[0.25, 0.75], [0.5, 0.5]])


def test_softmax_does_not_change_its_input() -> None:
    logits = np.array([[1.0, 2.0]])
    softmax(logits)
    np.testing.assert_array_equal(logits, [[1.0, 2.0]])


def test_likelihood_agrees_with_sklearn() -> None:
    logits, labels = draw(200, 1.0)
    expected = log_loss(labels, softmax(logits, 1.6))
    assert negative_log_likelihood(logits, labels, 1.6) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_temperature_recovers_the_scale(scale: float) -> None:
    logits, labels = draw(20_000, scale)
    assert fit_temperature(logits, labels) == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("usual", [1.0, 2.0])
def test_temperature_is_the_minimum_that_scipy_finds(usual: float) -> None:
    logits, labels = draw(300, 2.5, seed=3)

    def posterior(t: float) -> float:
        likelihood = log_loss(labels, softmax(logits, t), normalize=False)
        return float(likelihood - norm.logpdf(np.log(t), np.log(usual), 0.5))

    best = minimize_scalar(posterior, bounds=(0.05, 20), method="bounded")
    assert fit_temperature(logits, labels, usual) == pytest.approx(best.x, rel=1e-3)


def test_temperature_needs_a_labelled_photo() -> None:
    with pytest.raises(DatasetError, match="no labelled validation photo"):
        fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64))


def test_photos_that_are_all_right_do_not_make_it_sure_without_bound() -> None:
    logits, _ = draw(20, 1.0)
    right = logits.argmax(axis=1)
    temperature = fit_temperature(logits, right)
    assert np.median(softmax(logits).max(axis=1)) < 0.7
    # The likelihood alone would take it to 0.05, and the confidence to 1.
    assert temperature > 0.25
    assert np.median(softmax(logits, temperature).max(axis=1)) < 0.97


def test_ten_photos_of_a_calibrated_model_leave_it_near_calibrated() -> None:
    found = [fit_temperature(*draw(10, 1.0, seed)) for seed in range(100)]
    assert min(found) > 0.3 and max(found) < 3
    assert np.median(found) == pytest.approx(1.0, abs=0.25)


def test_few_photos_leave_the_temperature_near_what_it_was() -> None:
    logits, labels = draw(3, 1.0)
    assert fit_temperature(logits, labels, 4.0) > 1.5 * fit_temperature(logits, labels)
    assert 0.05 <= fit_temperature(logits, labels, 1e300) <= 20


@pytest.mark.parametrize(
    ("n", "right", "temperature", "said"),
    [
        (49, 40, 1.0, "fitted on 49 labelled photos only"),
        (50, 50, 1.0, "all 50 answers were right"),
        (50, 0, 1.0, "none of 50"),
        (50, 40, 0.0502, "end of the range"),
        (50, 40, 19.9, "end of the range"),
    ],
)
def test_what_speaks_against_a_temperature(
    n: int, right: int, temperature: float, said: str
) -> None:
    assert said in (temperature_doubt(n, right, temperature) or "")
    assert temperature_doubt(50, 49, 0.06) is None


def test_calibration_error_by_hand() -> None:
    # Bin (0.8, 0.9]: confidence 0.85, accuracy 0.5; bin (0.5, 0.6]: confidence 0.6, accuracy 1.
    confidences = np.array([0.84, 0.86, 0.6])
    correct = np.array([True, False, True])
    expected = (2 * 0.35 + 1 * 0.4) / 3
    assert expected_calibration_error(confidences, correct, bins=10) == pytest.approx(expected)


def test_calibration_error_of_nothing_is_zero() -> None:
    assert expected_calibration_error(np.zeros(0), np.zeros(0, bool)) == 0.0
