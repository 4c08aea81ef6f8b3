"""Augmentation of prepared photos: P1 equation (2), x~ = T(x) with T drawn at random.

It starts from the output of :func:`beltsight.image.prepare`, so that training sees what
deployment sees, and moves gently enough that the item stays in view.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

Augmentation = Callable[[Tensor], Tensor]


def make_augmentation(strength: str, fill: tuple[int, int, int]) -> Augmentation | None:
    """The augmentation of that name.

    Args:
        strength: ``none``, ``light`` (mirror, small turns and scales, light) or ``strong``
            (any rotation, larger scales, colour, blur, small erased patches).
        fill: RGB of what moves into view, the letterbox's own, 0 to 255.

    Returns:
        A function uint8 (3, H, W) -> uint8 (3, H, W) on PyTorch's global generator, or None.
    """
    if strength == "none":
        return None
    strong = strength == "strong"
    steps: list[torch.nn.Module] = [v2.RandomHorizontalFlip()]
    if strong:
        steps.append(v2.RandomVerticalFlip())
    steps.append(
        v2.RandomAffine(
            degrees=180 if strong else 15,
            translate=(0.08, 0.08) if strong else (0.05, 0.05),
            scale=(0.75, 1.25) if strong else (0.9, 1.1),
            shear=10 if strong else 0,
            interpolation=InterpolationMode.BILINEAR,
            fill=[float(value) for value in fill],
        )
    )
    amount = 0.35 if strong else 0.15
    steps.append(v2.ColorJitter(amount, amount, amount, 0.03 if strong else 0.0))
    if strong:
        steps.append(v2.RandomApply([v2.GaussianBlur(5, (0.3, 1.5))], p=0.15))
        steps.append(v2.RandomErasing(p=0.25, scale=(0.02, 0.12), value=list(fill)))
    composed: Augmentation = v2.Compose(steps)
    return composed
