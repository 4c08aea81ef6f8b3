"""How much of each place is covered by dirt, from features of several finenesses.

The last features are of 32 pixels, which most stains are smaller than; so the finer ones of a
backbone are added on the way, as in feature pyramids (Lin et al. 2017). It costs about a hundredth
of a small backbone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

FINENESSES = (8, 16)
"""Pixels of the photo per place of the finer features."""

_WIDTH = 32


class Places(nn.Module):
    """From feature maps, the finest first, to a logit of dirt at each place of the finest.

    Args:
        channels: of each feature map.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(count, _WIDTH, 1) for count in channels)
        self.around = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, groups=_WIDTH)
        self.answer = nn.Conv2d(_WIDTH, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (N, h, w) for feature maps (N, C, h, w), (N, C', h / 2, w / 2), ..."""
        *finer, merged = (
            lateral(each) for lateral, each in zip(self.laterals, features, strict=True)
        )
        for each in reversed(finer):
            size = (each.shape[-2], each.shape[-1])
            merged = each + nn.functional.interpolate(merged, size=size, mode="nearest")
        mixed = torch.relu(merged + self.around(torch.relu(merged)))
        logits: Tensor = self.answer(mixed)[:, 0]
        return logits


def finer_stages(backbone: nn.Module) -> list[int]:
    """Which of a timm backbone's stages give features of :data:`FINENESSES`, the finest first.

    Empty where it has none, as a Vision Transformer, whose stages are all of one fineness.
    """
    info: Any = getattr(backbone, "feature_info", None)
    if info is None or not hasattr(backbone, "forward_intermediates"):
        return []
    finenesses = [stage["reduction"] for stage in info]
    return [finenesses.index(px) for px in FINENESSES if finenesses.count(px) == 1]
