"""The simulated line: belt, encoder, items and light, tied to one clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from beltsight.line.simulate.camera import Fault, SimulatedCamera
from beltsight.line.simulate.light import Light
from beltsight.line.simulate.motion import (
    EncoderLook,
    SimulatedEncoder,
    Slip,
    SpeedChange,
    Trajectory,
    VirtualClock,
    drive,
)
from beltsight.line.simulate.settings import SimulationSettings
from beltsight.line.simulate.stock import demo_samples
from beltsight.line.simulate.strip import Progress, Strip, render
from beltsight.line.simulate.truth import Truth
from beltsight.line.view import View
from beltsight.records import Photo, Sample


class SimulatedBelt:
    """The world: what lies on the belt, where the belt is at a time, and how it looks then.

    Args:
        strip: the belt's picture.
        truth: what lies on it.
        motion: where the belt really is over time.
        light: what falls on it.
        stock_told: how many photos gave items, and why others did not.
    """

    def __init__(
        self, strip: Strip, truth: Truth, motion: Trajectory, light: Light, stock_told: str = ""
    ) -> None:
        self.strip = strip
        self.truth = truth
        self.motion = motion
        self.light = light
        self.stock_told = stock_told

    @property
    def view(self) -> View:
        """What the camera sees."""
        return self.strip.view

    def position_mm(self, time_s: float) -> float:
        """How far the belt has really gone."""
        return float(self.motion.at(time_s))

    def picture(self, time_s: float, number: int) -> Photo:
        """What the camera sees at a time.

        Returns:
            uint8 (height_px, width_px, 3) RGB, a new array.
        """
        lying = self.light.fall_on(self.strip.cut(self.position_mm(time_s)), time_s, number)
        return np.ascontiguousarray(self.view.turned_back(lying), np.uint8)


@dataclass(frozen=True, slots=True)
class Run:
    """How the belt is driven while it is watched.

    Args:
        changes: of its speed, by time.
        slips: of the encoder's wheel.
        encoder: what the line reads; the PLC reads one of the same kind.
        faults: of the camera.
        real_time: frames come when they are due; else as fast as they are read.
        end_s: time of the last frame; None goes on for ever.
    """

    changes: tuple[SpeedChange, ...] = ()
    slips: tuple[Slip, ...] = ()
    encoder: EncoderLook = field(default_factory=EncoderLook)
    faults: tuple[Fault, ...] = ()
    real_time: bool = False
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulated line, ready to run.

    Args:
        belt: the world.
        encoder: what the line reads, on ``clock``.
        plc_encoder: what the PLC reads, a wheel of its own.
        clock: seconds since the belt started.
        camera: a camera with the frames from the belt's start; see :meth:`reopen`.
        settings: what it was made from.
        run: how it is driven.
    """

    belt: SimulatedBelt
    encoder: SimulatedEncoder
    plc_encoder: SimulatedEncoder
    clock: Callable[[], float]
    camera: SimulatedCamera
    settings: SimulationSettings
    run: Run

    def reopen(self) -> SimulatedCamera:
        """The camera anew, as after it was broken; frames meanwhile are gone."""
        return _camera(self.belt, self.encoder, self.clock, self.settings, self.run)


def simulate(
    settings: SimulationSettings,
    view: View,
    samples: Sequence[Sample] | None = None,
    run: Run = Run(),
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    base_clock: Callable[[], float] = time.monotonic,
) -> Simulation:
    """Draw a belt and put camera and encoders to it.

    Args:
        settings: what it is to be like.
        view: what the camera sees of it.
        samples: photos to cut items from; the packaged ones by default.
        run: how it is driven.
        folder: see :func:`beltsight.line.simulate.strip.render`.
        progress: called with what is being done and its share, 0 to 1.
        base_clock: of a run in real time; the belt starts when this returns.

    Raises:
        ConfigError: settings that contradict each other.
        DatasetError: no photo gives an item.
    """
    chosen = demo_samples() if samples is None else samples
    strip, truth, stock = render(settings, view, chosen, folder=folder, progress=progress)
    light = Light(settings.light, view.breadth_px, view.length_px, settings.seed)
    motion = drive(settings.speed_mm_s, run.changes)
    belt = SimulatedBelt(strip, truth, motion, light, stock.summary)
    return start(belt, settings, run, base_clock=base_clock)


def start(
    belt: SimulatedBelt,
    settings: SimulationSettings,
    run: Run,
    *,
    base_clock: Callable[[], float] = time.monotonic,
) -> Simulation:
    """Run a drawn belt, perhaps again and otherwise.

    Args:
        belt: its picture and truth are taken; it moves as ``run`` says.
        settings: speed, frame rate and exposure.
        run: how it is driven.
        base_clock: as for :func:`simulate`.
    """
    motion = drive(settings.speed_mm_s, run.changes)
    belt = SimulatedBelt(belt.strip, belt.truth, motion, belt.light, belt.stock_told)
    counted = motion.with_slips(run.slips)
    clock: Callable[[], float]
    if run.real_time:
        zero = base_clock()
        clock = lambda: base_clock() - zero  # noqa: E731  a name of its own would say no more
    else:
        clock = VirtualClock()
    encoder = SimulatedEncoder(counted, run.encoder, clock, settings.seed)
    plc_encoder = SimulatedEncoder(counted, run.encoder, clock, settings.seed + 1)
    camera = _camera(belt, encoder, clock, settings, run)
    return Simulation(belt, encoder, plc_encoder, clock, camera, settings, run)


def _camera(
    belt: SimulatedBelt,
    encoder: SimulatedEncoder,
    clock: Callable[[], float],
    settings: SimulationSettings,
    run: Run,
) -> SimulatedCamera:
    return SimulatedCamera(
        belt.picture,
        encoder.at,
        clock,
        frames_per_s=settings.frames_per_s,
        exposure_s=settings.light.exposure_ms / 1000,
        faults=run.faults,
        seed=settings.seed,
        end_s=run.end_s,
    )
