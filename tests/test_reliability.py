"""Whether confidences mean what they say: by hand, by plain loops, and by simulation."""

from __future__ import annotations

import json
from statistics import mean

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from beltsight.errors import ConfigError, DatasetError, ModelError
from beltsight.metrics import wilson_interval
from beltsight.reliability import check_calibration, reliability_bins


def draw(n: int, gap: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of a model that is right less often than it says, by ``gap``."""
    generator = np.random.default_rng(seed)
    confidences = generator.beta(5, 1, n)
    return confidences, generator.random(n) < np.clip(confidences - gap, 0, 1)


def debiased_calibration_error(confidences: np.ndarray, correct: np.ndarray, bins: int) -> float:
    return check_calibration(confidences, correct, bins, draws=100).error


def debiased_by_loops(confidences: np.ndarray, correct: np.ndarray, bins: int) -> float:
    """Kumar, Liang and Ma's estimator for distinct confidences and bins that divide them."""
    pairs = sorted(zip(confidences.tolist(), correct.tolist(), strict=True))
    size, total = len(pairs) // bins, 0.0
    for first in range(0, len(pairs), size):
        part = pairs[first : first + size]
        sure, right = mean(c for c, _ in part), mean(float(r) for _, r in part)
        total += size / len(pairs) * ((sure - right) ** 2 - right * (1 - right) / (size - 1))
    return float(max(total, 0.0) ** 0.5)


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_debiased_error_agrees_with_plain_loops(gap: float, bins: int) -> None:
    confidences, correct = draw(300, gap)
    expected = debiased_by_loops(confidences, correct, bins)
    assert debiased_calibration_error(confidences, correct, bins) == pytest.approx(expected)


def test_the_debiased_error_by_hand() -> None:
    # Two bins of three: gaps 0.6 - 1/3 and 0.9 - 1, variances (2/9) / 2 and 0.
    confidences = np.array([0.5, 0.6, 0.7, 0.85, 0.9, 0.95])
    correct = np.array([False, True, False, True, True, True])
    square = (3 * ((0.6 - 1 / 3) ** 2 - 1 / 9) + 3 * 0.1**2) / 6
    assert square < 0
    assert debiased_calibration_error(confidences, correct, 2) == 0.0
    correct[1] = False  # gap 0.6, no variance
    expected = ((0.36 + 0.01) / 2) ** 0.5
    assert debiased_calibration_error(confidences, correct, 2) == pytest.approx(expected)


def test_the_bias_is_gone() -> None:
    """A gap of 0.2 everywhere: the mean square over many small samples is 0.04.

    Without the subtraction it would be 9 % more: p (1 - p) / 60 is 0.0036 on average.
    """
    squares = []
    for seed in range(1600):
        generator = np.random.default_rng(seed)
        confidences = generator.uniform(0.5, 0.9, 120)
        correct = generator.random(120) < confidences - 0.2
        squares.append(debiased_calibration_error(confidences, correct, 2) ** 2)
    assert np.mean(squares) == pytest.approx(0.04, rel=0.04)


def test_equal_confidences_share_a_bin_in_any_order() -> None:
    confidences = np.repeat([0.6, 0.9], [5, 15])
    correct = np.arange(20) % 3 > 0
    order = np.random.default_rng(0).permutation(20)
    here = reliability_bins(confidences, correct, 4)
    assert here == reliability_bins(confidences[order], correct[order], 4)
    assert [(one.n, one.confidence) for one in here] == [(5, 0.6), (15, pytest.approx(0.9))]
    assert debiased_calibration_error(confidences, correct, 4) == pytest.approx(
        debiased_calibration_error(confidences[order], correct[order], 4)
    )


def test_bins_agree_with_sklearn() -> None:
    confidences, correct = draw(150)
    found = reliability_bins(confidences, correct, 5)
    accuracy, confidence = calibration_curve(correct, confidences, n_bins=5, strategy="quantile")
    assert [one.accuracy for one in found] == pytest.approx(accuracy.tolist())
    assert [one.confidence for one in found] == pytest.approx(confidence.tolist())
    for one in found:
        assert one.interval == wilson_interval(round(one.accuracy * one.n), one.n)
        assert one.low <= one.confidence <= one.high
    assert sum(one.n for one in found) == 150


def test_few_photos_have_few_bins() -> None:
    (only,) = reliability_bins(np.array([0.7]), np.array([True]))
    assert (only.n, only.accuracy, only.low, only.high) == (1, 1.0, 0.7, 0.7)
    assert check_calibration(np.array([0.7, 0.8]), np.array([1, 1])).error == 0.0


def test_a_calibrated_model_stays_inside_and_an_overconfident_one_does_not() -> None:
    honest = sum(check_calibration(*draw(328, 0.0, s), draws=300).is_calibrated for s in range(150))
    # 95 % of 150, and four standard deviations of that count.
    assert 142.5 - 4 * 2.7 <= honest <= 150
    boasting = [check_calibration(*draw(328, 0.15, s), draws=300) for s in range(20)]
    assert not any(check.is_calibrated for check in boasting)
    assert all(check.p_value < 0.05 for check in boasting)


def test_the_band_is_that_of_a_plain_simulation() -> None:
    confidences, correct = draw(90)
    check = check_calibration(confidences, correct, 6, draws=1500)
    generator = np.random.default_rng(99)
    errors = [
        debiased_by_loops(confidences, generator.random(90) < confidences, 6) for _ in range(1500)
    ]
    assert check.band[0] == 0.0
    assert check.band[1] == pytest.approx(np.quantile(errors, 0.95), rel=0.1)
    assert check.error == pytest.approx(debiased_by_loops(confidences, correct, 6))
    assert check.p_value == pytest.approx(np.mean(np.array(errors) >= check.error), abs=0.06) or (
        check.error == 0.0
    )


def test_the_same_seed_gives_the_same_band_whatever_the_block() -> None:
    confidences, correct = draw(200)
    first, again = (check_calibration(confidences, correct, seed=4) for _ in range(2))
    assert first == again != check_calibration(confidences, correct, seed=5)
    assert json.loads(json.dumps(first.to_record()))["is_calibrated"] is first.is_calibrated


def test_many_photos_are_simulated_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    confidences, correct = draw(200)
    whole = check_calibration(confidences, correct, draws=150)
    monkeypatch.setattr("beltsight.reliability._MOST_CELLS", 7 * 200)
    assert check_calibration(confidences, correct, draws=150) == whole


def draw_items(
    n: int, photos: int, spread: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A perfectly calibrated model on items of several photos each, which are right or wrong
    together: confidences of an item differ by ``spread``, and its surest photos fail last."""
    generator = np.random.default_rng(seed)
    items = np.repeat(np.arange(n), photos)
    own = generator.beta(5, 1, n)[items] + spread * generator.normal(size=n * photos)
    confidences = np.clip(own, 0.01, 0.99)
    order = generator.permutation(len(items))
    return confidences[order], (generator.random(n)[items] < confidences)[order], items[order]


@pytest.mark.parametrize(("photos", "spread"), [(3, 0.0), (5, 0.0), (3, 0.1)])
def test_a_calibrated_model_stays_inside_although_items_show_in_several_photos(
    photos: int, spread: float
) -> None:
    inside = blind = 0
    for seed in range(100):
        confidences, correct, items = draw_items(120, photos, spread, seed)
        inside += check_calibration(confidences, correct, items=items, draws=150).is_calibrated
        blind += check_calibration(confidences, correct, draws=150).is_calibrated
    # 95 % of 100, and four standard deviations of that count and of a band of 150 draws.
    assert inside >= 95 - 4 * 2.8
    assert blind < 80 < inside  # what it is for


def test_an_overconfident_model_is_found_on_items_of_several_photos() -> None:
    boasting = 0
    for seed in range(20):
        confidences, _, items = draw_items(150, 3, 0.0, seed)
        lots = np.random.default_rng(100 + seed).random(150)
        correct = lots[items] < np.clip(confidences - 0.2, 0, 1)
        boasting += not check_calibration(
            confidences, correct, items=items, draws=200
        ).is_calibrated
    assert boasting >= 18


def test_photos_of_items_of_their_own_have_the_same_band() -> None:
    confidences, correct = draw(200)
    plain = check_calibration(confidences, correct, draws=500)
    alone = check_calibration(confidences, correct, items=np.arange(200)[::-1], draws=500)
    assert plain == alone
    assert plain.band[1] == pytest.approx(0.088772, abs=5e-7)  # as it was before items were known


def test_bins_of_photos_of_one_item_have_wider_intervals() -> None:
    confidences, correct = np.repeat([0.6, 0.9], 30), np.arange(60) % 6 < 3
    items = np.arange(60) // 3
    wide = reliability_bins(confidences, correct, 2, items=items)
    for own, one in zip(reliability_bins(confidences, correct, 2), wide, strict=True):
        assert (own.n, own.accuracy) == (one.n, one.accuracy)
        # Thirty photos of ten items that are right or wrong as a whole: nine of them.
        assert one.interval == pytest.approx(wilson_interval(4.5, 9))
        assert one.interval[0] < own.interval[0] < own.interval[1] < one.interval[1]
    for call in (reliability_bins, check_calibration):
        with pytest.raises(ConfigError, match=r"one item for each of 60 photos, got shape \(3,\)"):
            call(confidences, correct, items=items[:3])


def test_bad_input_is_named() -> None:
    nothing, three = np.zeros(0), np.zeros(3, bool)
    with pytest.raises(DatasetError, match="0 photos; at least 1"):
        reliability_bins(nothing, three[:0])
    with pytest.raises(DatasetError, match="1 photos; at least 2"):
        check_calibration(np.array([0.5]), np.array([True]))
    for wrong in (np.nan, -0.1, 1.2, np.inf):
        with pytest.raises(ModelError, match="not a number from 0 to 1"):
            check_calibration(np.array([0.5, wrong]), np.array([True, True]))
    with pytest.raises(ConfigError, match=r"shape \(3,\) and \(2,\)"):
        reliability_bins(np.full(3, 0.5), np.array([True, True]))
    with pytest.raises(ConfigError, match="at least one bin, got 0"):
        reliability_bins(np.full(3, 0.5), three, 0)
    with pytest.raises(ConfigError, match="at least 100 draws"):
        check_calibration(np.full(3, 0.5), three, draws=10)
