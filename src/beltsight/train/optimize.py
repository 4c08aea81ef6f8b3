"""Optimizers, the schedule of rates, and the running mean of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from beltsight.train.network import Network
from beltsight.train.settings import Stage, TrainSettings
from beltsight.train.stages import rate_factors


def make_optimizer(
    network: Network, stage: Stage, settings: TrainSettings
) -> torch.optim.Optimizer:
    """The optimizer of one stage over the parameters that learn in it.

    Weights of one dimension (biases, batch-norm) are not decayed. ``sgd`` and ``adam_l2`` put
    the penalty lambda * sum ||W||^2 into the loss (P1 equation 5): its gradient is 2 lambda W,
    which PyTorch adds to the gradient for ``weight_decay = 2 lambda``. ``adam_l2`` is P1
    equation (7) with that penalty; ``adamw`` decays apart from the gradient.
    """
    parts = {1.0: list(network.heads.parameters())}
    if network.places is not None:
        parts[1.0] += network.places.parameters()
    backbone = dict(network.backbone.named_parameters())
    factors = rate_factors(network.backbone, stage) if backbone else {}
    for name, parameter in backbone.items():
        parts.setdefault(factors[name], []).append(parameter)
    decay = settings.weight_decay * (1.0 if settings.optimizer == "adamw" else 2.0)
    groups = []
    for factor, parameters in parts.items():
        learning = [p for p in parameters if p.requires_grad]
        rate = stage.learning_rate * factor
        groups += [
            {"params": [p for p in learning if p.ndim > 1], "lr": rate, "weight_decay": decay},
            {"params": [p for p in learning if p.ndim <= 1], "lr": rate, "weight_decay": 0.0},
        ]
    groups = [{**group, "peak_lr": group["lr"]} for group in groups if group["params"]]
    if settings.optimizer == "sgd":
        nesterov = settings.momentum > 0
        return torch.optim.SGD(groups, lr=1.0, momentum=settings.momentum, nesterov=nesterov)
    if settings.optimizer == "adam_l2":
        return torch.optim.Adam(groups, lr=1.0, fused=True)
    return torch.optim.AdamW(groups, lr=1.0, fused=True)


def rate_factor(step: int, steps: int, warmup_steps: int, schedule: str) -> float:
    """The rate at a step as a multiple of its peak: a linear rise, then the schedule.

    Args:
        step: 0 to steps - 1.
        steps: steps of the stage.
        warmup_steps: of which the rise takes so many.
        schedule: ``cosine`` or ``constant``.

    Example:
        >>> [round(rate_factor(i, 6, 2, "cosine"), 2) for i in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's rate to its peak times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


class WeightAverage:
    """A running mean of a network's weights: the copy that is validated and exported.

    Args:
        network: the network that learns.
        decay: share that stays at each step; lower at first, so that the start is forgotten.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: tensor.detach().clone() for name, tensor in _tensors(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after one step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
        for name, tensor in _tensors(network):
            if name in frozen:
                continue
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1.0 - decay)
            else:
                self.state[name].copy_(tensor)


def _tensors(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return network.state_dict().items()
