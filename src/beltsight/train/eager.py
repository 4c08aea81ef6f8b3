"""The network of a model file in PyTorch itself, as a peer to measure against.

A model file holds no PyTorch network, so the backbone that its card names is built anew with
random weights: the same work, other answers. It gets every advantage: inference mode, photos
already normalised and in the network's own memory format, and no maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from beltsight.bench.grid import Contestant
from beltsight.card import Card
from beltsight.machine import usable_cores
from beltsight.train.network import Network, build_network
from beltsight.train.settings import TrainSettings

NOTE = (
    "PyTorch computes the backbone that the card names with random weights: the same work, "
    "other answers; photos are normalised and brought into its memory format beforehand."
)
_FORMATS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True, slots=True)
class EagerNetwork:
    """A network in eager PyTorch, in float32 on the processor.

    Args:
        contestant: what it is, for tables.
        network: in evaluation mode, in ``memory_format``.
        memory_format: of photos and weights.
    """

    contestant: Contestant
    network: Network
    memory_format: torch.memory_format

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.network.input_size

    @torch.inference_mode()
    def prepare(self, photos: NDArray[np.uint8]) -> Tensor:
        """Photos uint8 (N, H, W, 3) RGB as the backbone takes them, float32 (N, 3, H, W)."""
        inputs = self.network.normalised(torch.from_numpy(np.array(photos)))
        return inputs.contiguous(memory_format=self.memory_format)

    @torch.inference_mode()
    def run(self, prepared: Tensor) -> dict[str, Tensor]:
        """Logits (N, C) per task."""
        features = self.network.backbone.forward_features(prepared)  # type: ignore[operator]
        return self.network.logits(self.network.embedding(features))


def eager_networks(cards: Sequence[Card], threads: int = 0) -> list[EagerNetwork]:
    """The networks of some cards, each once, in both memory formats.

    Args:
        cards: of model files; a model and its int8 form have one network.
        threads: of PyTorch, for the whole process; 0 for one per core.

    Raises:
        ConfigError: timm does not know the backbone that a card names.
    """
    torch.set_num_threads(threads or usable_cores())
    found: dict[tuple[object, ...], list[EagerNetwork]] = {}
    for card in cards:
        key = (card.training.backbone, card.preparation.height, card.preparation.width)
        if key not in found:
            found[key] = [_eager_network(card, name) for name in _FORMATS]
    return [network for both in found.values() for network in both]


def _eager_network(card: Card, format_name: str) -> EagerNetwork:
    size = (card.preparation.height, card.preparation.width)
    settings = TrainSettings(
        backbone=card.training.backbone,
        weights="random",
        image_size=size,
        fill=card.preparation.fill,
    )
    network = build_network(settings, card.task_specs).eval()
    network.to(memory_format=_FORMATS[format_name])
    backbone = card.training.backbone
    who = Contestant(backbone, backbone, f"PyTorch, {format_name}", "float32")
    return EagerNetwork(who, network, _FORMATS[format_name])
