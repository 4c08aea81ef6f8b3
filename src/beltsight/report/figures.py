"""Coordinates of the figures that templates draw as SVG; the drawing is in ``figures.html.j2``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STRETCH = 0.01  # a share that is as far from 1 stands halfway between 1 and one ten times as far
_SHARES = (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1)
_COLUMNS = 24
_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
_LEAST_COVERAGE = 0.1


@dataclass(frozen=True, slots=True)
class Axes:
    """A plotting area: data to pixels.

    Args:
        width, height: of the whole figure, in pixels.
        x, y: (low, high) of the data.
        left, right, top, bottom: margins, in pixels.

    Example:
        >>> Axes(200, 100, (0, 1), (0, 1), 20, 0, 0, 10).point(0.5, 1.0)
        (110.0, 0.0)
    """

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    left: int = 46
    right: int = 24
    top: int = 12
    bottom: int = 36

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Pixels to the right and down."""
        wide = self.width - self.left - self.right
        high = self.height - self.top - self.bottom
        along = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return round(self.left + along * wide, 2), round(self.top + (1 - up) * high, 2)

    def line(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """The ``points`` of a polyline."""
        pairs = (self.point(x, y) for x, y in zip(xs, ys, strict=True))
        return " ".join(f"{px},{py}" for px, py in pairs)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from low to high.

    Example:
        >>> ticks(0, 1), ticks(1, 24)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [5.0, 10.0, 15.0, 20.0])
    """
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def reliability_figure(
    bins: Sequence[Mapping[str, Any]], confidences: NDArray[np.floating]
) -> dict[str, Any]:
    """Accuracy over confidence, and below it where the confidences lie.

    Most confidences are near 1, so that part of the axes is stretched.

    Args:
        bins: of equal number, of :func:`beltsight.confidence.confidence_figures`.
        confidences: (N,) all of them.
    """
    axes = Axes(420, 330, (0, 1), (0, 1))
    heights, edges = np.histogram(stretched(confidences), _COLUMNS, (0, 1))
    most = int(heights.max(initial=1))
    counts = Axes(420, 96, (0, 1), (0, most), top=6, bottom=20)
    bars = []
    for n, start, end in zip(heights.tolist(), edges[:-1], edges[1:], strict=True):
        x0, y0 = counts.point(start, n)
        x1, base = counts.point(end, 0)
        bars.append({"x": x0 + 1, "y": y0, "w": x1 - x0 - 2, "h": base - y0, "n": n})
    dots = []
    for part in bins:
        shares = [part["confidence"], part["accuracy"], *part["interval"]]
        sure, right, low, high = stretched(np.array(shares)).tolist()
        x, y = axes.point(sure, right)
        ends = {"low_y": axes.point(0, low)[1], "high_y": axes.point(0, high)[1]}
        dots.append({"x": x, "y": y, **ends, **part})
    marks = [(share, place) for share in _SHARES for place in [float(stretched(share))]]
    return {
        "axes": axes,
        "counts": counts,
        "ticks": [(share, *axes.point(place, place)) for share, place in marks],
        "diagonal": axes.line((0, 1), (0, 1)),
        "dots": dots,
        "bars": bars,
        "line": " ".join(f"{dot['x']},{dot['y']}" for dot in dots),
    }


def stretched(shares: NDArray[np.floating] | float) -> NDArray[np.float64]:
    """Shares 0 to 1 on an axis 0 to 1 that gives more room the nearer they are to 1.

    Example:
        >>> stretched(np.array([0.0, 0.5, 0.9, 0.99, 1.0])).round(2).tolist()
        [0.0, 0.15, 0.48, 0.85, 1.0]
    """
    room = np.asarray(1.0 + _STRETCH - np.asarray(shares, np.float64))
    return np.asarray(np.log((1.0 + _STRETCH) / room) / np.log((1.0 + _STRETCH) / _STRETCH))


def purity_figure(curve: dict[str, Any], accepted: dict[str, Any] | None) -> dict[str, Any]:
    """Purity over coverage: what is gained where the least sure answers are not accepted.

    Args:
        curve: of :meth:`beltsight.selective.RiskCoverage.to_record`.
        accepted: of :func:`beltsight.confidence.confidence_figures`, to be marked, or None.
    """
    # Of fewer photos the share jumps with each of them.
    kept = [i for i, share in enumerate(curve["coverage"]) if share >= _LEAST_COVERAGE]
    coverage = [curve["coverage"][i] for i in kept]
    purity = [1 - curve["risk"][i] for i in kept]
    low = math.floor(10 * min([*purity, 0.9 if min(purity) >= 0.9 else 1.0])) / 10
    axes = Axes(620, 300, (0, 1), (min(low, 0.9), 1))
    mark = None
    if accepted and accepted["n"]:
        x, y = axes.point(accepted["coverage"], max(accepted["purity"], axes.y[0]))
        mark = {"x": x, "y": y, **accepted}
    return {
        "axes": axes,
        "x_ticks": [(tick, axes.point(tick, axes.y[0])[0]) for tick in ticks(0, 1)],
        "y_ticks": [(tick, axes.point(0, tick)[1]) for tick in ticks(*axes.y)],
        "line": axes.line(coverage, purity),
        "mark": mark,
        "rows": [_purity_at(curve, share) for share in _COVERAGES],
    }


def _purity_at(curve: dict[str, Any], coverage: float) -> tuple[float, float]:
    """(coverage, purity) of the first point of the curve that accepts so much."""
    place = next(i for i, share in enumerate(curve["coverage"]) if share >= coverage - 1e-9)
    return curve["coverage"][place], 1 - curve["risk"][place]


def severity_figure(change: Mapping[str, Any], asked: Sequence[str]) -> dict[str, Any]:
    """Accuracy of each task over the severity of a change, with 95 % intervals.

    Args:
        change: of :func:`beltsight.robustness.measure_robustness`. Amounts are spaced evenly, as
            they are steps of severity.
        asked: all tasks that are drawn; their order gives the colours, the same for all changes.
    """
    amounts = change["amounts"]
    axes = Axes(330, 210, (0, max(1, len(amounts) - 1)), (0, 1), left=46, right=14)
    lines = []
    for task, found in change["tasks"].items():
        known = [(i, row) for i, row in enumerate(found["severities"]) if row["n"]]
        lows = [(i, row["interval"][0]) for i, row in known]
        highs = [(i, row["interval"][1]) for i, row in reversed(known)]
        band = " ".join(",".join(map(str, axes.point(i, share))) for i, share in [*lows, *highs])
        line = axes.line([i for i, _ in known], [row["accuracy"] for _, row in known])
        number = asked.index(task)
        lines.append({"task": task, "number": number, "points": line, "band": band})
    return {
        "axes": axes,
        "title": change["title"],
        "unit": change["unit"],
        "x_ticks": [(f"{amount:g}", axes.point(i, 0)[0]) for i, amount in enumerate(amounts)],
        "y_ticks": [(tick, axes.point(0, tick)[1]) for tick in ticks(0, 1)],
        "lines": lines,
    }


def curve_figure(
    epochs: Sequence[float], series: Mapping[str, Sequence[float]], *, shares: bool
) -> dict[str, Any]:
    """Lines over epochs.

    Args:
        epochs: of each row.
        series: name -> one value per epoch; what is not finite is left out.
        shares: whether values are 0 to 1, to be shown in per cent.
    """
    finite = [v for values in series.values() for v in values if math.isfinite(v)]
    low = 0.0 if not shares else math.floor(10 * min(finite, default=0.0)) / 10
    high = 1.0 if shares else (max(finite, default=1.0) * 1.05 or 1.0)
    axes = Axes(460, 280, (min(epochs), max(epochs)), (low, high))
    lines = []
    for number, (name, values) in enumerate(series.items()):
        known = [(e, v) for e, v in zip(epochs, values, strict=True) if math.isfinite(v)]
        points = [axes.point(e, v) for e, v in known]
        drawn = " ".join(f"{x},{y}" for x, y in points)
        lines.append({"name": name, "points": drawn, "dots": points, "number": number})
    whole = [tick for tick in ticks(*axes.x, most=8) if tick == int(tick)]
    return {
        "axes": axes,
        "x_ticks": [(int(tick), axes.point(tick, low)[0]) for tick in whole],
        "y_ticks": [(tick, axes.point(axes.x[0], tick)[1]) for tick in ticks(low, high)],
        "lines": lines,
        "shares": shares,
    }
