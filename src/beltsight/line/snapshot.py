"""A line at one moment, for displays, monitoring and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from beltsight.line.actuators.link_status import LinkStatus
from beltsight.line.actuators.protocol import LineState
from beltsight.line.assemble import OpenLine
from beltsight.line.belt import BeltState
from beltsight.line.cameras import CameraCounts
from beltsight.line.figures import Figures
from beltsight.line.health import Health
from beltsight.line.host_timer import NO_PULSES, Jitter
from beltsight.store import StoreState


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A line at one moment.

    Args:
        name: of the line.
        state: what the links are told.
        belt: at the last frame, or None before it.
        figures: what the line has done.
        camera: frames delivered, dropped, lost, corrupt.
        has_camera: whether the camera is there now.
        health: of the line.
        links: each link.
        store: the log.
        unlogged: items and rows that the log did not take.
        waiting: views that wait for the model.
        refused_frames: that could not be used.
        failures: items that could not be decided.
        jitter: of the pulses that this machine times.
    """

    name: str
    state: LineState
    belt: BeltState | None
    figures: Figures
    camera: CameraCounts
    has_camera: bool
    health: Health
    links: Mapping[str, LinkStatus]
    store: StoreState
    unlogged: int
    waiting: int
    refused_frames: int = 0
    failures: int = 0
    jitter: Jitter = NO_PULSES

    def to_record(self) -> dict[str, Any]:
        """As plain values for JSON."""
        figures = asdict(self.figures)
        for key in ("decision_ms", "seeing_ms"):
            figures[key] = dict(zip(("p50", "p95", "p99", "most"), figures[key], strict=False))
        failure = self.store.failure
        return {
            "line": self.name,
            "state": self.state.name,
            "reason": self.state.reason,
            "speed_mm_s": self.belt.speed_mm_s if self.belt else None,
            "position_mm": self.belt.position_mm if self.belt else None,
            **figures,
            "late": self.figures.late,
            "camera": {**asdict(self.camera), "open": self.has_camera},
            "health": {
                "level": self.health.level,
                "readings": {
                    name: {"value": reading.value, "level": reading.level}
                    for name, reading in self.health.readings.items()
                },
            },
            "links": {name: asdict(status) for name, status in self.links.items()},
            "store": {
                "committed": self.store.committed,
                "waiting_rows": self.store.waiting_rows,
                "failure": failure.reason if failure else None,
            },
            "unlogged": self.unlogged,
            "waiting_views": self.waiting,
            "refused_frames": self.refused_frames,
            "failures": self.failures,
            "host_pulses": asdict(self.jitter),
        }


def take_snapshot(opened: OpenLine) -> Snapshot:
    """The line now; may be called from any thread."""
    line = opened.line
    return Snapshot(
        name=opened.settings.name,
        state=opened.links.line_state(),
        belt=line.parts.shared.belt,
        figures=line.figures,
        camera=line.parts.supply.counts,
        has_camera=line.parts.supply.is_open,
        health=line.health,
        links=opened.links.status(),
        store=opened.store.state(),
        unlogged=opened.deciding.unlogged + opened.reporter.unlogged,
        waiting=line.parts.inference.waiting,
        refused_frames=opened.reporter.refused_frames,
        failures=opened.reporter.failures,
        jitter=opened.timer.jitter(),
    )
