"""The kinds of simulated dirt; none uses another's shapes or textures."""

from collections.abc import Mapping
from types import MappingProxyType

from beltsight.scene.stains.dust import lay_dust
from beltsight.scene.stains.food import lay_food
from beltsight.scene.stains.grease import lay_grease
from beltsight.scene.stains.liquid import lay_liquid
from beltsight.scene.stains.mud import lay_mud
from beltsight.scene.stains.surface import Stain
from beltsight.scene.stains.wet import lay_wet

STAINS: Mapping[str, Stain] = MappingProxyType(
    {
        "grease": lay_grease,
        "liquid": lay_liquid,
        "food": lay_food,
        "mud": lay_mud,
        "dust": lay_dust,
        "wet": lay_wet,
    }
)

__all__ = ["STAINS"]
