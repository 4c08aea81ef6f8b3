"""Plots of a study: accuracy over epochs and time, and over the share of training photos."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from studies.study import Plot, Study
from studies.tables import Result, marks, pooled

Curve = dict[str, NDArray[np.float64]]
# Told apart with any colour vision (Okabe and Ito), dark enough for lines on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a5c00", "#56b4e9", "#000000", "#e69f00")


def draw_plots(study: Study, results: Sequence[Result], folder: Path) -> Iterator[Path]:
    """Draw each plot of the study of which there are results, into ``folder/NAME.svg``."""
    # Text stays text, and the same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "beltsight", "font.size": 10})
    for plot in study.plots:
        lines = {
            label: [r for name in names for r in results if r["variant"] == name]
            for label, names in plot.lines.items()
        }
        lines = {label: group for label, group in lines.items() if group}
        if lines:
            if plot.kind == "shares":
                figure = _draw_shares(lines)
            else:
                figure = _draw_curves(lines, folder, with_minutes=plot.kind == "curves")
            yield _save(figure, plot, folder)


def read_curve(path: Path) -> Curve:
    """Columns of a run's CSV; a missing number is NaN."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


def _save(figure: Any, plot: Plot, folder: Path) -> Path:
    path = folder / f"{plot.name}.svg"
    figure.suptitle(plot.title, x=0.01, ha="left", fontsize=12)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _draw_curves(lines: dict[str, list[Result]], folder: Path, *, with_minutes: bool) -> Any:
    """Validation accuracy over epochs, and over minutes with caching included, on one scale."""
    panels = [(_epochs, "epochs")]
    if with_minutes:
        panels.append((_minutes, "minutes from the start, preparing and caching included"))
    size = (5.2 * len(panels) + 0.6 if with_minutes else 7.4, 4.9)
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    middle = []
    for (label, group), colour in zip(lines.items(), _colours(len(lines)), strict=True):
        curves = [read_curve(folder / f"{r['variant']}-{r['seed']}.csv") for r in group]
        for axis, (times, _) in zip(axes[0], panels, strict=True):
            _draw_line(axis, curves, times, label, colour)
        middle.append(100 * np.concatenate([curve["val_accuracy"] for curve in curves]))
    # The first epochs of the weak lines may fall out of the picture; the ends are what counts.
    lowest = min(float(np.percentile(each, 8)) for each in middle)
    axes[0][0].set_ylim(max(0, lowest - 3), min(100, max(float(m.max()) for m in middle) + 2))
    axes[0][0].set_ylabel("validation accuracy in %")
    for axis, (_, name) in zip(axes[0], panels, strict=True):
        axis.set_xlabel(name)
        axis.set_xlim(left=0)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _tidy(axis)
    handles = axes[0][0].get_legend_handles_labels()
    columns = min(4 if with_minutes else 3, len(lines))
    figure.legend(*handles, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _draw_line(
    axis: Any, curves: Sequence[Curve], times: Callable[[Curve], Any], label: str, colour: str
) -> None:
    """The mean as a line with a dot at its end; single seeds thin where there are several."""
    for curve in curves if len(curves) > 1 else []:
        axis.plot(times(curve), 100 * curve["val_accuracy"], color=colour, lw=0.7, alpha=0.45)
    across, accuracy = _mean_curve(curves, times)
    axis.plot(across, accuracy, color=colour, lw=2, label=label)
    axis.plot(across[-1], accuracy[-1], "o", color=colour, ms=4)


def _epochs(curve: Curve) -> Any:
    return curve["epoch"]


def _minutes(curve: Curve) -> Any:
    return curve["elapsed_s"] / 60


def _mean_curve(curves: Sequence[Curve], times: Callable[[Curve], Any]) -> tuple[Any, Any]:
    """The mean over seeds, epoch by epoch, as far as all of them go."""
    shared = min(len(curve["epoch"]) for curve in curves)
    across = np.mean([times(curve)[:shared] for curve in curves], axis=0)
    return across, np.mean([100 * curve["val_accuracy"][:shared] for curve in curves], axis=0)


def _draw_shares(lines: dict[str, list[Result]]) -> Any:
    """Accuracy with its interval over the share of training photos; test where all have it."""
    everything = [result for group in lines.values() for result in group]
    on_test = all("test" in result for result in everything)
    figure, axis = plt.subplots(figsize=(7.4, 4.4), layout="constrained")
    for place, ((label, group), colour) in enumerate(
        zip(lines.items(), _colours(len(lines)), strict=True)
    ):
        shares = sorted({result["train_share"] for result in group})
        runs = [[r for r in group if r["train_share"] == share] for share in shares]
        middle, low, high = np.array([_accuracy(each, on_test) for each in runs]).T * 100
        # Side by side, so that intervals do not hide each other.
        across = np.array(shares) * 1.03 ** (place - (len(lines) - 1) / 2)
        axis.errorbar(
            across, middle, [middle - low, high - middle], color=colour, label=label,
            marker="o", ms=5, lw=2, elinewidth=1, capsize=3,
        )  # fmt: skip
    ticks = sorted({result["train_share"] for result in everything})
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_minor_locator(NullLocator())
    counts = {r["train_share"]: r["n_train"] for r in everything}
    axis.xaxis.set_major_formatter(
        FuncFormatter(lambda share, _: f"{100 * share:.0f} %\n{counts.get(share, 0):,}")
    )
    axis.set_xlabel("training photos")
    split = "test" if on_test else "validation"
    axis.set_ylabel(f"{split} accuracy in %, with 95 % interval")
    axis.legend(frameon=False, loc="best")
    _tidy(axis)
    return figure


def _accuracy(group: Sequence[Result], on_test: bool) -> tuple[float, float, float]:
    if on_test:
        share = pooled(marks(group))
        return share.mean, share.low, share.high
    # Validation photos are not noted one by one: the mean, with the mean ends of the intervals.
    ends = np.mean([result["val"]["interval"] for result in group], axis=0)
    return float(np.mean([r["val"]["accuracy"] for r in group])), float(ends[0]), float(ends[1])


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e3e3", lw=0.8)
    axis.set_axisbelow(True)
