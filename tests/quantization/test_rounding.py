from __future__ import annotations

import numpy as np
import pytest

from beltsight.quantization.rounding import WEIGHT_LEVELS, best_range, bias_shift, round_weights
from beltsight.records import Floats


def steps(weight: Floats, bits: int) -> Floats:
    """One step of each output (axis 0)."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    return np.asarray(largest / WEIGHT_LEVELS[bits])


def test_seven_bits_never_saturate_and_eight_do() -> None:
    """Two products of an activation and a weight are added in 16 bits with sign."""
    most = np.iinfo(np.int16).max
    assert 2 * 255 * WEIGHT_LEVELS[7] <= most < 2 * 255 * (WEIGHT_LEVELS[7] + 1)
    assert 2 * 255 * WEIGHT_LEVELS[8] > most


@pytest.mark.parametrize("bits", [7, 8])
def test_kernels_keep_their_sums_and_weights_their_places(bits: int) -> None:
    weight = np.random.default_rng(0).normal(0, 1, (6, 5, 7, 7)).astype(np.float32)
    rounded = round_weights(weight, 0, bits)
    step = steps(weight, bits)[:, None, None, None]
    np.testing.assert_allclose(rounded / step, np.round(rounded / step), atol=1e-4)
    assert (np.abs(rounded - weight) <= 1.001 * step).all()
    sums = (rounded - weight).sum(axis=(2, 3)) / step[:, :, 0, 0]
    nearest = np.round(weight / step) * step
    plain = (nearest - weight).sum(axis=(2, 3)) / step[:, :, 0, 0]
    assert np.abs(sums).max() <= 0.51 < np.abs(plain).max()
    assert np.abs(rounded / step).max() == pytest.approx(WEIGHT_LEVELS[bits], abs=1e-4)


def test_single_weights_are_rounded_to_the_nearest() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (4, 9)).astype(np.float32)
    step = steps(weight, 7)[:, None]
    np.testing.assert_allclose(
        round_weights(weight, 0, 7), np.round(weight / step) * step, atol=1e-6
    )
    np.testing.assert_array_equal(
        round_weights(np.ascontiguousarray(weight.T), 1, 7), round_weights(weight, 0, 7).T
    )


def test_an_output_of_zeros_stays_so() -> None:
    assert not round_weights(np.zeros((2, 3, 3, 3), np.float32), 0, 7).any()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_shift_is_what_the_changed_weights_give_on_a_constant_photo(groups: int) -> None:
    chance = np.random.default_rng(0)
    change = chance.normal(0, 1, (8, 4 // groups, 3, 3)).astype(np.float32)
    means = chance.normal(0, 1, 4)
    expected = []
    for output in range(8):  # by the definition of a grouped convolution, inside the padding
        first = output // (8 // groups) * (4 // groups)
        inputs = range(4 // groups)
        expected.append(sum(change[output, i].sum() * means[first + i] for i in inputs))
    np.testing.assert_allclose(bias_shift(change, 0, groups, means), expected, rtol=1e-5)


def test_the_shift_of_a_matrix_product() -> None:
    chance = np.random.default_rng(0)
    change, means = chance.normal(0, 1, (5, 3)).astype(np.float32), chance.normal(0, 1, 5)
    np.testing.assert_allclose(bias_shift(change, 1, 1, means), means @ change, rtol=1e-5)


def squared_error(values: Floats, low: float, high: float) -> float:
    step = (high - low) / 255
    whole = np.clip(np.round((values - low) / step), 0, 255)
    return float(((whole * step + low - values) ** 2).mean())


def test_even_values_keep_their_whole_range() -> None:
    values = np.linspace(-1, 2, 5000, dtype=np.float32)
    assert best_range(values, -1.0, 2.0) == (-1.0, 2.0)


def test_a_lonely_outlier_is_cut_off() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, 400_000)).astype(np.float32)
    values[0] = 12.0
    low, high = best_range(values, 0.0, 12.0)
    assert low == 0.0 and 3.0 < high < 9.0
    assert squared_error(values, low, high) < 0.9 * squared_error(values, 0.0, 12.0)


@pytest.mark.parametrize(("low", "high"), [(2.0, 5.0), (-5.0, -2.0), (0.0, 0.0)])
def test_a_range_holds_zero_and_has_a_width(low: float, high: float) -> None:
    values = np.linspace(low, high, 100, dtype=np.float32)
    bottom, top = best_range(values, low, high)
    assert bottom <= 0.0 <= top and top > bottom
