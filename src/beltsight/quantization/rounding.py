"""What rounding to 8 bits does to numbers, in numpy: weights, ranges, and the shift it leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from beltsight.records import Floats

WEIGHT_LEVELS = {7: 64, 8: 127}
"""Largest weight as a whole number.

Processors without VNNI add two products of an activation (0 to 255) and a weight in 16 bits:
2 * 255 * 127 is beyond 32,767 and saturates, 2 * 255 * 64 = 32,640 never does.
"""

_ACTIVATION_STEPS = 255
_BINS = 1024
_TRIED_ENDS = 25
_NARROWEST = 0.3


def round_weights(weight: Floats, axis: int, bits: int) -> Floats:
    """Weights as int8 keeps them: rounded per output, symmetric about 0.

    A photo is smooth, so neighbouring pixels bring the rounding errors of a kernel with nearly the
    same sign, and what counts is their sum: a few weights are rounded the other way so that each
    kernel sums to what it did, up to half a step.

    Args:
        weight: float32, any shape; of a convolution (outputs, inputs, height, width).
        axis: of the outputs; each has its own scale.
        bits: 7, which saturates nowhere, or 8.

    Returns:
        float32 multiples of each output's largest weight over 64 or 127.

    Example:
        >>> kernel = np.array([64.0, 0.45, 0.35, 0.3], np.float32).reshape(1, 1, 2, 2)
        >>> round_weights(kernel, 0, 7).ravel().tolist()  # 65.1 in all
        [64.0, 1.0, 0.0, 0.0]
    """
    others = tuple(a for a in range(weight.ndim) if a != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, 1.0) / WEIGHT_LEVELS[bits]
    exact: Floats = np.asarray(weight / scale, np.float32)
    whole: Floats = np.round(exact)
    if weight.ndim > 2 and axis == 0:
        kernels = (*weight.shape[:2], -1)
        whole = _keep_sums(exact.reshape(kernels), whole.reshape(kernels)).reshape(weight.shape)
    return np.asarray(whole * scale, np.float32)


def _keep_sums(exact: Floats, whole: Floats) -> Floats:
    """Whole numbers whose sums over the last axis are nearest to those of the exact ones."""
    error = whole - exact
    excess = np.round(error.sum(axis=-1, keepdims=True))
    # First come those that were rounded up the most, last those rounded down the most.
    rank = (-error).argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    down = rank < excess
    up = rank >= error.shape[-1] + excess
    return np.asarray(whole - down + up, np.float32)


def bias_shift(
    change: Floats, axis: int, groups: int, input_means: NDArray[np.floating]
) -> NDArray[np.float64]:
    """By how much a change of weights moves the mean of each output.

    Rounded weights do not sum to what the weights did, so on inputs that are not centred about 0
    every output moves by a constant. Taken off the bias, it is gone, at no cost.

    Args:
        change: rounded weights less the weights.
        axis: of the outputs.
        groups: of a convolution.
        input_means: (inputs,) mean of each input channel.

    Returns:
        float64 (outputs,). Padding counts as if it were the input's mean.
        Source: Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
        Correction", equation 17.
    """
    table = np.moveaxis(np.asarray(change, np.float64), axis, 0)
    if table.ndim > 2:  # a convolution's kernel sees one mean
        table = table.sum(axis=tuple(range(2, table.ndim)))
    outputs, per_group = table.shape
    means = np.asarray(input_means, np.float64).reshape(groups, per_group)
    grouped = table.reshape(groups, outputs // groups, per_group)
    return np.asarray(np.einsum("goi,gi->go", grouped, means).reshape(outputs))


def best_range(values: Floats, low: float, high: float) -> tuple[float, float]:
    """The range for 256 steps that costs the least squared error.

    A wide range has coarse steps, a narrow one cuts outliers off; activations have few, large
    outliers, so some cutting pays.

    Args:
        values: a sample of the tensor's values.
        low, high: the least and largest value ever seen.

    Returns:
        (low, high), which hold 0, as zero padding must be exact.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-12:
        return low, low + 1e-6
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    seen = counts > 0
    weights, centres = counts[seen], ((edges[:-1] + edges[1:]) / 2)[seen]
    shares = np.linspace(_NARROWEST, 1.0, _TRIED_ENDS)
    lows = low * shares if low < 0 else np.zeros(1)
    best = (np.inf, low, high)
    for bottom in lows:
        for top in high * shares if high > 0 else (0.0,):
            step = (top - bottom) / _ACTIVATION_STEPS
            whole = np.clip(np.round((centres - bottom) / step), 0, _ACTIVATION_STEPS)
            cost = float((weights * (whole * step + bottom - centres) ** 2).sum())
            # At equal cost the wider: photos to come may hold more than those seen.
            if cost < best[0] or (cost == best[0] and top - bottom > best[2] - best[1]):
                best = (cost, float(bottom), float(top))
    return best[1], best[2]
