"""From rows of answers to figures: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata
from studies.contamination.answers import LEVELS, Row
from studies.contamination.photos import CLEAN, Plan

Figures = dict[str, Any]
_Z = NormalDist().inv_cdf(0.975)


def share_of(marks: Iterable[bool]) -> Figures:
    """How many of how many, with Wilson's 95 % interval; null for a share of nothing."""
    found = list(marks)
    right, n = sum(found), len(found)
    if not n:
        return {"right": 0, "n": 0, "share": None, "interval": None}
    ends = binomtest(right, n).proportion_ci(0.95, method="wilson")
    interval = [round(float(ends.low), 4), round(float(ends.high), 4)]
    return {"right": right, "n": n, "share": round(right / n, 4), "interval": interval}


def auc(clean: Sequence[float], dirty: Sequence[float]) -> Figures:
    """The probability that a dirty photo scores over a clean one, with a 95 % interval.

    Args:
        clean: scores of clean photos.
        dirty: scores of dirty photos.

    Returns:
        ``value`` and ``interval`` (by the variance of DeLong et al. 1988 on the scale of the
        logit, so that it stays inside 0 to 1), and both counts; null where one set is empty.

    Example:
        >>> auc([0.1, 0.2, 0.6], [0.5, 0.9])["value"]  # 5 of 6 pairs in order
        0.8333
    """
    m, n = len(clean), len(dirty)
    counts = {"n_clean": m, "n_dirty": n}
    if not m or not n:
        return {"value": None, "interval": None, **counts}
    scores = np.concatenate([clean, dirty])
    ranks = rankdata(scores)
    over_clean = (ranks[m:] - rankdata(dirty)) / m  # per dirty photo the share of clean ones below
    under_dirty = 1 - (ranks[:m] - rankdata(clean)) / n
    value = float(over_clean.mean())
    error = sqrt(_variance(over_clean) / n + _variance(under_dirty) / m)
    if not 0 < value < 1 or error == 0:
        # No pair, or every pair, in order: as if half a pair were not.
        ends = binomtest(round(value * min(m, n)), min(m, n)).proportion_ci(0.95, method="wilson")
        return {"value": round(value, 4), "interval": _rounded(ends.low, ends.high), **counts}
    centre, half = np.log(value / (1 - value)), _Z * error / (value * (1 - value))
    low, high = (1 / (1 + np.exp(-(centre + side * half))) for side in (-1, 1))
    return {"value": round(value, 4), "interval": _rounded(low, high), **counts}


def figures_of(rows: Sequence[Row], kind: str, plan: Plan, borders: tuple[float, float]) -> Figures:
    """All figures of one kind.

    Args:
        rows: of all sets that were asked about.
        kind: whose set is judged; the set ``clean`` is what it is told from.
        plan: margin and distance.
        borders: the shares from which an item is partly and heavily contaminated.
    """
    own = [row for row in rows if row.set == kind]
    clean = {row.twin: row for row in rows if row.set == CLEAN}
    dirty = [row for row in own if row.level > 0]
    far = [row for row in own if min(abs(row.share - border) for border in borders) > plan.margin]
    return {
        "n": len(own),
        "level": share_of(row.answer == row.level for row in own),
        "level_outside_margin": share_of(row.answer == row.level for row in far),
        "ordinal_error": _mean(abs(row.answer - row.level) for row in own),
        "confusion": confusion(own),
        "auc": auc([1 - row.clean for row in clean.values()], [1 - row.clean for row in dirty]),
        "dirt": share_of(row.dirt == row.dirt_answer for row in own if row.dirt),
        "material": material_figures(dirty, clean),
        "map": map_figures(own, plan.near_px),
        "recall": recall_table(own),
    }


def confusion(rows: Sequence[Row]) -> list[list[int]]:
    """Counts of levels; row: truth, column: answer."""
    table = np.zeros((len(LEVELS), len(LEVELS)), np.int64)
    for row in rows:
        table[row.level, row.answer] += 1
    return [[int(count) for count in line] for line in table]


def recall_table(rows: Sequence[Row]) -> Figures:
    """Per material and level, and over all materials, how many levels are told."""
    table: Figures = {}
    for material in ("all", *sorted({row.material for row in rows})):
        chosen = [row for row in rows if material in ("all", row.material)]
        table[material] = {
            name: share_of(row.answer == level for row in chosen if row.level == level)
            for level, name in enumerate(LEVELS)
        }
    return table


def material_figures(dirty: Sequence[Row], clean: dict[str, Row]) -> Figures:
    """Material answers to dirty items, and to the same photos without their dirt."""
    pairs = [(row, clean[row.twin]) for row in dirty if row.twin in clean and row.material_answer]
    right = [(_knows(row), _knows(twin)) for row, twin in pairs]
    return {
        "dirty": share_of(first for first, _ in right),
        "clean": share_of(second for _, second in right),
        "lost": sum(second and not first for first, second in right),
        "won": sum(first and not second for first, second in right),
    }


def map_figures(rows: Sequence[Row], near_px: int) -> Figures:
    """The pointing game on partly dirty items, and the overlap of map and dirt.

    ``chance`` is the mean covered share: a point drawn on the item lies on dirt as often.
    """
    asked = [row for row in rows if row.peak >= 0]
    return {
        "hit": share_of(row.peak == 0 for row in asked),
        "near": share_of(row.peak <= near_px for row in asked),
        "overlap": _mean(row.overlap for row in asked),
        "against_clean": {
            "hit": share_of(row.peak_against == 0 for row in asked),
            "near": share_of(row.peak_against <= near_px for row in asked),
            "overlap": _mean(row.overlap_against for row in asked),
        },
        "chance": _mean(row.share for row in asked),
    }


def summary(kinds: dict[str, Figures]) -> Figures:
    """Means over kinds, and the worst kind of each figure.

    Args:
        kinds: figures of each kind; for unseen kinds each from its own model.
    """
    picked = {
        "auc": ("auc", "value"),
        "level": ("level", "share"),
        "level_outside_margin": ("level_outside_margin", "share"),
        "map_hit": ("map", "hit", "share"),
        "map_near": ("map", "near", "share"),
    }
    found: Figures = {}
    for name, keys in picked.items():
        values = {kind: _pick(each, keys) for kind, each in kinds.items()}
        known = {kind: value for kind, value in values.items() if value is not None}
        if known:
            worst = min(known, key=lambda kind: known[kind])
            found[name] = {
                "mean": round(float(np.mean(list(known.values()))), 4),
                "worst": worst,
                "least": known[worst],
            }
    errors = {kind: each["ordinal_error"] for kind, each in kinds.items()}
    worst = max(errors, key=lambda kind: errors[kind] or 0)
    found["ordinal_error"] = {
        "mean": round(float(np.mean([each or 0 for each in errors.values()])), 4),
        "worst": worst,
        "most": errors[worst],
    }
    return found


def without_copies(rows: Sequence[Row]) -> list[Row]:
    """Rows of all kinds together; photos without dirt, which all kinds share, once."""
    seen: set[str] = set()
    chosen = []
    for row in rows:
        if row.set == CLEAN:
            continue
        if row.share == 0:
            if row.twin in seen:
                continue
            seen.add(row.twin)
        chosen.append(row)
    return chosen


def right_by_photo(rows: Sequence[Row], task: str) -> dict[str, bool]:
    """Per photo whether the answer is right, to compare two models on the same photos.

    Args:
        rows: of one model.
        task: ``material`` or ``contamination``.
    """
    right = {
        f"{row.set}/{row.twin}": _knows(row) if task == "material" else row.answer == row.level
        for row in rows
    }
    return dict(sorted(right.items()))


def _knows(row: Row) -> bool:
    return row.material == row.material_answer


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(float(np.mean(found)), 4) if found else None


def _pick(figures: Figures, keys: Sequence[str]) -> float | None:
    value: Any = figures
    for key in keys:
        value = value[key]
    return None if value is None else float(value)


def _rounded(low: float, high: float) -> list[float]:
    return [round(float(low), 4), round(float(high), 4)]
