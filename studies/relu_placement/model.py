"""The network C(N; p1, p2, p3, p4) with the placement of its ReLUs as data, one at a time.

INPUT - CONV 5x5x20 - MAXPOOL 2 - CONV 5x5x50 - MAXPOOL 2 - CONV, as large as what is left, x 500 -
CONV 1x1 to the classes - SOFTMAX, no padding; each CONV is followed by a ReLU where p says so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import sqrt
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

Placement = tuple[bool, bool, bool, bool]
Weights = Mapping[str, Tensor]
Initialisation = Literal["he", "lecun", "torch", "matconvnet"]
Normalisation = Literal["none", "batch"]

LAYERS = ("conv1", "conv2", "conv3", "conv4")
CHANNELS = (20, 50, 500)
KERNEL_PX = 5
PLACEMENTS: tuple[Placement, ...] = tuple(product((False, True), repeat=4))  # type: ignore[arg-type]
PUBLISHED: Placement = (False, True, False, True)


def placement_name(placement: Placement) -> str:
    """The placement as the paper writes it.

    Example:
        >>> placement_name(PUBLISHED)
        'C-CR-C-CR'
    """
    return "-".join("CR" if relu else "C" for relu in placement)


NAMES = tuple(placement_name(each) for each in PLACEMENTS)
PUBLISHED_NAME = placement_name(PUBLISHED)


@dataclass(frozen=True)
class Shape:
    """What the network takes and answers.

    Args:
        size_px: N, side of the photo.
        channels: of the photo.
        classes: that it tells apart.

    Raises:
        SystemExit: a pool does not divide what it is given.

    Example:
        >>> Shape(28).window_px
        4
    """

    size_px: int
    channels: int = 1
    classes: int = 10

    def __post_init__(self) -> None:
        first = self.size_px - KERNEL_PX + 1
        second = first // 2 - KERNEL_PX + 1
        if first % 2 or second % 2 or second < 2:
            raise SystemExit(
                f"N = {self.size_px}: the pools of 2 must divide N - 4 and (N - 4) / 2 - 4; "
                "give a multiple of 4 from 16 on, e.g. 28, 32, ..., 64"
            )

    @property
    def window_px(self) -> int:
        """Side of what is left for the third convolution, which covers it."""
        return ((self.size_px - 4) // 2 - 4) // 2

    @property
    def units(self) -> tuple[int, int, int, int]:
        """Channels after each convolution."""
        return (*CHANNELS, self.classes)

    def weight_shape(self, layer: int) -> tuple[int, int, int, int]:
        """Of layer 0 to 3: (out, in, height, width)."""
        side = (KERNEL_PX, KERNEL_PX, self.window_px, 1)[layer]
        return (self.units[layer], (self.channels, *CHANNELS)[layer], side, side)


def mixed_seed(*parts: int) -> int:
    """One seed for the generator out of several numbers, each 0 or more.

    Example:
        >>> mixed_seed(0, 28, 0) == mixed_seed(0, 32, 0)
        False
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def initial_weights(shape: Shape, scheme: Initialisation, seed: int) -> dict[str, Tensor]:
    """Weights that every placement starts from.

    Args:
        shape: of the network.
        scheme: ``he``: normal, deviation sqrt(2 / inputs); ``lecun``: sqrt(1 / inputs);
            ``matconvnet``: 0.01, as its MNIST example; biases are zero in all three. ``torch``:
            uniform to 1 / sqrt(inputs), biases too, as PyTorch does.
        seed: of the draw, together with the size of the photos: networks of two sizes share no
            weights, or their results would not be independent.

    Returns:
        ``conv1.weight``, ``conv1.bias``, ... as PyTorch shapes them.
    """
    generator = torch.Generator().manual_seed(mixed_seed(seed, shape.size_px, 0))
    weights: dict[str, Tensor] = {}
    for layer, name in enumerate(LAYERS):
        size = shape.weight_shape(layer)
        inputs = size[1] * size[2] * size[3]
        bias = torch.zeros(size[0])
        if scheme == "torch":
            end = 1 / sqrt(inputs)
            weight = torch.empty(size).uniform_(-end, end, generator=generator)
            bias = bias.uniform_(-end, end, generator=generator)
        else:
            deviation = {"he": sqrt(2 / inputs), "lecun": sqrt(1 / inputs), "matconvnet": 0.01}
            weight = deviation[scheme] * torch.randn(size, generator=generator)
        weights |= {f"{name}.weight": weight, f"{name}.bias": bias}
    return weights


def plain_network(
    shape: Shape, placement: Placement, weights: Weights, normalisation: Normalisation = "none"
) -> nn.Sequential:
    """One placement as anyone would write it in PyTorch.

    Args:
        shape: of the network.
        placement: where a ReLU follows.
        weights: as :func:`initial_weights` gives them.
        normalisation: ``batch`` puts a batch normalisation without scale before each of the first
            three ReLUs (after the pool), whose shift is the convolution's bias.

    Returns:
        From photos (B, channels, N, N) to logits (B, classes).
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for layer, name in enumerate(LAYERS):
        out, inputs, side, _ = shape.weight_shape(layer)
        normalised = normalisation == "batch" and layer < 3
        convolution = nn.Conv2d(inputs, out, side, bias=not normalised)
        convolution.weight.data.copy_(weights[f"{name}.weight"])
        parts[name], bias = convolution, convolution.bias
        pool: dict[str, nn.Module] = {f"pool{layer + 1}": nn.MaxPool2d(2)} if layer < 2 else {}
        if normalised:
            parts |= pool
            norm = nn.BatchNorm2d(out)
            norm.weight.requires_grad_(False)
            parts[f"norm{layer + 1}"], bias = norm, norm.bias
            pool = {}
        assert bias is not None
        bias.data.copy_(weights[f"{name}.bias"])
        if placement[layer]:
            parts[f"relu{layer + 1}"] = nn.ReLU()
        parts |= pool
    parts["flat"] = nn.Flatten()
    return nn.Sequential(parts)
