"""Items, grounds, light and dirt: find an item, cut it out, lay it elsewhere, light it, soil it.

numpy and OpenCV alone. Photos are uint8 (H, W, 3) RGB; what is random is the caller's.
"""

from beltsight.scene.cutout import CutOut, cut_out
from beltsight.scene.dirt import Soiled, soil
from beltsight.scene.dirt_settings import KINDS, LEVELS, DirtSettings, Levels, load_dirt_settings
from beltsight.scene.foreground import Foreground, find_foreground
from beltsight.scene.ground import clear_background, inner_box
from beltsight.scene.paste import Pasted, Shadow, paste
from beltsight.scene.relight import relight
from beltsight.scene.vary import Varied, dirt_labels, vary_photo

__all__ = [
    "KINDS",
    "LEVELS",
    "CutOut",
    "DirtSettings",
    "Foreground",
    "Levels",
    "Pasted",
    "Shadow",
    "Soiled",
    "Varied",
    "clear_background",
    "cut_out",
    "dirt_labels",
    "find_foreground",
    "inner_box",
    "load_dirt_settings",
    "paste",
    "relight",
    "soil",
    "vary_photo",
]
