"""The study's pictures, as SVG."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import ScalarFormatter
from studies.curves import COLOURS
from studies.relu_placement.comparison import failures, mean_ranks
from studies.relu_placement.model import LAYERS, NAMES, PUBLISHED_NAME
from studies.relu_placement.plan import Experiment
from studies.relu_placement.results import read_errors, read_rows
from studies.relu_placement.tables import activity_means, whole_cells

Floats = NDArray[np.float64]
_STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "relu", "font.size": 10}


def draw_all(results: Path, experiments: dict[str, Experiment]) -> list[Path]:
    """Draw what there are results of.

    Args:
        results: holds a folder per experiment; gets the pictures.
        experiments: by name.

    Returns:
        The files written.
    """
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, experiment in experiments.items():
            folder = results / name
            errors = read_errors(folder, experiment.column)
            if not errors:
                continue
            drawn.append(_save(_curves(folder, experiment), results / f"{name}-curves.svg"))
            drawn.append(_save(_activity(folder, experiment), results / f"{name}-activity.svg"))
            if len(errors) > 1:
                drawn.append(_save(_heat(errors, experiment), results / f"{name}-heat.svg"))
            if len(experiment.variants) == 1 and len(errors) > 1:
                cells = whole_cells({size: each for (_, size), each in errors.items()})
                drawn.append(_save(_ranking(cells, experiment), results / f"{name}-ranking.svg"))
    return drawn


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _curves(folder: Path, experiment: Experiment) -> Any:
    """Validation error over epochs and training loss over minutes, of the first variant."""
    rows = [
        row
        for row in read_rows(folder / "curves.csv")
        if row["variant"] == experiment.variants[0].name
    ]
    size = min(int(row["size_px"]) for row in rows)
    rows = [row for row in rows if int(row["size_px"]) == size]
    figure, axes = plt.subplots(1, 2, figsize=(10.8, 4.7), layout="constrained")
    values: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for row in rows:
        own = [float(row[key] or "nan") for key in ("val_error", "seconds", "train_loss")]
        values[row["placement"], int(row["epoch"])].append(own)
    epochs = sorted({epoch for _, epoch in values})
    final = {name: np.median([own[0] for own in values[name, epochs[-1]]]) for name in NAMES}
    best = min(NAMES, key=lambda name: final[name])
    marked = _marked(best)
    for name in sorted(NAMES, key=lambda name: name in marked):
        error, seconds, loss = np.array([np.median(values[name, e], axis=0) for e in epochs]).T
        look: dict[str, Any] = {"color": "#b9b9b9", "lw": 0.9}
        if name in marked:
            look = {"color": marked[name], "lw": 2.0, "label": name}
        axes[0].plot(epochs, 100 * error, **look)
        axes[1].plot(seconds / 60, loss, **look)
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter(ScalarFormatter())
    axes[0].yaxis.set_minor_formatter(ScalarFormatter())
    axes[0].tick_params(axis="y", which="minor", labelsize=8)
    axes[0].set_ylabel("error in %, up to 1,000 validation photos")
    axes[0].set_xlabel("epochs")
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    axes[1].set_yscale("log")
    axes[1].set_ylabel("training loss")
    axes[1].set_xlabel("minutes of training, all 16 placements at once")
    for axis in axes:
        _tidy(axis)
    axes[1].plot([], [], color="#b9b9b9", lw=0.9, label="the others")
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center",
                  ncols=len(marked) + 1, frameon=False)  # fmt: skip
    _title(figure, f"Median over seeds, N = {size}: {experiment.title}")
    return figure


def _marked(best: str) -> dict[str, str]:
    """Placements that are told apart by colour."""
    named = [PUBLISHED_NAME, best, NAMES[0], NAMES[-1]]
    return dict(zip(dict.fromkeys(named), COLOURS[1:2] + COLOURS[:1] + COLOURS[2:4], strict=False))


def _limits(values: Floats) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return max(0.0, low - 0.08 * (high - low)), high + 0.05 * (high - low) + 1e-3


def _heat(errors: dict[tuple[str, int], Floats], experiment: Experiment) -> Any:
    """Placement against size or variant; the colour is the distance to the column's best."""
    several = len(experiment.variants) > 1
    order = {variant.name: place for place, variant in enumerate(experiment.variants)}
    keys = sorted(errors, key=lambda key: (order[key[0]], key[1]))
    table = np.array([np.median(errors[key], axis=0) for key in keys]).T
    lost = np.array([failures(errors[key], experiment.chance).sum(axis=0) for key in keys]).T
    labels = [key[0] if several else str(key[1]) for key in keys]
    above = table - table.min(axis=0)
    figure, axis = plt.subplots(
        figsize=(max(5.2, 1.9 + 0.66 * len(keys)), 6.4 + 0.7 * several), layout="constrained"
    )
    # What failed must not make all others look alike.
    usual = above[lost == 0]
    scale = max(float(usual.max()) if usual.size else float(above.max()), 1e-3)
    drawn = axis.imshow(above, cmap="YlOrBr", vmin=0, vmax=scale, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        dark = above[row, column] > 0.62 * scale
        axis.text(
            column, row, f"{value:.{2 if value < 10 else 1}f}" + "*" * lost[row, column],
            ha="center", va="center", size=8, color="white" if dark else "black",
            weight="bold" if above[row, column] == 0 else "normal",
        )  # fmt: skip
    _names(axis)
    turn: dict[str, Any] = {"rotation": 40, "ha": "right"} if several else {}
    axis.set_xticks(range(len(keys)), labels, **turn)
    axis.set_xlabel("" if several else "N")
    bar = figure.colorbar(drawn, ax=axis, extend="max", shrink=0.5, pad=0.02)
    bar.set_label("above the column's best, in points")
    _title(
        figure, f"{experiment.split.capitalize()} error in %, median over seeds; *: a seed failed"
    )
    return figure


def _ranking(cells: Floats, experiment: Experiment) -> Any:
    """Mean rank over cells with its interval, and the mean error beside it."""
    ranks = mean_ranks(cells)
    order = sorted(range(len(NAMES)), key=lambda place: ranks[place].mean)
    figure, axes = plt.subplots(
        1, 2, figsize=(9.6, 5.2), sharey=True, layout="constrained", width_ratios=(3, 2)
    )
    for row, place in enumerate(order):
        share = ranks[place]
        colour = COLOURS[1] if NAMES[place] == PUBLISHED_NAME else COLOURS[0]
        spread = [[share.mean - share.low], [share.high - share.mean]]
        axes[0].errorbar(share.mean, row, xerr=spread, fmt="o", color=colour, ms=5, capsize=3)
        values = cells[:, place]
        spots = np.full(len(values), float(row))
        axes[1].plot(values, spots, "|", color=colour, alpha=0.5, ms=7)
        axes[1].plot(np.median(values), row, "o", color=colour, ms=5)
    axes[0].set_yticks(range(len(order)), [NAMES[place] for place in order])
    for label in axes[0].get_yticklabels():
        label.set_weight("bold" if label.get_text() == PUBLISHED_NAME else "normal")
    axes[0].invert_yaxis()
    axes[0].set_xlabel(f"mean rank over {len(cells)} cells (1 is best), 95 % interval")
    axes[1].set_xlabel(f"{experiment.split} error in %: each cell, and the median")
    usual = cells[~failures(cells, experiment.chance)]
    axes[1].set_xlim(_limits(usual if usual.size else cells))
    for axis in axes:
        _tidy(axis, "x")
    _title(figure, f"Ranking: {experiment.title}")
    return figure


def _activity(folder: Path, experiment: Experiment) -> Any:
    """Dead units and zeros by placement and layer, of the first variant and smallest size."""
    rows = read_rows(folder / "activity.csv")
    size, variant = min(experiment.sizes), experiment.variants[0].name
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 6.2), sharey=True, layout="constrained")
    panels = (("dead", "dead units in %"), ("zeros", "zeros in %"))
    for axis, (column, title) in zip(axes, panels, strict=True):
        table = activity_means(rows, (variant, size), column)
        colours = mpl.colormaps["PuBu"].with_extremes(bad="#f4f4f4")
        axis.imshow(table, cmap=colours, vmin=0, vmax=100, aspect="auto")
        for (row, place), value in np.ndenumerate(table):
            if not np.isnan(value):
                axis.text(place, row, f"{value:.0f}", ha="center", va="center", size=9,
                          color="white" if value > 62 else "black")  # fmt: skip
        axis.set_xticks(range(len(LAYERS)), [f"ReLU {p + 1}" for p in range(len(LAYERS))])
        axis.set_title(title, loc="left", size=10)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
    _names(axes[0])
    _title(figure, f"What the ReLUs leave, N = {size}, validation photos; grey: no ReLU")
    return figure


def _names(axis: Any) -> None:
    axis.set_yticks(range(len(NAMES)), NAMES)
    for label in axis.get_yticklabels():
        label.set_weight("bold" if label.get_text() == PUBLISHED_NAME else "normal")
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)


def _tidy(axis: Any, along: str = "y") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=along, color="#e3e3e3", lw=0.8)
    axis.set_axisbelow(True)


def _title(figure: Any, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12)
