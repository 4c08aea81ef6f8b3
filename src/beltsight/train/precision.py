"""In what numbers a network computes on a device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, slots=True)
class Precision:
    """Bfloat16 where the hardware computes in it, else float32."""

    device: torch.device
    bfloat16: bool

    @property
    def name(self) -> str:
        """Device and numbers, e.g. ``cpu bfloat16``."""
        return f"{self.device.type} {'bfloat16' if self.bfloat16 else 'float32'}"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)


def choose_precision(setting: str, device: torch.device) -> Precision:
    """What was asked for; with ``auto``, bfloat16 where the hardware computes in it."""
    if setting != "auto":
        return Precision(device, setting == "bfloat16")
    if device.type == "cuda":
        return Precision(device, bool(torch.cuda.is_bf16_supported()))
    return Precision(device, bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()))
