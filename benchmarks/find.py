"""Finding and following items on a painted belt: found, missed, counted twice, false; milliseconds.

    python benchmarks/find.py [--assert] [--out FILE] [--seeds N] [--scenes NAME ...]

Each scene is one kind of belt, item and motion, painted anew for each seed (see belt_scene.py):
1280x720 at 30 frames a second, 2.5 m/s, items of 60 to 150 mm cut from the packaged photos, gaps of
at least 20 mm but where the name says otherwise. Promised are the scenes without overlap; the hard
ones are shown beside them. An item is found where exactly one track that was confirmed lies on it.
Times are of one core, CPU time of the thread: difference, find and follow; painting is not in it.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.belt_scene import (
    HEIGHT_MM,
    HEIGHT_PX,
    SPEED_MM_S,
    WIDTH_MM,
    WIDTH_PX,
    Scene,
    Strip,
    Truth,
    paint,
    steady,
    with_seed,
)
from benchmarks.outcome import Check, conditions, finish, keep_to_cores, options, print_rows

from beltsight.line.belt import BeltSettings, Odometer
from beltsight.line.segment import Finder
from beltsight.line.track import Track, Tracker
from beltsight.line.view import View
from beltsight.metrics import wilson_interval

VIEW = View(width_px=WIDTH_PX, height_px=HEIGHT_PX, width_mm=WIDTH_MM, height_mm=HEIGHT_MM)
MM_PER_COUNT = 0.1
LEAST_FOUND, MOST_FALSE, MOST_MS = 0.99, 0.005, 6.0
_EDGE_MM = 90.0  # items nearer to the strip's ends are not wholly shown

Moment = tuple[float, float]  # time in seconds, odometer in mm
Motion = Callable[[Iterable[Moment]], Iterator[Moment]]


def with_stop(moments: Iterable[Moment]) -> Iterator[Moment]:
    """The belt stands for 40 frames, half way."""
    known = list(moments)
    half = len(known) // 2
    stood = [(known[half][0] + k / 30, known[half][1]) for k in range(1, 41)]
    late = [(time_s + 40 / 30, position) for time_s, position in known[half + 1 :]]
    yield from (*known[: half + 1], *stood, *late)


def with_reverse(moments: Iterable[Moment]) -> Iterator[Moment]:
    """Half way the belt goes back for seven frames, 580 mm, and on again."""
    known = list(moments)
    half = len(known) // 2
    back = known[half - 7 : half]
    places = [*known[: half + 1], *reversed(back), *known[half - 6 :]]
    yield from ((number / 30, position) for number, (_, position) in enumerate(places))


def with_lost_frames(moments: Iterable[Moment]) -> Iterator[Moment]:
    """Each fifth frame is lost."""
    yield from (moment for number, moment in enumerate(moments) if number % 5 != 4)


def with_double_frames(moments: Iterable[Moment]) -> Iterator[Moment]:
    """Each sixth frame comes twice."""
    for number, moment in enumerate(moments):
        yield moment
        if number % 6 == 5:
            yield moment


def unchanged(moments: Iterable[Moment]) -> Iterator[Moment]:
    """As it comes."""
    yield from moments


@dataclass(frozen=True)
class Case:
    """A kind of scene with its motion; promised where items do not overlap."""

    scene: Scene
    motion: Motion = unchanged
    slip: float = 1.0  # belt per encoder
    is_promised: bool = True


CASES = {
    "dark belt": Case(Scene(belt="dark")),
    "grey belt": Case(Scene(belt="grey")),
    "green belt": Case(Scene(belt="green")),
    "dense, 20 items/s": Case(Scene(belt="dark", rate_per_s=20)),
    "dark items, dark belt": Case(Scene(belt="dark", item="dark")),
    "white paper, grey belt": Case(Scene(belt="grey", item="paper")),
    "over the sides": Case(Scene(belt="grey", at_edges=True, rate_per_s=6)),
    "stop": Case(Scene(belt="dark"), with_stop),
    "reverse": Case(Scene(belt="dark"), with_reverse),
    "encoder slips 3 %": Case(Scene(belt="dark"), slip=1.03),
    "lost frames": Case(Scene(belt="dark"), with_lost_frames),
    "doubled frames": Case(Scene(belt="dark"), with_double_frames),
    "20 mm apart": Case(Scene(rate_per_s=12, heaped=0.6)),
    "empty": Case(Scene(belt="grey", rate_per_s=0, dirt=20)),
    "white paper, white belt": Case(Scene(belt="white", item="paper"), is_promised=False),
    "photos, white belt": Case(Scene(belt="white"), is_promised=False),
    "clear, dark belt": Case(Scene(belt="dark", item="clear"), is_promised=False),
    "clear, grey belt": Case(Scene(belt="grey", item="clear"), is_promised=False),
    "touching": Case(Scene(rate_per_s=12, gap_mm=0, heaped=0.5), is_promised=False),
    "overlapping 20 mm": Case(Scene(rate_per_s=12, gap_mm=-20, heaped=0.5), is_promised=False),
}


@dataclass
class Score:
    """Counts of items and what each frame took."""

    items: int = 0
    found: int = 0
    missed: int = 0
    double: int = 0
    false: int = 0
    off_mm: list[float] = field(default_factory=list)
    frame_ms: list[float] = field(default_factory=list)
    missed_photos: list[str] = field(default_factory=list)

    def __add__(self, other: Score) -> Score:
        return Score(*(getattr(self, part.name) + getattr(other, part.name)
                       for part in dataclasses.fields(self)))  # fmt: skip


def follow(
    strip: Strip, motion: Motion = unchanged, slip: float = 1.0
) -> tuple[list[tuple[Track, float]], list[float]]:
    """Run a strip through finder and tracker.

    Returns:
        Each ended item with the belt's true way at that moment, and the milliseconds of each frame.
    """
    odometer = Odometer(BeltSettings(mm_per_count=MM_PER_COUNT, counter_bits=16))
    finder, tracker = Finder(VIEW), Tracker(VIEW)
    ended, frame_ms, before, last_mm = [], [], None, 0.0
    for time_s, position in motion(steady(strip)):
        # A doubled frame is the same picture again; so the noise goes with the place and time.
        speed = SPEED_MM_S if before is None or before != position else 0.0
        image = strip.frame(position, round(time_s * 30), 3.2 if speed else 1.0)
        raw = round(position / slip / MM_PER_COUNT) % 65_536
        began_s = time.thread_time()
        state = odometer.update(time_s, raw)
        moved_mm = state.position_mm - last_mm
        regions = finder.find(image, moved_mm)
        tracked = tracker.update(state, regions)
        frame_ms.append((time.thread_time() - began_s) * 1e3)
        before, last_mm = position, state.position_mm
        ended += [(track, position) for track in tracked.ended]
    ended += [(track, position) for track in tracked.tracks if track.confirmed and not track.left]
    return ended, frame_ms


def score(strip: Strip, ended: list[tuple[Track, float]], motion: Motion = unchanged) -> Score:
    """Compare what was counted with what was laid."""
    places = [position for _, position in motion(steady(strip))]
    first, last = min(places) + WIDTH_MM / 2, max(places) + WIDTH_MM / 2

    def is_shown(place: Truth) -> bool:
        # In view from its first edge to its last, and well past the reference line.
        return min(places) + _EDGE_MM < place.s0 and place.s1 < max(places) - _EDGE_MM

    lying: dict[int, list[float]] = {index: [] for index in range(len(strip.items))}
    false = 0
    for track, position in ended:
        s, best = position - track.u_mm, None
        near = [(abs(item.s - s) + abs(item.lateral - track.lateral_mm), index)
                for index, item in enumerate(strip.items)
                if item.s0 - 15 <= s <= item.s1 + 15
                and item.lateral0 - 15 <= track.lateral_mm <= item.lateral1 + 15]  # fmt: skip
        if near:
            best = min(near)[1]
            lying[best].append(s - strip.items[best].s)
        elif first - WIDTH_MM < s < last:
            false += 1
    shown = [index for index, item in enumerate(strip.items) if is_shown(item)]
    counts = [len(lying[index]) for index in shown]
    return Score(
        items=len(shown),
        found=counts.count(1),
        missed=counts.count(0),
        double=sum(count > 1 for count in counts),
        false=false,
        off_mm=[abs(off[0]) for off in (lying[index] for index in shown) if len(off) == 1],
        missed_photos=[strip.items[index].photo for index in shown if not lying[index]],
    )


def measure(case: Case, seeds: Iterable[int]) -> Score:
    """All seeds of a case, together."""
    total = Score()
    for seed in seeds:
        strip = paint(with_seed(case.scene, seed))
        ended, frame_ms = follow(strip, case.motion, case.slip)
        found = score(strip, ended, case.motion)
        found.frame_ms = frame_ms
        total = total + found
    return total


def record_of(found: Score) -> dict[str, Any]:
    """What is written of a case."""
    low, high = wilson_interval(found.found, found.items)
    return {
        "items": found.items,
        "found_once": found.found,
        "interval": [round(low, 4), round(high, 4)],
        "missed": found.missed,
        "double": found.double,
        "false": found.false,
        "off_mm_p95": round(sorted(found.off_mm)[int(0.95 * len(found.off_mm))], 2)
        if found.off_mm else None,
        "frames": len(found.frame_ms),
        "ms_median": round(statistics.median(found.frame_ms), 2),
        "ms_p99": round(sorted(found.frame_ms)[int(0.99 * len(found.frame_ms))], 2),
        "missed_photos": sorted(found.missed_photos),
    }  # fmt: skip


def row(name: str, record: dict[str, Any]) -> list[str]:
    low, high = record["interval"]
    share = record["found_once"] / record["items"] if record["items"] else float("nan")
    return [
        name, str(record["items"]), f"{100 * share:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}",
        str(record["missed"]), str(record["double"]), str(record["false"]),
        str(record["off_mm_p95"]), f"{record['ms_median']:.1f}", f"{record['ms_p99']:.1f}",
    ]  # fmt: skip


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="strips per case")
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--scenes", nargs="*", choices=list(CASES), default=list(CASES))
    given = parser.parse_args()
    keep_to_cores(1)
    import cv2

    cv2.setNumThreads(1)
    about = conditions(given)
    records, promised = {}, Score()
    for name in given.scenes:
        case = CASES[name]
        # Each case has belts of its own, so that its items are others.
        first = given.first_seed + 1000 * list(CASES).index(name)
        found = measure(case, range(first, first + given.seeds))
        records[name] = record_of(found)
        promised = promised + found if case.is_promised else promised
    columns = ("scene", "items", "once", "95 %", "missed", "double", "false", "off p95 mm", "ms",
               "p99")  # fmt: skip
    rows = [row(name, record) for name, record in records.items()]
    checks = []
    if promised.frame_ms:
        whole, items = record_of(promised), max(promised.items, 1)
        rows.append(row("promised, together", whole))
        checks = [
            Check("found and counted once", promised.found / items, LEAST_FOUND),
            Check("false items per item", promised.false / items, None, MOST_FALSE),
            Check("milliseconds per frame", whole["ms_median"], None, MOST_MS),
        ]  # fmt: skip
    print_rows(columns, rows)
    finish({"what": "find", "conditions": about, "scenes": records}, checks, given)


if __name__ == "__main__":
    main()
