"""The study's chart: each kind by a model that knows it, and by one that does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from studies.contamination.figures import summary

_COLOURS = {"seen": "#0072b2", "unseen": "#d55e00"}
_TITLES = {"seen": "learned from this kind", "unseen": "never saw this kind"}
_PANELS = (
    ("AUC, clean against dirty", "auc", "value", 1.0),
    ("level told, in %", "level", "share", 100.0),
)


def draw_chart(kinds: dict[str, dict[str, Any]], split: str, path: Path) -> None:
    """Draw the chart.

    Args:
        kinds: figures by kind, ``seen`` and ``unseen``.
        split: that they are of.
        path: of the SVG.
    """
    # Text stays text, and the same figures give the same file.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "contamination", "font.size": 10}
    with mpl.rc_context(style):
        height = 1.6 + 0.5 * (len(kinds) + 1)
        figure, axes = plt.subplots(
            1, len(_PANELS), figsize=(10.6, height), sharey=True, layout="constrained"
        )
        for axis, panel in zip(axes, _PANELS, strict=True):
            _draw_panel(axis, kinds, *panel)
        axes[0].set_yticks(range(len(kinds) + 1), [*kinds, "mean of kinds"])
        axes[0].set_ylim(len(kinds) + 0.6, -0.6)
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
        title = f"Simulated dirt on TrashNet's {split} items, with 95 % intervals"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def _draw_panel(
    axis: Any, kinds: dict[str, dict[str, Any]], title: str, key: str, part: str, unit: float
) -> None:
    lowest = []
    for name, colour in _COLOURS.items():
        own = {kind: pair[name] for kind, pair in kinds.items() if name in pair}
        own = {kind: each for kind, each in own.items() if each[key][part] is not None}
        if not own:
            continue
        shift = -0.13 if name == "seen" else 0.13
        places = np.array([list(kinds).index(kind) for kind in own]) + shift
        middle = unit * np.array([each[key][part] for each in own.values()])
        ends = unit * np.array([each[key]["interval"] for each in own.values()]).T
        spread = np.maximum(0, np.abs(ends - middle))
        axis.errorbar(
            middle, places, xerr=spread, fmt="o", color=colour, ms=6, capsize=3, elinewidth=1.2,
            label=_TITLES[name],
        )  # fmt: skip
        mean = unit * summary(own)[key]["mean"]
        axis.plot(mean, len(kinds) + shift, "D", color=colour, ms=6)
        digits = 3 if unit == 1 else 1
        axis.annotate(
            f"{mean:.{digits}f}", (mean, len(kinds) + shift), xytext=(9, 0), color=colour,
            textcoords="offset points", va="center", size=9,
        )  # fmt: skip
        lowest.append(float(ends[0].min()))
    bottom = min([*lowest, 0.9 * unit]) - 0.03 * unit
    axis.set_xlim(max(0.0, bottom), 1.005 * unit)
    axis.axhline(len(kinds) - 0.5, color="#999999", lw=0.8)
    axis.set_title(title, loc="left", size=10)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="x", color="#e3e3e3", lw=0.8)
    axis.set_axisbelow(True)
