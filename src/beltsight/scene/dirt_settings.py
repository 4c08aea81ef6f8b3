"""Settings of simulated dirt: levels, kinds, what is drawn from what range."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from beltsight.config import ASSETS, load_config, nearest
from beltsight.records import CLEAN, NO_DIRT
from beltsight.scene.stains import STAINS
from beltsight.scene.stains.surface import Look

KINDS = tuple(STAINS)
LEVELS = (CLEAN, "partly", "heavily")


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] <= pair[1]:
        raise ValueError("a range is [smallest, largest]")
    return pair


_Share = Annotated[float, Field(ge=0, le=1)]
_Length = Annotated[float, Field(gt=0, le=1)]
_Shares = Annotated[tuple[_Share, _Share], AfterValidator(_ordered)]
_Lengths = Annotated[tuple[_Length, _Length], AfterValidator(_ordered)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Levels(_Settings):
    """The covered share from which an item has a level; below ``partly`` it is clean."""

    partly: float = 0.05
    heavily: float = 0.30

    @model_validator(mode="after")
    def _are_ordered(self) -> Levels:
        if not 0 < self.partly < self.heavily < 1:
            raise ValueError(
                "levels must be ordered 0 < partly < heavily < 1, "
                f"got partly = {self.partly}, heavily = {self.heavily}"
            )
        return self

    def name(self, share: float) -> str:
        """The level of an item of which ``share``, 0 to 1, is covered.

        Example:
            >>> [Levels().name(share) for share in (0, 0.049, 0.05, 0.3)]
            ['clean', 'clean', 'partly', 'heavily']
        """
        return LEVELS[int(share >= self.partly) + int(share >= self.heavily)]


class KindSettings(_Settings):
    """One kind of dirt; see the comments in ``assets/dirt.toml``."""

    label: str | None = None
    weight: float = Field(default=1.0, ge=0)
    size: _Lengths
    edge: _Lengths
    strength: _Shares

    def look(self, rng: np.random.Generator) -> Look:
        """Draw one stain's look."""
        size, edge = (float(np.exp(rng.uniform(*np.log(pair)))) for pair in (self.size, self.edge))
        return Look(size, edge, float(rng.uniform(*self.strength)))


class Draw(_Settings):
    """Which shares are drawn, and how many kinds."""

    clean: _Share = 0.33
    most: float = Field(default=0.85, gt=0, le=1)
    skew: float = Field(default=1.7, gt=0, le=10)
    two_kinds: _Share = 0.2

    def share(self, rng: np.random.Generator) -> float:
        """0, or anything over 0 to ``most``."""
        is_clean, part = rng.random() < self.clean, 1 - rng.random()
        return 0.0 if is_clean else float(self.most * part**self.skew)


class Harmless(_Settings):
    """The probability of each thing that is no dirt."""

    label: _Share = 0.0
    sticker: _Share = 0.0
    barcode: _Share = 0.0
    print: _Share = 0.0
    field: _Share = 0.0
    tape: _Share = 0.0
    shadow: _Share = 0.0
    glare: _Share = 0.0
    crease: _Share = 0.0
    crumple: _Share = 0.0


class Camera(_Settings):
    """What every photo goes through at the end."""

    blur_px: Annotated[tuple[float, float], AfterValidator(_ordered)] = (0.0, 0.8)
    noise: Annotated[tuple[float, float], AfterValidator(_ordered)] = (0.0, 4.0)
    quality: Annotated[tuple[int, int], AfterValidator(_ordered)] = (60, 95)

    @model_validator(mode="after")
    def _are_possible(self) -> Camera:
        if self.blur_px[0] < 0 or self.noise[0] < 0:
            raise ValueError("blur and noise must be 0 or more")
        if not 1 <= self.quality[0] <= self.quality[1] <= 100:
            raise ValueError("JPEG quality must lie in 1 to 100")
        return self


class DirtSettings(_Settings):
    """All settings of simulated dirt; see the comments in ``assets/dirt.toml``."""

    labels: tuple[str, ...]
    levels: Levels = Levels()
    draw: Draw = Draw()
    kinds: dict[str, KindSettings]
    harmless: Harmless = Harmless()
    camera: Camera = Camera()

    @model_validator(mode="after")
    def _kinds_are_known(self) -> DirtSettings:
        if NO_DIRT in self.labels:
            raise ValueError(f"{NO_DIRT!r} is what clean items are called, and no label of dirt")
        for name, kind in self.kinds.items():
            if name not in STAINS:
                raise ValueError(f"unknown kind of dirt {name!r}; {nearest(name, STAINS)}")
            if kind.label is not None and kind.label not in self.labels:
                hint = nearest(kind.label, self.labels)
                raise ValueError(f"kinds.{name}: label {kind.label!r} is not in 'labels'; {hint}")
        if not any(kind.weight for kind in self.kinds.values()):
            raise ValueError("at least one kind of dirt needs a weight over 0")
        return self


def load_dirt_settings(path: Path | None = None) -> DirtSettings:
    """Read settings of simulated dirt; the packaged ones by default.

    Raises:
        ConfigError: unreadable file, unknown key or kind (the nearest is named), a range that is
            not [smallest, largest], or levels that are not ordered.

    Example:
        >>> load_dirt_settings().levels.name(0.2)
        'partly'
    """
    return load_config(DirtSettings, path or ASSETS / "dirt.toml")
