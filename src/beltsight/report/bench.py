"""A grid of measurements as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beltsight.bench.conditions import conditions_line
from beltsight.bench.grid import Grid, Row
from beltsight.errors import BeltsightError, MissingExtraError

# By numbers, readable without telling hues apart: from light to dark.
_COLOURS = {"float32": "#8fbcb3", "bf16": "#0f8a76", "int8": "#1f4e46", "int8 and bf16": "#12332d"}
_PEER_COLOUR = "#d0932b"
_BAR_INCHES = 0.3


def require_matplotlib() -> None:
    """Fail with the install command where matplotlib is missing.

    Raises:
        MissingExtraError: it cannot be imported.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("a plot", "lab") from error


def draw_grid(grid: Grid, path: Path) -> None:
    """Draw the median latency of each contestant, a panel for each work, as SVG.

    Args:
        grid: what was measured.
        path: of the file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        BeltsightError: the file cannot be written.
    """
    require_matplotlib()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels = [
        [row for row in grid.rows if row.work == work]
        for work in dict.fromkeys(row.work for row in grid.rows)
    ]
    heights = [len(rows) * _BAR_INCHES + 0.75 for rows in panels]
    # Text stays text, and the same figures give the same file.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 9}
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, sum(heights) + 0.6), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axis, rows in zip(axes, panels, strict=True):
            _draw_panel(axis, rows)
        axes[-1].set_xlabel("ms per call: median, with a line to the 90th percentile")
        figure.suptitle(_wrapped(conditions_line(grid.machine)), fontsize=7, x=0.01, ha="left")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="svg", metadata={"Date": None})
        except OSError as error:
            raise BeltsightError(f"{path}: cannot be written: {error.strerror}") from error


def _draw_panel(axis: Any, rows: Sequence[Row]) -> None:
    places = list(range(len(rows)))[::-1]
    halves = [row.summary.p50_ms for row in rows]
    late = [max(0.0, row.summary.p90_ms - row.summary.p50_ms) for row in rows]
    colours = [
        _PEER_COLOUR if row.contestant.engine.startswith("PyTorch")
        else _COLOURS.get(row.contestant.precision, "#777777")
        for row in rows
    ]  # fmt: skip
    axis.barh(
        places, halves, color=colours, height=0.72,
        xerr=[[0.0] * len(rows), late], error_kw={"lw": 1, "ecolor": "#333333"},
    )  # fmt: skip
    axis.set_yticks(places, [_label(row) for row in rows])
    axis.set_title(rows[0].work.title + _against(rows), loc="left", fontsize=10)
    most = max(half + more for half, more in zip(halves, late, strict=True))
    axis.set_xlim(0, 1.3 * most)
    for place, row, more in zip(places, rows, late, strict=True):
        times = f"  {row.ratio.value:.1f} x" if row.ratio else ""
        text = f"{row.summary.p50_ms:.1f} ms{times}"
        axis.text(row.summary.p50_ms + more + 0.01 * most, place, text, va="center", fontsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def _against(rows: Sequence[Row]) -> str:
    """What the ratios are of; networks of different kinds have a peer each."""
    bases = list(dict.fromkeys(row.base for row in rows if row.ratio))
    if not bases:
        return ""
    return f", x: times as fast as {bases[0] if len(bases) == 1 else 'the best peer of each'}"


def _label(row: Row) -> str:
    return f"{row.contestant.model}, {row.contestant.engine}, {row.contestant.precision}"


def _wrapped(line: str, width: int = 130) -> str:
    import textwrap

    return textwrap.fill(line, width)
