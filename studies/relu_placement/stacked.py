"""All placements of one size as one network: a layer is one operation for the whole stack.

What makes it fast on a processor, each measured against the alternatives:

- The first convolution sees the same photos in every placement, so they are unfolded once and
  multiplied with the kernels of all: one matrix product whose result has channels last, which is
  what max-pooling is fast on.
- The second convolution is one grouped convolution; third and fourth are batched matrix products.
- max(x) + b = max(x + b) and relu(max(x)) = max(relu(x)): bias and ReLU come after the pool, on a
  quarter of the values. Value and gradient stay those of CONV - ReLU - MAXPOOL.
- One tensor per layer: the optimizer steps once, not once per network.

Weights of the placements are equal at the first step alone, so no more than that can be shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from studies.relu_placement.model import (
    KERNEL_PX,
    LAYERS,
    Normalisation,
    Placement,
    Shape,
    Weights,
)
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Photos are convolved first in parts whose result stays near the processor.
_PART_BYTES = 12_000_000
_POOL: tuple[list[int], list[int], list[int], list[int], bool] = (
    [2, 2],
    [2, 2],
    [0, 0],
    [1, 1],
    False,
)


class StackedNetwork(nn.Module):
    """Networks of one shape that differ in their placement of ReLUs, side by side.

    Args:
        shape: of each.
        placements: S of them.
        weights: that each starts from.
        normalisation: as for :func:`~studies.relu_placement.model.plain_network`.
        dtype: of the products but the last; weights, logits and gradients of weights stay float32.
    """

    def __init__(
        self,
        shape: Shape,
        placements: Sequence[Placement],
        weights: Weights,
        normalisation: Normalisation = "none",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.shape, self.placements = shape, tuple(placements)
        self.normalisation, self.dtype = normalisation, dtype
        count = len(self.placements)
        self.weights = nn.ParameterList(
            _stack_weight(layer, weights[f"{name}.weight"], count)
            for layer, name in enumerate(LAYERS)
        )
        self.biases = nn.ParameterList(
            self._per_unit(layer, weights[f"{name}.bias"].repeat(count, 1))
            for layer, name in enumerate(LAYERS)
        )
        relus = torch.tensor(self.placements)
        for layer, units in enumerate(shape.units):
            # Nothing lies below minus infinity: there the floor is no ReLU.
            floor = torch.where(relus[:, layer], 0.0, -torch.inf)[:, None].expand(count, units)
            self.register_buffer(f"floor{layer}", self._per_unit(layer, floor))
            if normalisation == "batch" and layer < 3:
                self.register_buffer(f"mean{layer}", torch.zeros(count * units))
                self.register_buffer(f"variance{layer}", torch.ones(count * units))

    def forward(self, photos: Tensor) -> Tensor:
        """Logits (S, B, classes), float32, of photos (B, channels, N, N)."""
        return self.activations(photos)[-1]

    def activations(self, photos: Tensor) -> list[Tensor]:
        """What each layer hands on.

        Args:
            photos: (B, channels, N, N), float32.

        Returns:
            After the first two layers (B, S * units, side, side), pooled; after the others
            (S, B, units). The last are the logits.
        """
        first, second, third = (each.to(self.dtype) for each in list(self.weights)[:3])
        values = _SharedFirst.apply(photos.to(self.dtype), first)
        one = self._finish(0, values)
        values = functional.conv2d(one, second, groups=len(self.placements))
        two = self._finish(1, functional.max_pool2d(values, 2))
        three = self._finish(2, torch.bmm(self._rows(two), third))
        # Rounded to bfloat16, logits would tie.
        fourth = self.weights[3]
        four = self._finish(3, torch.bmm(three.to(fourth.dtype), fourth))
        return [one, two, three, four]

    def weights_of(self, place: int) -> dict[str, Tensor]:
        """Weights of the placement at this place, as a plain network has them."""
        found: dict[str, Tensor] = {}
        for layer, name in enumerate(LAYERS):
            out, inputs, side, _ = size = self.shape.weight_shape(layer)
            stacked = self.weights[layer].detach()
            if layer == 0:
                weight = stacked.unflatten(1, (-1, out))[:, place].T.reshape(size)
            elif layer == 1:
                weight = stacked.unflatten(0, (-1, out))[place]
            else:
                weight = stacked[place].T.reshape(out, side, side, inputs).permute(0, 3, 1, 2)
            bias = self.biases[layer].detach().reshape(len(self.placements), out)[place]
            found |= {f"{name}.weight": weight.clone(), f"{name}.bias": bias.clone()}
        return found

    def _rows(self, values: Tensor) -> Tensor:
        """(B, S * C, h, w) -> (S, B, h * w * C)."""
        last: Tensor = values.permute(0, 2, 3, 1).unflatten(3, (len(self.placements), -1))
        return last.permute(3, 0, 1, 2, 4).flatten(2)

    def _finish(self, layer: int, values: Tensor) -> Tensor:
        """Normalisation, bias and ReLU."""
        if self.normalisation == "batch" and layer < 3:
            values = self._normalised(layer, values.float()).to(values.dtype)
        floor = getattr(self, f"floor{layer}")
        result: Tensor = _BiasAndFloor.apply(
            values, self.biases[layer].to(values.dtype), floor.to(values.dtype)
        )
        return result

    def _normalised(self, layer: int, values: Tensor) -> Tensor:
        mean, variance = getattr(self, f"mean{layer}"), getattr(self, f"variance{layer}")
        if layer < 2:
            return functional.batch_norm(values, mean, variance, training=self.training)
        rows = values.permute(1, 0, 2).flatten(1)
        rows = functional.batch_norm(rows, mean, variance, training=self.training)
        stacked: Tensor = rows.unflatten(1, (len(self.placements), -1))
        return stacked.permute(1, 0, 2)

    def _per_unit(self, layer: int, values: Tensor) -> Tensor:
        """(S, C) -> as it is added to what the layer gives."""
        return values.reshape(1, -1, 1, 1).clone() if layer < 2 else values[:, None].clone()


def _stack_weight(layer: int, weight: Tensor, count: int) -> Tensor:
    """One network's weight, repeated as the layer's operation wants it."""
    if layer == 0:
        return weight.flatten(1).T.repeat(1, count)  # (inputs * 25, S * 20)
    if layer == 1:  # (S * 50, 20, 5, 5)
        return weight.repeat(count, 1, 1, 1).contiguous(memory_format=torch.channels_last)
    return weight.permute(2, 3, 1, 0).flatten(0, 2).repeat(count, 1, 1)  # (S, h * w * in, out)


class _SharedFirst(torch.autograd.Function):
    """Photos (B, c, N, N), kernels (c * 25, K) -> convolved and pooled (B, K, M, M)."""

    @staticmethod
    def forward(ctx: Any, photos: Tensor, kernels: Tensor) -> Tensor:
        side, many = photos.shape[-1] - KERNEL_PX + 1, kernels.shape[1]
        photo_bytes = side * side * many * kernels.element_size()
        ctx.part = max(1, _PART_BYTES // photo_bytes)
        ctx.side, ctx.windows, ctx.taken, pooled = side, [], [], []
        for part in photos.split(ctx.part):
            windows = functional.unfold(part, KERNEL_PX).transpose(1, 2).flatten(0, 1)
            values = (windows @ kernels).view(len(part), side, side, many).permute(0, 3, 1, 2)
            highest, taken = functional.max_pool2d_with_indices(values, [2, 2])
            pooled.append(highest)
            if ctx.needs_input_grad[1]:
                ctx.windows.append(windows)
                ctx.taken.append(taken)
        return torch.cat(pooled)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        many, side = gradient.shape[1], ctx.side
        total: Tensor | None = None
        parts = gradient.contiguous(memory_format=torch.channels_last).split(ctx.part)
        for windows, taken, part in zip(ctx.windows, ctx.taken, parts, strict=True):
            # Only the form of what was pooled is asked for, not its values.
            form = part.new_empty((len(part), side, side, many)).permute(0, 3, 1, 2)
            values = torch.ops.aten.max_pool2d_with_indices_backward(part, form, *_POOL, taken)
            own = windows.T @ values.permute(0, 2, 3, 1).reshape(-1, many)
            total = own if total is None else total.add_(own)
        assert total is not None
        return None, total


class _BiasAndFloor(torch.autograd.Function):
    """max(values + bias, floor); the gradient passes where the result lies above the floor.

    With a floor of 0 that is a ReLU, whose gradient at 0 is 0; with -inf it is the identity.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, bias: Tensor, floor: Tensor) -> Tensor:
        result = (values + bias).clamp_(min=floor)
        ctx.save_for_backward(result, floor)
        ctx.bias_shape = bias.shape
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        result, floor = ctx.saved_tensors
        passed = gradient.masked_fill(result <= floor, 0)
        return passed, passed.sum_to_size(ctx.bias_shape), None


def stack_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy (S,) of each network's logits (S, B, classes) for labels (B,)."""
    count, photos, _ = logits.shape
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.repeat(count), reduction="none")
    return losses.view(count, photos).mean(dim=1)


def train_step(
    network: StackedNetwork, optimizer: torch.optim.Optimizer, photos: Tensor, labels: Tensor
) -> Tensor:
    """One step of every network on its own loss; returns the losses (S,) before it."""
    losses = stack_losses(network(photos), labels)
    optimizer.zero_grad(set_to_none=True)
    # Networks share no weight, so the gradient of the sum is each one's own.
    losses.sum().backward()
    optimizer.step()
    return losses.detach()
