"""Items, grounds and light: find an item, cut it out, lay it elsewhere, change the light.

numpy and OpenCV alone. Photos are uint8 (H, W, 3) RGB; what is random is the caller's.
"""

from beltsight.scene.cutout import CutOut, cut_out
from beltsight.scene.foreground import Foreground, find_foreground
from beltsight.scene.ground import clear_background, inner_box
from beltsight.scene.paste import Pasted, Shadow, paste
from beltsight.scene.relight import relight

__all__ = [
    "CutOut",
    "Foreground",
    "Pasted",
    "Shadow",
    "clear_background",
    "cut_out",
    "find_foreground",
    "inner_box",
    "paste",
    "relight",
]
