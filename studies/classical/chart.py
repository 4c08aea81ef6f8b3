"""The study's bar chart: accuracy with its interval, per data set and row of the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

NAMES = {
    "colour": "colour histogram",
    "hog": "HOG",
    "lbp": "LBP",
    "sift": "SIFT words",
    "all-rbf": "all four",
    "all-linear": "all four, linear SVM",
    "all-forest": "all four, random forest",
}
TITLES = {
    "trashnet": "TrashNet",
    "organic-recyclable": "organic / recyclable",
}
CLAIM = (50.0, 70.0)
_BLUE, _GREY, _GREEN = "#3b6ea5", "#9aa7b5", "#2f7d5b"


def draw_chart(results: Path, deep: Path) -> None:
    """Draw ``accuracy.svg`` from the JSON files of a folder.

    Args:
        results: the folder.
        deep: figures of the packaged model on TrashNet, for comparison.
    """
    found = {name: results / f"{name}.json" for name in TITLES}
    found = {name: file for name, file in found.items() if file.exists()}
    # Text stays text, and the same figures give the same file.
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": "classical", "font.size": 10}
    with mpl.rc_context(style):
        figure, axes = plt.subplots(
            1, len(found), figsize=(5.6 * len(found), 4.3), squeeze=False, layout="constrained"
        )
        for axis, (name, file) in zip(axes[0], found.items(), strict=True):
            record = json.loads(file.read_text(encoding="utf-8"))
            _draw_panel(axis, _bars(record, deep if name == "trashnet" else None))
            axis.set_title(f"{TITLES[name]}, {record['n']['test']:,} test photos", loc="left")
        figure.savefig(results / "accuracy.svg", metadata={"Date": None})
        plt.close(figure)


def _bars(record: dict[str, Any], deep: Path | None) -> dict[str, tuple[dict[str, Any], str]]:
    """Name -> (figures, colour), from top to bottom."""
    bars = {
        NAMES[row]: (parts["test"], _GREY if row.endswith(("-linear", "-forest")) else _BLUE)
        for row, parts in record["rows"].items()
    }
    if deep is not None:
        model = json.loads(deep.read_text(encoding="utf-8"))["tasks"]["material"]
        bars["packaged MobileNetV2"] = (model, _GREEN)
    return bars


def _draw_panel(axis: Any, bars: dict[str, tuple[dict[str, Any], str]]) -> None:
    axis.axvspan(*CLAIM, color="#f1e3c4", zorder=0)
    axis.text(sum(CLAIM) / 2, -0.62, "the table's 50-70 %", ha="center", va="bottom", size=8)
    for place, (test, colour) in enumerate(bars.values()):
        share = 100 * test["accuracy"]
        low, high = (100 * end for end in test["interval"])
        axis.barh(place, share, color=colour, height=0.62, zorder=2)
        axis.errorbar(
            share, place, xerr=[[share - low], [high - share]], color="#222222", capsize=3, zorder=3
        )
        axis.text(2, place, f"{share:.1f} %", color="white", va="center", zorder=4)
    axis.set_yticks(range(len(bars)), list(bars))
    axis.set_ylim(len(bars) - 0.5, -1.05)
    axis.set_xlim(0, 100)
    axis.set_xlabel("accuracy in %, with 95 % interval")
    axis.spines[["top", "right"]].set_visible(False)
