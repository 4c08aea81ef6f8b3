"""The study's charts: accuracy against severity, a panel for each change, a line for each model."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from studies.curves import COLOURS
from studies.robustness.tables import Results, lines_of

_COLUMNS = 5


def draw_chart(results: Results, task: str, path: Path) -> bool:
    """Draw one task's curves.

    Args:
        results: records by the title of their model.
        task: that is asked.
        path: of the SVG.

    Returns:
        Whether there was something to draw.
    """
    lines = lines_of(results, task)
    if not lines:
        return False
    colours = dict(zip(results, COLOURS, strict=False))
    columns, rows = min(_COLUMNS, len(lines)), ceil(len(lines) / _COLUMNS)
    # Text stays text, and the same figures give the same file.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "robustness", "font.size": 10}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.55 * columns, 2.5 * rows + 1.1), sharey=True, squeeze=False,
            layout="constrained",
        )  # fmt: skip
        for axis, each in zip(axes.flat, lines.values(), strict=False):
            _draw_panel(axis, each, colours)
        for axis in list(axes.flat)[len(lines) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel("accuracy in %")
        found = {
            label: handle
            for axis in axes.flat
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            found.values(), found.keys(), loc="outside lower center", ncols=len(found),
            frameon=False,
        )  # fmt: skip
        title = f"{task.capitalize()} on TrashNet's test items as photos get worse, 95 % bands"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
    return True


def _draw_panel(
    axis: Any, each: Mapping[str, Mapping[str, Any]], colours: Mapping[str, str]
) -> None:
    about = next(iter(each.values()))
    amounts = about["amounts"]
    for title, line in each.items():
        rows = line["severities"]
        places = [place for place, row in enumerate(rows) if row["n"]]
        middle = 100 * np.array([rows[place]["accuracy"] for place in places])
        low, high = 100 * np.array([rows[place]["interval"] for place in places]).T
        axis.fill_between(places, low, high, color=colours[title], alpha=0.15, lw=0)
        axis.plot(places, middle, "o-", color=colours[title], lw=1.8, ms=3.5, label=title)
    # Severities stand side by side; what they are is written below them.
    axis.set_xticks(range(len(amounts)), ["none", *(_short(amount) for amount in amounts[1:])])
    axis.tick_params(axis="x", labelsize=8)
    axis.set_xlabel(about["unit"], fontsize=9)
    axis.set_ylim(0, 100)
    axis.set_title(about["title"], loc="left", size=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="#e3e3e3", lw=0.8)
    axis.set_axisbelow(True)


def _short(amount: float) -> str:
    """``.25`` of 0.25, so that six fit under a panel."""
    text = f"{amount:g}"
    return text.removeprefix("0") if text.startswith("0.") else text
