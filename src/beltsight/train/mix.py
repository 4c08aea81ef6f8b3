"""Mixing of pictures: a step learns from blends of two photos each, labelled as such.

Source: Zhang et al., mixup: Beyond Empirical Risk Minimization, ICLR 2018; on the activations of
frozen layers, Verma et al., Manifold Mixup, ICML 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch of blends.

    Args:
        inputs: share * a photo + (1 - share) * its partner, or the same of activations.
        labels, partner_labels: int64 (N, tasks) of both.
        share: of the first, 0 to 1.
    """

    inputs: Tensor
    labels: Tensor
    partner_labels: Tensor
    share: float


def mix_batch(inputs: Tensor, labels: Tensor, alpha: float) -> Mixed:
    """Blend each input with another of the batch.

    Args:
        inputs: (N, ...), uint8 photos or activations.
        labels: int64 (N, tasks).
        alpha: the share is drawn from Beta(alpha, alpha) on PyTorch's global generator; 0
            leaves the batch as it is.
    """
    if alpha == 0:
        return Mixed(inputs, labels, labels, 1.0)
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partners = torch.randperm(len(inputs)).to(inputs.device)
    mixed = share * inputs + (1 - share) * inputs[partners]
    return Mixed(mixed, labels, labels[partners], share)
