"""The live view of ``beltsight line``: one screen that tells how the line does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from beltsight.line.snapshot import Snapshot

_COLOURS = {
    "running": "green", "starting": "cyan", "degraded": "yellow", "safe": "red", "stopped": "white",
    "good": "green", "warning": "yellow", "fault": "red",
    "up": "green", "connecting": "cyan", "down": "red",
}  # fmt: skip


def line_view(now: Snapshot, elapsed_s: float) -> RenderableType:
    """One screen.

    Args:
        now: the line.
        elapsed_s: since the start.
    """
    parts: list[RenderableType] = [_figures(now), Text(), _routes(now), Text(), _states(now)]
    state = Text.assemble(
        (now.name, "bold"), "  ", (now.state.name, f"bold {_COLOURS[now.state.name]}"),
        f"  {_clock(elapsed_s)}",
    )  # fmt: skip
    if now.state.reason and now.state.name != "running":
        parts.append(Text(now.state.reason, style=_COLOURS[now.state.name]))
    return Panel(Group(*parts), title=state, title_align="left", box=box.ROUNDED, padding=(1, 2))


def _figures(now: Snapshot) -> RenderableType:
    figures = now.figures
    table = Table.grid(padding=(0, 3))
    speed = f"{now.belt.speed_mm_s / 1000:.2f} m/s" if now.belt else "-"
    late_share = figures.late / figures.items if figures.items else 0.0
    late = Text(f"{figures.late:,} ({late_share:.1%})", style="red" if figures.late else "green")
    table.add_row("items", Text(f"{figures.items:,}", style="bold"), "late", late)
    table.add_row("items/s", f"{figures.items_per_s:.1f}", "belt", speed)
    table.add_row("decision", _times(figures.decision_ms), "frame", _times(figures.seeing_ms))
    return table


def _times(values: tuple[float, ...]) -> str:
    return f"p50 {values[0]:.0f}  p99 {values[2]:.0f} ms" if values else "-"


def _routes(now: Snapshot) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2))
    table.add_column(min_width=10)
    table.add_column(justify="right")
    table.add_column(width=32)
    total = max(1, now.figures.items)
    for route, count in sorted(now.figures.routes.items(), key=lambda pair: -pair[1]):
        bar = ProgressBar(total=total, completed=count, width=32)
        table.add_row(Text(route), f"{count:,}  {count / total:4.0%}", bar)
    return table


def _states(now: Snapshot) -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for name, status in now.links.items():
        sent = status.outcomes.get("sent", 0)
        more = f"{status.quality:.0%} of beats, {sent:,} sent, {status.answer_ms:.0f} ms"
        table.add_row(Text(name), Text(status.state, style=_COLOURS[status.state]), more)
    camera = now.camera
    lost = camera.dropped + camera.lost + camera.corrupt
    has = Text("open" if now.has_camera else "lost", style="green" if now.has_camera else "red")
    table.add_row("camera", has, f"{camera.delivered:,} frames, {lost:,} lost")
    store = now.store
    log = Text("writing" if store.healthy else "failing", style="green" if store.healthy else "red")
    failure = store.failure.reason if store.failure else ""
    rows = f"{store.committed:,} rows, {store.waiting_rows} waiting {failure}".rstrip()
    table.add_row("log", log, rows)
    health = Text(now.health.level, style=_COLOURS[now.health.level])
    table.add_row("health", health, Text(now.health.why))
    return table


def _clock(elapsed_s: float) -> str:
    minutes, seconds = divmod(int(elapsed_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}"
