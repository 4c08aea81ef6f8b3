"""A video of a simulated line at work: what is seen, and what was decided."""

from __future__ import annotations

from pathlib import Path

from beltsight.line.runner import Seen
from beltsight.line.simulate.play import Play
from beltsight.line.simulate.video import Mark, Panel, Scene, Video
from beltsight.line.track import Track


class Film:
    """Writes a frame for each frame of the line.

    Args:
        path: of the video.
        play: the line.
    """

    def __init__(self, path: Path, play: Play) -> None:
        self._play = play
        routes = [route for one in play.opened.settings.schedule.actuators for route in one.routes]
        self._video = Video(path, play.simulation.settings.frames_per_s, routes=routes)

    @property
    def codec(self) -> str:
        """Of the video."""
        return self._video.codec

    def add(self, seen: Seen) -> None:
        """One frame."""
        marks = [
            self._mark(track)
            for track in seen.tracked.tracks
            if track.confirmed and track.region is not None
        ]
        figures = self._play.opened.line.figures
        shown = {
            "belt": f"{seen.belt.speed_mm_s / 1000:.1f} m/s",
            "items": f"{figures.items:,}",
            "late": f"{figures.late:,}",
        }
        if figures.decision_ms and self._play.play.real_time:
            shown["decision p99"] = f"{figures.decision_ms[2]:.0f} ms"
        self._video.add(Scene(seen.frame.image, marks, Panel(figures.routes, shown)))

    def close(self) -> None:
        """End the video."""
        self._video.close()

    def _mark(self, track: Track) -> Mark:
        noted = self._play.noted.get(track.item_id)
        if noted is None:
            return Mark(track.box_xyxy)
        note = "late" if noted.outcome == "late" else "touching" if noted.touching else ""
        return Mark(
            track.box_xyxy,
            noted.counted.material or "",
            noted.confidence,
            noted.counted.route,
            note,
        )
