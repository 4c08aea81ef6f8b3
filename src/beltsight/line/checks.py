"""Everything of a line that can be known to be wrong before its belt moves."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np

from beltsight.decide import Decider
from beltsight.errors import BeltsightError
from beltsight.line.actuators import LineState, PeerSettings, open_actuator
from beltsight.line.assemble import LONGEST_PULSE_MS, open_decider, open_model
from beltsight.line.cameras import Camera, EndOfFrames, open_camera
from beltsight.line.settings import LineSettings
from beltsight.model import Model
from beltsight.policy import idle_rules, load_policy
from beltsight.store import open_with_settings

Result = Literal["good", "warning", "wrong"]
T = TypeVar("T")
_FRAMES = 5
_NO_SPEED = "with belt.speed_mm_s set, the time that answers may take is checked, too"
_TIMES = 10


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        what: was looked at.
        result: ``warning``: the line would run, but think about it.
        text: what was found, and what to do.
    """

    what: str
    result: Result
    text: str


def check_line(settings: LineSettings) -> Iterator[Check]:
    """Look at each part of a line, one after the other.

    Nothing is left behind but an empty log where there was none; peers are told ``starting`` and
    then to be safe.

    Args:
        settings: of the line.
    """
    model, check = _tried("model", lambda: _model(settings))
    yield check
    decider = None
    if model is not None:
        decider, check = _tried("policy", lambda: _policy(settings, model))
        yield check
    if decider is not None:
        yield from _routes(settings, decider)
    if model is not None:
        yield _timing(settings, model)
    yield from _pulses(settings)
    yield _tried("log", lambda: _log(settings))[1]
    if settings.source == "camera":
        yield _tried("camera", lambda: _camera(settings))[1]
    for link in settings.links:
        if link.kind == "simulated":
            yield _simulated(link.name, settings)
            continue
        yield _tried(f"link {link.name}", partial(_link, link, settings))[1]


def _tried(what: str, look: Callable[[], tuple[T, Result, str]]) -> tuple[T | None, Check]:
    try:
        found, result, text = look()
    except BeltsightError as error:
        return None, Check(what, "wrong", str(error))
    return found, Check(what, result, text)


def _model(settings: LineSettings) -> tuple[Model, Result, str]:
    model = open_model(settings)
    side = model.card.preparation
    text = f"{model.card.name}, {side.width} x {side.height} px, {model.engine.name}"
    return model, "good", f"{text}; its golden photos are answered as they should be"


def _policy(settings: LineSettings, model: Model) -> tuple[Decider, Result, str]:
    decider = open_decider(settings, model)
    text = f"{decider.policy_version}: {', '.join(decider.routes)}"
    doubts = [f"it takes for granted: {'; '.join(decider.assumptions)}"] * bool(decider.assumptions)
    idle = idle_rules(load_policy(settings.policy), decider.materials)
    if idle:
        numbers = ", ".join(str(index + 1) for index in idle)
        doubts.append(
            f"no case is left for rule {numbers}: the model tells {', '.join(decider.materials)}, "
            f"see 'beltsight policy explain'"
        )
    return decider, "warning" if doubts else "good", "; ".join([text, *doubts])


def _routes(settings: LineSettings, decider: Decider) -> Iterator[Check]:
    unserved = settings.unserved_text(decider.routes)
    if unserved:
        yield Check("routes", "warning", unserved)
    else:
        yield Check("routes", "good", "each has an actuator or is the belt's end")


def _timing(settings: LineSettings, model: Model) -> Check:
    """Whether an item's last view can be answered before its first actuator must be told."""
    speed_mm_s = settings.belt.speed_mm_s or settings.simulation.speed_mm_s
    if settings.source == "camera" and settings.belt.speed_mm_s is None:
        return Check("timing", "warning", _NO_SPEED)
    nearest = min(settings.schedule.actuators, key=lambda one: one.distance_mm)
    lead_ms = nearest.lead_ms + nearest.latency_ms + settings.run.decide_ms
    room_ms = (nearest.distance_mm - settings.views.last_by_mm) / speed_mm_s * 1000.0 - lead_ms
    side = model.card.preparation
    photo = np.zeros((1, side.height, side.width, 3), np.uint8)
    times_ms = []
    for _ in range(_TIMES):
        began_s = time.perf_counter()
        model.answer(photo)
        times_ms.append((time.perf_counter() - began_s) * 1000)
    answer_ms = float(np.median(times_ms))
    text = (
        f"{room_ms:.0f} ms from the last view until {nearest.name!r} must be told, at "
        f"{speed_mm_s:.0f} mm/s; an answer takes {answer_ms:.1f} ms, three times that are needed"
    )
    if room_ms < 3 * answer_ms:
        return Check("timing", "wrong", f"{text}: move the actuator, or lower views.last_by_mm")
    return Check("timing", "good", text)


def _pulses(settings: LineSettings) -> Iterator[Check]:
    """Whether the pulse for a long item on a slow belt ends before it should."""
    speed_mm_s = settings.belt.speed_mm_s or settings.simulation.speed_mm_s
    if settings.source == "camera" and settings.belt.speed_mm_s is None:
        return  # said of the times
    longest_mm = settings.find.largest_mm
    for one in settings.schedule.actuators:
        wanted_ms = one.cover * longest_mm / speed_mm_s * 1000
        given_ms = max(one.pulse_ms, LONGEST_PULSE_MS)
        if wanted_ms > given_ms:
            early_mm = (wanted_ms - given_ms) / 2 * speed_mm_s / 1000
            yield Check(
                f"actuator {one.name}", "warning",
                f"the pulse for an item of {longest_mm:.0f} mm would last {wanted_ms:.0f} ms at "
                f"{speed_mm_s:.0f} mm/s, and ends after {given_ms:.0f}: its middle lies "
                f"{early_mm:.0f} mm ahead of the item's; lower cover, or set pulse_ms = "
                f"{math.ceil(wanted_ms)}",
            )  # fmt: skip


def _simulated(name: str, settings: LineSettings) -> Check:
    if settings.source == "camera":
        text = "a simulated link works in 'beltsight line simulate' alone; name your PLC's kind"
        return Check(f"link {name}", "wrong", text)
    return Check(f"link {name}", "warning", "simulated: nothing moves")


def _log(settings: LineSettings) -> tuple[None, Result, str]:
    with open_with_settings(settings.store, settings.name) as store:
        keyed = store.reader.keyed
    if not keyed:
        text = "without a key: it shows accidental damage only (store.key_file; see docs/store.md)"
        return None, "warning", f"{settings.store.url} {text}"
    return None, "good", f"{settings.store.url}, with a key"


def _camera(settings: LineSettings) -> tuple[None, Result, str]:
    assert settings.camera is not None
    camera: Camera = open_camera(settings.camera)
    sizes, counts, times_s = set(), [], []
    try:
        for _ in range(_FRAMES):
            frame = camera.read(settings.camera.open_timeout_s)
            if frame is not None:
                sizes.add(frame.image.shape[1::-1])
                counts.append(frame.encoder_count)
                times_s.append(frame.time_s)
    except EndOfFrames:
        pass
    finally:
        camera.close()
    wanted = (settings.view.width_px, settings.view.height_px)
    if not sizes:
        return None, "wrong", f"{camera.name} opens and gives no frames"
    if sizes != {wanted}:
        found = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        return None, "wrong", f"frames are {found} px, [view] says {wanted[0]} x {wanted[1]}"
    if counts[-1] is None and settings.belt.speed_mm_s is None:
        return (
            None,
            "wrong",
            (
                "frames carry no encoder count, and belt.speed_mm_s is not set: where the belt is "
                "cannot be known"
            ),
        )
    blind = [one.name for one in settings.schedule.actuators if one.timing == "plc"]
    if counts[-1] is None and blind:
        text = (
            f"frames carry no encoder count, and {', '.join(blind)} would fire on a counter that "
            'nobody knows here: give counts with the frames, or set timing = "host"'
        )
        return None, "wrong", text
    timed = [one.name for one in settings.schedule.actuators if one.timing == "host"]
    gap_ms = float(np.median(np.diff(times_s))) * 1000 if len(times_s) > 1 else 0.0
    if timed and gap_ms >= settings.host_timer.stale_ms:
        text = (
            f"frames come every {gap_ms:.0f} ms, and this machine gives {', '.join(timed)} no "
            f"pulse from a belt seen {settings.host_timer.stale_ms:.0f} ms ago: take more frames "
            "a second, or raise host_timer.stale_ms"
        )
        return None, "wrong", text
    by = "encoder counts" if counts[-1] is not None else "the clock"
    return None, "good", f"{camera.name}: {wanted[0]} x {wanted[1]} px, by {by}"


def _link(link: PeerSettings, settings: LineSettings) -> tuple[None, Result, str]:
    actuator = open_actuator(link)
    times = settings.link_times

    async def look() -> float:
        try:
            await asyncio.wait_for(actuator.connect(), times.connect_ms / 1000)
            began_s = time.perf_counter()
            beat = actuator.beat(LineState("starting", "beltsight line check"))
            await asyncio.wait_for(beat, times.timeout_ms / 1000)
            took_ms = (time.perf_counter() - began_s) * 1000
            await asyncio.wait_for(actuator.make_safe("checked"), times.timeout_ms / 1000)
            return took_ms
        finally:
            await asyncio.wait_for(actuator.close(), 5.0)

    try:
        took_ms = asyncio.run(look())
    except TimeoutError:
        return (
            None,
            "wrong",
            (
                f"no answer within {times.connect_ms:.0f} ms to connect, or "
                f"{times.timeout_ms:.0f} ms to a beat"
            ),
        )
    return None, "good", f"connected; a beat was answered in {took_ms:.1f} ms"
