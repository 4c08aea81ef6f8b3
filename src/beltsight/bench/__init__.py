"""How fast, on what machine: latency, frames per second, processor use and memory.

:func:`time_calls` measures any function of frames, :func:`time_stream` whatever turns a stream of
frames into a stream of answers; :func:`take_turns` lets several do the same work in rounds, and
:func:`ratio_of_medians` says how they compare.

>>> timing = time_calls(sum, [[1, 2, 3]], least_calls=20, least_s=0)
>>> summary = summarise([timing])
>>> summary.calls, summary.frames, summary.p50_ms > 0
(20, 20, True)
"""

from beltsight.bench.camera import RESOLUTIONS, camera_frames
from beltsight.bench.conditions import conditions_line, describe_conditions
from beltsight.bench.memory import resident_mb
from beltsight.bench.summary import Ratio, Summary, ratio_of_medians, summarise
from beltsight.bench.timing import Timing, take_turns, time_calls, time_stream
from beltsight.jpeg import encode_jpeg

__all__ = [
    "RESOLUTIONS",
    "Ratio",
    "Summary",
    "Timing",
    "camera_frames",
    "conditions_line",
    "describe_conditions",
    "encode_jpeg",
    "ratio_of_medians",
    "resident_mb",
    "summarise",
    "take_turns",
    "time_calls",
    "time_stream",
]
