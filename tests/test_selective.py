"""Risk-coverage against plain loops; certificates against what they promise."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from beltsight.calibrate import fit_temperature, likely_temperatures, softmax
from beltsight.errors import ConfigError, DatasetError, ModelError
from beltsight.selective import choose_threshold, choose_thresholds, risk_coverage


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A calibrated model: answers are right as often as it says."""
    generator = np.random.default_rng(seed)
    confidences = 0.5 + 0.5 * generator.beta(4, 0.5, n)
    return confidences, generator.random(n) < confidences


def area_by_loops(correct: list[bool]) -> float:
    """AURC of answers in this order."""
    risks = [1 - sum(correct[:k]) / k for k in range(1, len(correct) + 1)]
    return sum(risks) / len(risks)


def test_the_area_agrees_with_plain_loops() -> None:
    confidences, correct = draw(200, 0)
    order = np.argsort(-confidences)
    curve = risk_coverage(confidences, correct)
    assert curve.area == pytest.approx(area_by_loops(correct[order].tolist()))
    best = area_by_loops(sorted(correct.tolist(), reverse=True))
    assert curve.excess_area == pytest.approx(curve.area - best)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == pytest.approx(1 - correct.mean())
    for threshold, coverage, risk in zip(curve.thresholds, curve.coverage, curve.risk, strict=True):
        accepted = confidences >= threshold
        assert coverage == pytest.approx(accepted.mean())
        assert risk == pytest.approx(1 - correct[accepted].mean())


def test_ties_take_the_mean_over_their_orders() -> None:
    confidences = np.array([0.9, 0.7, 0.7, 0.7, 0.7, 0.6])
    correct = np.array([True, False, True, True, False, True])
    areas = [area_by_loops([True, *order, True]) for order in itertools.permutations(correct[1:5])]
    curve = risk_coverage(confidences, correct)
    assert curve.area == pytest.approx(np.mean(areas))
    assert curve.thresholds.tolist() == [0.9, 0.7, 0.6]


@pytest.mark.parametrize(("right", "area"), [(True, 0.0), (False, 1.0)])
def test_one_photo_and_all_alike(right: bool, area: float) -> None:
    curve = risk_coverage(np.array([0.8]), np.array([right]))
    assert (curve.area, curve.excess_area, curve.n) == (area, 0.0, 1)


def test_a_record_is_small() -> None:
    record = risk_coverage(*draw(5000, 1)).to_record()
    assert len(record["risk"]) == len(record["coverage"]) == 100
    assert record["coverage"][-1] == 1.0
    assert json.loads(json.dumps(record)) == record


def test_the_estimate_is_the_lowest_threshold_that_reaches_the_target() -> None:
    confidences, correct = draw(150, 3)
    found = choose_threshold(confidences, correct, 0.95).estimated
    assert found is not None
    purities = {
        float(t): correct[confidences >= t].mean()
        for t in confidences
    }  # fmt: skip
    lowest = min(t for t, purity in purities.items() if purity >= 0.95)
    accepted = confidences >= lowest
    assert (found.accepted, found.right) == (accepted.sum(), (accepted & correct).sum())
    assert ((confidences >= found.threshold) == accepted).all()
    expected = binomtest(found.right, found.accepted).proportion_ci(0.95, method="exact")
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_certified_point_passes_the_exact_test() -> None:
    found = 0
    for seed in range(20):
        confidences, correct = draw(1000, seed)
        point = choose_threshold(confidences, correct, 0.93).certified
        if point:
            found += 1
            accepted = confidences >= point.threshold
            assert (point.accepted, point.right) == (accepted.sum(), (accepted & correct).sum())
            wrong = point.accepted - point.right
            assert binom.cdf(wrong, point.accepted, 0.07) <= 0.05
    assert found > 10


def test_certificates_hold_as_often_as_they_say() -> None:
    """The true purity of a threshold is the mean confidence above it, in a large sample."""
    world = np.sort(draw(400_000, 99)[0])
    above = np.cumsum(world[::-1])[::-1] / np.arange(len(world), 0, -1)
    broken = certified = below = 0
    for seed in range(400):
        choice = choose_threshold(*draw(400, 1000 + seed), 0.95)
        if choice.certified:
            certified += 1
            broken += above[np.searchsorted(world, choice.certified.threshold)] < 0.95
        assert choice.estimated
        below += above[np.searchsorted(world, choice.estimated.threshold)] < 0.95
    assert certified > 200
    # At most 5 % of all validation sets, and three standard deviations of that count.
    assert broken <= 20 + 3 * 4.4
    # An estimate is as often too low as too high: that is why it is no certificate.
    assert 0.3 * 400 < below < 0.7 * 400


def about_chance(n: int, seed: int) -> np.ndarray:
    """Logits (n, 3) of answers that are right with a probability close to 96.6 %."""
    generator = np.random.default_rng(seed)
    odds = np.log(0.966 / 0.034) + 0.1 * generator.normal(size=n)
    right = 1 / (1 + np.exp(-odds))
    second = generator.uniform(0.2, 0.8, n)
    rest = 1 - right
    return np.asarray(np.log(np.stack([right, rest * second, rest * (1 - second)], axis=1)))


def test_certificates_hold_where_the_temperature_is_fitted_to_the_same_labels() -> None:
    """No threshold reaches 97 % here, so that each certificate is a false one."""
    broken = 0
    for seed in range(300):
        logits = 1.3 * about_chance(300, seed)  # too sure by a temperature of 1.3
        chances = softmax(logits, 1.3).cumsum(axis=1)
        lots = np.random.default_rng(1000 + seed).random((300, 1))
        labels = (chances < lots).sum(axis=1)
        fitted = softmax(logits, fit_temperature(logits, labels)).max(axis=1)
        before = np.stack([softmax(logits, t).max(axis=1) for t in likely_temperatures(1.0)])
        broken += choose_threshold(fitted, labels == 0, 0.97, before=before).is_certified
    # 5 % of all validation sets, and three standard deviations of that count.
    assert 0 < broken <= 15 + 3 * 3.8


def test_labels_do_not_say_where_the_tests_begin() -> None:
    confidences, correct = np.linspace(0.999, 0.9, 208), np.ones(208, bool)
    correct[150:153] = False
    sure, unsure = np.full((1, 208), 0.9999), np.linspace(0.999, 0.9, 208)[None]
    # Sure of all, a model begins with all 208, of which two may be wrong: that ends the series.
    assert choose_threshold(confidences, correct, 0.97, before=sure).certified is None
    point = choose_threshold(confidences, correct, 0.97, before=unsure).certified
    assert point is not None and point.accepted == 99
    both = np.concatenate([sure, unsure])
    assert choose_threshold(confidences, correct, 0.97, before=both).certified == point
    with pytest.raises(ConfigError, match=r"guesses \(S, 208\) made before, got shape \(208,\)"):
        choose_threshold(confidences, correct, 0.97, before=sure[0])


def test_one_mistake_among_the_fewest_ends_the_series() -> None:
    confidences = np.linspace(0.999, 0.9, 99)
    assert choose_threshold(confidences, np.ones(99, bool), 0.97).is_certified
    correct = np.ones(99, bool)
    correct[50] = False
    choice = choose_threshold(confidences, correct, 0.97)
    assert choice.certified is None
    assert choice.best is choice.estimated is not None


def test_too_few_photos_are_said_plainly() -> None:
    confidences, correct = np.linspace(0.8, 0.99, 98), np.ones(98, bool)
    choice = choose_threshold(confidences, correct, 0.97)
    assert not choice.is_certified
    assert choice.best is not None
    assert (choice.best.threshold, choice.best.coverage, choice.best.purity) == (0.0, 1.0, 1.0)
    assert choice.statement == (
        "97 % purity cannot be certified with these 98 photos: 95 % confidence needs at least 99 "
        "accepted without a mistake, more with mistakes, and there are 98 in all; the threshold "
        "0.000 is the best estimate, chosen on these photos (98 of 98 right, 96.3 % to 100 %, "
        "coverage 100 %)"
    )
    one_more = choose_threshold(np.append(confidences, 0.999), np.ones(99, bool), 0.97)
    assert one_more.statement == (
        "97 % purity is certified with 95 % confidence at threshold 0.000: 99 of 99 accepted were "
        "right, coverage 100 %"
    )


def test_a_target_out_of_reach_accepts_nothing() -> None:
    choice = choose_threshold(np.array([0.9, 0.8]), np.array([False, True]), 0.97)
    assert choice.best is None
    assert choice.statement.endswith(
        "no threshold reaches it on them either, so nothing is accepted"
    )
    assert choice.to_record()["estimated"] is None
    assert "these 1 photo:" in choose_threshold(np.array([0.5]), np.array([0]), 0.9).statement


def test_photos_that_the_model_knows_certify_nothing() -> None:
    confidences, correct = np.linspace(0.9, 1.0, 200), np.arange(200) >= 5
    free = choose_threshold(confidences, correct, 0.97)
    bound = choose_threshold(confidences, correct, 0.97, known="these photos chose the model")
    assert free.is_certified and not bound.is_certified
    # The stricter point is the better guess all the same.
    assert bound.best == free.certified != free.estimated
    assert bound.statement == (
        "97 % purity is not certified, since these photos chose the model; the threshold 0.921 is "
        "the best estimate, chosen on these photos (157 of 157 right, 97.7 % to 100 %, coverage "
        "78.5 %)"
    )
    record = bound.to_record()
    assert record["certified"] is None and record["known"] == "these photos chose the model"
    assert record["chosen"]["accepted"] == 157


def test_what_is_novel_is_accepted_at_no_threshold() -> None:
    confidences = np.linspace(0.9, 1.0, 200)
    correct, novel = np.arange(200) < 180, np.arange(200) >= 175
    choice = choose_threshold(confidences, correct, 0.97, novel=novel)
    # The surest 25 are set aside with all mistakes: the others are right.
    assert (choice.n, choice.novel, choice.mistakes) == (200, 25, 0)
    assert choice.certified is not None
    assert (choice.certified.accepted, choice.certified.coverage) == (175, 0.875)
    assert choice.statement.endswith("coverage 87.5 %; 25 of 200 are unlike anything seen")
    nothing = choose_threshold(confidences, correct, 0.97, novel=np.ones(200, bool))
    assert nothing.best is None and "nothing is accepted" in nothing.statement
    with pytest.raises(ConfigError, match=r"200 photos, got shape \(3,\)"):
        choose_threshold(confidences, correct, 0.97, novel=np.ones(3, bool))


def test_a_threshold_lies_between_what_it_parts() -> None:
    point = choose_threshold(np.array([0.9, 0.8, 0.6]), np.array([1, 1, 0]), 0.9).estimated
    assert point is not None
    assert point.threshold == pytest.approx(0.7)
    next_to = np.nextafter(0.8, 0)  # no number lies between
    point = choose_threshold(np.array([0.9, 0.8, next_to]), np.array([1, 1, 0]), 0.9).estimated
    assert point is not None
    assert (point.threshold, point.accepted) == (0.8, 2)


def test_streams_are_those_of_the_answer_not_of_the_truth() -> None:
    probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.2, 0.8, 0.0], [0.3, 0.7, 0.0]])
    labels = np.array([0, 1, 1, 0])
    choices = choose_thresholds(probabilities, labels, ("can", "jar", "box"), 0.9)
    assert list(choices.per_class) == ["can", "jar"]  # nothing was ever called a box
    assert {name: (c.n, c.mistakes) for name, c in choices.per_class.items()} == {
        "can": (2, 1),
        "jar": (2, 1),
    }
    can = choices.per_class["can"].estimated
    assert can is not None and (can.threshold, can.accepted) == (0.75, 1)
    assert (choices.overall.n, choices.overall.mistakes) == (4, 2)
    record = json.loads(json.dumps(choices.to_record()))
    assert record["per_class"]["jar"]["estimated"]["purity"] == 1.0


def test_bad_input_is_named() -> None:
    with pytest.raises(DatasetError, match="0 photos"):
        risk_coverage(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(DatasetError, match="0 photos"):
        choose_threshold(np.zeros(0), np.zeros(0, bool), 0.9)
    with pytest.raises(ModelError, match="not a number"):
        choose_threshold(np.array([np.nan]), np.array([1]), 0.9)
    for target in (0.0, 1.0, 97.0):
        with pytest.raises(ConfigError, match="must lie between 0 and 1"):
            choose_threshold(np.array([0.5]), np.array([1]), target)
    with pytest.raises(ConfigError, match=r"\(N, 3\) and N labels"):
        choose_thresholds(np.zeros((4, 2)), np.zeros(4, int), ("a", "b", "c"), 0.9)


def test_a_target_next_to_all_is_not_rounded_to_it() -> None:
    confidence = np.linspace(0.99995, 1, 9000)
    correct = np.ones(9000, bool)
    proved = choose_threshold(confidence, correct, 0.9996).statement
    assert proved.startswith("99.96 % purity is certified with 95 % confidence at threshold")
    few = choose_threshold(confidence[:50], correct[:50], 0.9996, confidence=0.9995).statement
    assert few.startswith("99.96 % purity cannot be certified") and "99.95 % confidence" in few


def test_photos_of_one_item_widen_the_interval() -> None:
    confidences, correct = draw(100, 3)
    once = choose_threshold(confidences, correct, 0.8).estimated
    items = np.tile(np.arange(100), 4)
    tiled = np.tile(confidences, 4), np.tile(correct, 4)
    blind = choose_threshold(*tiled, 0.8, known="copies").estimated
    found = choose_threshold(*tiled, 0.8, known="copies", items=items).estimated
    assert once is not None and blind is not None and found is not None
    assert (found.threshold, found.accepted) == (blind.threshold, 4 * once.accepted)
    assert found.interval == pytest.approx(once.interval, abs=0.02)
    assert blind.interval[1] - blind.interval[0] < 0.6 * (found.interval[1] - found.interval[0])
