"""A belt to play with and to measure on: real photos on rubber, with the truth about each item.

>>> from beltsight.line.simulate import ItemLook, SimulationSettings
>>> SimulationSettings(seed=3, items=ItemLook(rate_per_s=20)).speed_mm_s
2500.0
"""

from beltsight.line.simulate.camera import Fault, SimulatedCamera
from beltsight.line.simulate.motion import (
    EncoderLook,
    SimulatedEncoder,
    Slip,
    SpeedChange,
    Trajectory,
    VirtualClock,
    drive,
)
from beltsight.line.simulate.score import Counted, Score, Tally, score
from beltsight.line.simulate.settings import BeltLook, ItemLook, LightLook, SimulationSettings
from beltsight.line.simulate.truth import TrueItem, Truth
from beltsight.line.simulate.valves import PASS, Fallen, Shot, Station, act
from beltsight.line.simulate.video import Mark, Panel, Scene, Video
from beltsight.line.simulate.world import Run, SimulatedBelt, Simulation, simulate, start

__all__ = [
    "PASS",
    "BeltLook",
    "Counted",
    "EncoderLook",
    "Fallen",
    "Fault",
    "ItemLook",
    "LightLook",
    "Mark",
    "Panel",
    "Run",
    "Scene",
    "Score",
    "Shot",
    "SimulatedBelt",
    "SimulatedCamera",
    "SimulatedEncoder",
    "Simulation",
    "SimulationSettings",
    "Slip",
    "SpeedChange",
    "Station",
    "Tally",
    "Trajectory",
    "TrueItem",
    "Truth",
    "Video",
    "VirtualClock",
    "act",
    "drive",
    "score",
    "simulate",
    "start",
]
