"""What the simulated belt is to be like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from beltsight.strict import Strict

Colour = Literal["black", "grey", "green", "blue", "white"]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Least0 = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class BeltLook(Strict):
    """The belt itself.

    Args:
        colour: of the rubber.
        loop_m: its length; scratches, stains and the splice come round again after it.
        grain: unrest of the rubber, as a share of its brightness.
        scratches_per_m, stains_per_m: how worn and how dirty it is.
        splice: whether the belt's ends are joined in sight.
    """

    colour: Colour = "black"
    loop_m: float = Field(10.0, ge=1, le=100, allow_inf_nan=False)
    grain: float = Field(0.06, ge=0, le=0.5, allow_inf_nan=False)
    scratches_per_m: float = Field(9.0, ge=0, le=200, allow_inf_nan=False)
    stains_per_m: float = Field(2.0, ge=0, le=50, allow_inf_nan=False)
    splice: bool = True


class LightLook(Strict):
    """Lamps, lens and sensor.

    Args:
        drift_ev: how far the lamps' brightness wanders up and down, in stops (each doubles it).
        drift_period_s: time of one wandering up and down.
        flicker: share by which it flickers.
        flicker_hz: how fast.
        vignette: how much darker the corners are than the middle, as a share.
        noise: standard deviation of the sensor's noise, in grey levels of 255.
        exposure_ms: how long the shutter is open: with the belt's speed it blurs.
    """

    drift_ev: float = Field(0.1, ge=0, le=2, allow_inf_nan=False)
    drift_period_s: float = Field(90.0, gt=0, allow_inf_nan=False)
    flicker: float = Field(0.01, ge=0, le=0.3, allow_inf_nan=False)
    flicker_hz: float = Field(0.8, ge=0, le=1000, allow_inf_nan=False)
    vignette: float = Field(0.12, ge=0, le=0.8, allow_inf_nan=False)
    noise: float = Field(2.0, ge=0, le=30, allow_inf_nan=False)
    exposure_ms: float = Field(0.5, ge=0, le=50, allow_inf_nan=False)


class ItemLook(Strict):
    """What lies on the belt, and how.

    Args:
        rate_per_s: items a second at the belt's speed, on average; their arrivals are a Poisson
            process, thinned where the gap leaves no room.
        gap_mm: least distance between the outlines of items that do not touch.
        touching: share of items that touch another one.
        overlapping: share of items that lie partly on or under another one.
        size_mm: shortest and longest long side.
        margin_mm: least distance from an outline to the belt's edge.
        dirty: share of items that get simulated dirt.
        dirt_share: least and largest part of a dirty item that is covered.
        shadow: share of the light that an item's shadow takes at its darkest.
    """

    rate_per_s: float = Field(8.0, gt=0, le=200, allow_inf_nan=False)
    gap_mm: float = Field(20.0, ge=0, le=500, allow_inf_nan=False)
    touching: _Share = 0.0
    overlapping: _Share = 0.0
    size_mm: tuple[_Least0, _Least0] = (60.0, 150.0)
    margin_mm: float = Field(15.0, ge=0, le=1000, allow_inf_nan=False)
    dirty: _Share = 0.0
    dirt_share: tuple[_Share, _Share] = (0.1, 0.5)
    shadow: _Share = 0.45

    @model_validator(mode="after")
    def _in_order(self) -> ItemLook:
        if not 10 <= self.size_mm[0] <= self.size_mm[1] <= 1000:
            raise ValueError("size_mm must be two sizes of 10 to 1000, the smaller first")
        if not 0 < self.dirt_share[0] <= self.dirt_share[1]:
            raise ValueError("dirt_share must be two shares over 0, the smaller first")
        if self.touching + self.overlapping > 0.9:
            raise ValueError("touching and overlapping items may make up 0.9 of all at most")
        return self


class SimulationSettings(Strict):
    """A simulated belt; table ``[simulation]`` of ``line.toml``.

    Args:
        seed: the same seed, settings and photos give the same belt.
        length_m: of belt with items, rounded to whole loops; it comes again with new items' ids.
        lead_in_mm: empty belt before the first item.
        speed_mm_s: of the belt; also what motion blur is made for.
        frames_per_s: of the camera.
        belt, light, items: their looks.

    Example:
        >>> SimulationSettings(items=ItemLook(rate_per_s=20)).items.gap_mm
        20.0
    """

    seed: int = Field(0, ge=0)
    length_m: float = Field(100.0, gt=0, le=2000, allow_inf_nan=False)
    lead_in_mm: float = Field(1500.0, ge=0, le=1e6, allow_inf_nan=False)
    speed_mm_s: float = Field(2500.0, gt=0, le=20_000, allow_inf_nan=False)
    frames_per_s: float = Field(30.0, gt=0, le=1000, allow_inf_nan=False)
    belt: BeltLook = BeltLook()
    light: LightLook = LightLook()
    items: ItemLook = ItemLook()
