"""How much of a network's ReLUs is at work: dead units and zeros.

A unit (a channel, or a neuron) is dead where it gives zero for every photo and at every place: no
gradient reaches its weights through that ReLU any more. The share of zeros is the sparsity.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from beltsight.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Activity:
    """What one ReLU gave over many photos.

    Args:
        name: of the module.
        units: channels or neurons.
        dead: share of units that were zero throughout, 0 to 1.
        zeros: share of values that were zero, 0 to 1.
    """

    name: str
    units: int
    dead: float
    zeros: float


class ActivityTally:
    """Counts over batches, per unit, what a layer gives.

    Example:
        >>> tally = ActivityTally()
        >>> tally.add(torch.tensor([[0.0, 2.0, 0.0], [0.0, 1.0, 3.0]]))
        >>> tally.dead.tolist(), tally.zeros.tolist()
        ([True, False, False], [1.0, 0.0, 0.5])
    """

    def __init__(self) -> None:
        self._nonzero: Tensor | None = None
        self._values = 0

    def add(self, activations: Tensor) -> None:
        """Count one batch.

        Args:
            activations: (N, C) or (N, C, ...), C units.
        """
        places = [axis for axis in range(activations.ndim) if axis != 1]
        count = torch.count_nonzero(activations, dim=places)
        self._nonzero = count if self._nonzero is None else self._nonzero + count
        self._values += activations.numel() // activations.shape[1]

    @property
    def dead(self) -> Tensor:
        """Per unit whether it was zero throughout, bool (C,).

        Raises:
            DatasetError: nothing was counted.
        """
        return self._counted() == 0

    @property
    def zeros(self) -> Tensor:
        """Per unit the share of zeros, 0 to 1, float64 (C,).

        Raises:
            DatasetError: nothing was counted.
        """
        return 1 - self._counted().double() / self._values

    def _counted(self) -> Tensor:
        if self._nonzero is None or not self._values:
            raise DatasetError("expected at least one photo to measure activity on, got none")
        return self._nonzero


@torch.no_grad()
def measure_relus(network: nn.Module, batches: Iterable[Tensor]) -> list[Activity]:
    """Dead units and zeros of each ReLU of a network.

    Args:
        network: any with ``nn.ReLU`` modules; measured in evaluation mode, then set back. A module
            that runs several times in a pass is counted over all of them.
        batches: inputs, each a batch as the network takes it.

    Returns:
        One entry per ReLU that ran, in the order of the network's modules.

    Raises:
        DatasetError: no batch was given, or an empty one.

    Example:
        >>> network = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU())
        >>> network[0].weight.data = torch.tensor([[1.0], [-1.0]])
        >>> measure_relus(network, [torch.tensor([[1.0], [2.0]])])
        [Activity(name='1', units=2, dead=0.5, zeros=0.5)]
    """
    relus = {name: part for name, part in network.named_modules() if isinstance(part, nn.ReLU)}
    tallies: dict[str, ActivityTally] = {}

    def count(name: str, given: Any) -> None:
        tallies.setdefault(name, ActivityTally()).add(given)

    hooks = [
        part.register_forward_hook(lambda _, __, given, name=name: count(name, given))
        for name, part in relus.items()
    ]
    modes = {part: part.training for part in network.modules()}
    try:
        network.eval()
        seen = 0
        for batch in batches:
            network(batch)
            seen += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in modes.items():
            part.training = mode
    if not seen:
        raise DatasetError("expected at least one photo to measure activity on, got none")
    return [_activity(name, tallies[name]) for name in relus if name in tallies]


def _activity(name: str, tally: ActivityTally) -> Activity:
    dead, zeros = tally.dead, tally.zeros
    return Activity(name, len(dead), float(dead.double().mean()), float(zeros.mean()))
