from __future__ import annotations

import numpy as np
import pytest

from beltsight.errors import ConfigError, ParityError
from beltsight.quantization.parity import (
    Bounds,
    broken_bounds,
    check_bounds,
    measure_parity,
    paired_interval,
)


def sure(*answers: int) -> np.ndarray:
    """Probabilities 0.8 for each answer, 0.1 for the other two."""
    table = np.full((len(answers), 3), 0.1)
    table[np.arange(len(answers)), answers] = 0.8
    return table


def test_counts_by_hand() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    before = sure(0, 1, 2, 1, 0)  # three right
    after = sure(0, 1, 1, 0, 2)  # one lost, one gained, one wrong in another way
    found = measure_parity(before, after, labels)
    assert (found.n, found.changed, found.lost, found.gained) == (5, 3, 1, 1)
    assert found.agreement == pytest.approx(0.4)
    assert found.float_accuracy == found.accuracy == pytest.approx(0.6)
    assert found.accuracy_change == 0.0
    assert found.probability_change == pytest.approx(0.7)


def test_the_interval_without_correlation_is_newcombes_for_two_samples() -> None:
    """With as many pairs in each corner phi is 0, and the ends add up as squares."""
    low, high = paired_interval(25, 25, 25, 25)
    half = 1.959964 / np.sqrt(100 + 1.959964**2) / 2  # Wilson about one half
    assert (low, high) == pytest.approx((-half * 2**0.5, half * 2**0.5), rel=1e-4)


def test_the_interval_turns_round_with_the_models() -> None:
    low, high = paired_interval(80, 7, 2, 11)
    other_low, other_high = paired_interval(80, 2, 7, 11)
    assert (low, high) == pytest.approx((-other_high, -other_low))
    assert low < -0.05 < high


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    chance = np.random.default_rng(0)
    shares = (0.92, 0.02, 0.01, 0.05)
    held = 0
    for counts in chance.multinomial(328, shares, 1000):
        low, high = paired_interval(*(int(count) for count in counts))
        held += low <= shares[2] - shares[1] <= high
    assert 930 <= held <= 1000


def test_no_photo_has_no_interval() -> None:
    with pytest.raises(ConfigError, match="at least one photo"):
        paired_interval(0, 0, 0, 0)


def test_every_bound_is_named() -> None:
    labels = np.zeros(10, np.int64)
    parity = {"material": measure_parity(sure(*[0] * 10), sure(*[0] * 8, 1, 1), labels)}
    assert broken_bounds(parity, Bounds(0.8, 0.2, 0.71)) == []
    assert len(broken_bounds(parity, Bounds(0.8, 0.2, 0.71).tightened())) == 2
    with pytest.raises(ParityError, match=r"nothing is written") as told:
        check_bounds(parity, Bounds(0.9, 0.1, 0.5))
    message = str(told.value)
    assert "2 of 10 labels change, agreement 80.00% (at least 90.00%)" in message
    assert "accuracy falls by 20.00 points (at most 10.00)" in message
    assert "a probability changes by 0.700 (at most 0.500)" in message


def test_a_model_exactly_at_a_bound_keeps_it() -> None:
    """Of all numbers of photos, and of all that may change: 93 of 100 are 0.93, not less."""
    for n in (20, 100, 200, 328):
        labels = np.zeros(n, np.int64)
        for changed in range(n):
            kept = n - changed
            found = measure_parity(sure(*[0] * n), sure(*[0] * kept, *[1] * changed), labels)
            assert found.agreement == kept / n
            assert broken_bounds({"material": found}, Bounds(kept / n, changed / n)) == []
    assert Bounds(min_agreement=0.93).min_agreement == 93 / 100


@pytest.mark.parametrize("value", [-0.1, 98.5, float("nan")])
def test_a_bound_is_a_share(value: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Bounds(min_agreement=value)


def test_photos_of_one_item_count_as_one() -> None:
    chance = np.random.default_rng(0)
    labels = chance.integers(0, 3, 200)
    before = np.where(chance.random(200) < 0.1, (labels + 1) % 3, labels)
    after = np.where(chance.random(200) < 0.05, (labels + 2) % 3, before)
    once = measure_parity(sure(*before), sure(*after), labels)
    thrice = [np.tile(each, 3) for each in (before, after, labels)]
    items = np.tile(np.arange(200), 3)
    found = measure_parity(sure(*thrice[0]), sure(*thrice[1]), thrice[2], items)
    for name in ("agreement_interval", "accuracy_change_interval"):
        assert getattr(found, name) == pytest.approx(getattr(once, name), abs=1e-3), name
    blind = measure_parity(sure(*thrice[0]), sure(*thrice[1]), thrice[2])
    low, high = blind.accuracy_change_interval
    assert high - low < 0.65 * (once.accuracy_change_interval[1] - once.accuracy_change_interval[0])
