"""What lies on clean and dirty items alike, and that no model may take for dirt."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from beltsight.records import Floats
from beltsight.scene.harmless.lighting import add_creases, add_crumple, add_glare, cast_shadow
from beltsight.scene.harmless.printed import (
    add_barcode,
    add_field,
    add_label,
    add_print,
    add_sticker,
    add_tape,
)
from beltsight.scene.stains.surface import Surface

Overlay = Callable[[Surface, np.random.Generator], Floats]

# Under the dirt, in this order; then over it.
PRINTED: Mapping[str, Overlay] = MappingProxyType(
    {
        "field": add_field,
        "print": add_print,
        "label": add_label,
        "barcode": add_barcode,
        "sticker": add_sticker,
        "tape": add_tape,
    }
)
LIT: Mapping[str, Overlay] = MappingProxyType(
    {"crumple": add_crumple, "crease": add_creases, "glare": add_glare}
)

__all__ = ["LIT", "PRINTED", "Overlay", "cast_shadow"]
