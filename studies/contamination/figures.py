"""From rows of answers to figures: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from studies.contamination.answers import LEVELS, Row
from studies.contamination.photos import CLEAN, Plan

from beltsight.metrics import share_interval, wilson_interval

Figures = dict[str, Any]
_Z = NormalDist().inv_cdf(0.975)


def share_of(marks: Iterable[tuple[bool, str]]) -> Figures:
    """How many of how many, with a 95 % interval; null for a share of nothing.

    Args:
        marks: per photo whether it is right, and the item that it shows. The interval is
            Wilson's at the effective count of photos: those of one item are right or wrong
            together.
    """
    found = list(marks)
    right, n = sum(mark for mark, _ in found), len(found)
    items = len({item for _, item in found})
    counts = {"right": right, "n": n, "n_items": items}
    if not n:
        return {**counts, "share": None, "interval": None}
    _, places = np.unique([item for _, item in found], return_inverse=True)
    ends = share_interval(np.array([mark for mark, _ in found]), places)
    return {**counts, "share": round(right / n, 4), "interval": _rounded(*ends)}


def auc(
    clean: Sequence[float],
    dirty: Sequence[float],
    clean_items: Sequence[str] | None = None,
    dirty_items: Sequence[str] | None = None,
) -> Figures:
    """The probability that a dirty photo scores over a clean one, with a 95 % interval.

    Args:
        clean: scores of clean photos.
        dirty: scores of dirty photos.
        clean_items, dirty_items: which items the photos show, where items show in several.

    Returns:
        ``value`` and ``interval`` (by the variance of DeLong et al. 1988, over items as Obuchowski
        1997 has it, on the scale of the logit, so that it stays inside 0 to 1), and both counts;
        null where one set is empty.

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
    under_items = [f"clean {i}" for i in range(m)] if clean_items is None else clean_items
    over_items = [f"dirty {i}" for i in range(n)] if dirty_items is None else dirty_items
    off = {"under": (under_dirty - value) / m, "over": (over_clean - value) / n}
    error = sqrt(_variance_by_item(off["under"], under_items, off["over"], over_items))
    if not 0 < value < 1 or error == 0:
        # No pair, or every pair, in order: as if half a pair were not.
        fewest = min(len(set(under_items)), len(set(over_items)))
        return {
            "value": round(value, 4),
            "interval": _rounded(*wilson_interval(round(value * fewest), fewest)),
            **counts,
        }
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

    Returns:
        Among others ``auc``: the level clean, specks included, against the others, as they are
        drawn; and the easier ``auc_spotless``: photos without any dirt against them. ``level`` is
        over all photos, ``level_with_dirt`` over those with any.
    """
    own = [row for row in rows if row.set == kind]
    clean = {row.twin: row for row in rows if row.set == CLEAN}
    dirty = [row for row in own if row.level > 0]
    below = [row for row in own if row.level == 0]
    touched = [row for row in own if row.share > 0]
    far = [row for row in own if min(abs(row.share - border) for border in borders) > plan.margin]
    return {
        "n": len(own),
        "level": told(own),
        "level_with_dirt": told(touched),
        "level_outside_margin": told(far),
        "ordinal_error": _mean(abs(row.answer - row.level) for row in own),
        "confusion": confusion(own),
        "auc": _auc_of(below, dirty),
        "auc_spotless": _auc_of(list(clean.values()), dirty),
        "dirt": share_of((row.dirt == row.dirt_answer, row.item) for row in own if row.dirt),
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
            name: told([row for row in chosen if row.level == level])
            for level, name in enumerate(LEVELS)
        }
    return table


def material_figures(dirty: Sequence[Row], clean: dict[str, Row]) -> Figures:
    """Material answers to dirty items, and to the same photos without their dirt."""
    pairs = [(row, clean[row.twin]) for row in dirty if row.twin in clean and row.material_answer]
    right = [(_knows(row), _knows(twin)) for row, twin in pairs]
    return {
        "dirty": share_of((_knows(row), row.item) for row, _ in pairs),
        "clean": share_of((_knows(twin), twin.item) for _, twin in pairs),
        "lost": sum(second and not first for first, second in right),
        "won": sum(first and not second for first, second in right),
    }


def map_figures(rows: Sequence[Row], near_px: int) -> Figures:
    """The pointing game on partly dirty items, and the overlap of map and dirt.

    ``chance`` and ``near_chance``: as often a point drawn on the item lies on dirt, and near it.
    """
    asked = [row for row in rows if row.peak >= 0]
    return {
        "hit": share_of((row.peak == 0, row.item) for row in asked),
        "near": share_of((row.peak <= near_px, row.item) for row in asked),
        "overlap": _mean(row.overlap for row in asked),
        "class_map": {
            "hit": share_of((row.peak_class == 0, row.item) for row in asked),
            "near": share_of((row.peak_class <= near_px, row.item) for row in asked),
            "overlap": _mean(row.overlap_class for row in asked),
        },
        "chance": _mean(row.by_chance for row in asked),
        "near_chance": _mean(row.near_by_chance for row in asked),
    }


def summary(kinds: dict[str, Figures]) -> Figures:
    """Means over kinds, and the worst kind of each figure.

    Args:
        kinds: figures of each kind; for unseen kinds each from its own model.
    """
    picked = {
        "auc": ("auc", "value"),
        "auc_spotless": ("auc_spotless", "value"),
        "level": ("level", "share"),
        "level_with_dirt": ("level_with_dirt", "share"),
        "level_outside_margin": ("level_outside_margin", "share"),
        "map_hit": ("map", "hit", "share"),
        "map_near": ("map", "near", "share"),
        "map_chance": ("map", "chance"),
        "map_near_chance": ("map", "near_chance"),
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
    errors = {kind: error for kind, error in errors.items() if error is not None}
    if errors:
        worst = max(errors, key=lambda kind: errors[kind])
        mean = round(float(np.mean(list(errors.values()))), 4)
        found["ordinal_error"] = {"mean": mean, "worst": worst, "most": errors[worst]}
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


def right_by_item(rows: Sequence[Row], task: str) -> dict[str, float]:
    """Per item the share of its photos answered right, to compare two models on the same items.

    Args:
        rows: of one model.
        task: ``material`` or ``contamination``.
    """
    found: dict[str, list[bool]] = {}
    for row in rows:
        right = _knows(row) if task == "material" else row.answer == row.level
        found.setdefault(row.item, []).append(right)
    return {item: float(np.mean(marks)) for item, marks in sorted(found.items())}


def told(rows: Sequence[Row]) -> Figures:
    """Of how many photos the level is told."""
    return share_of((row.answer == row.level, row.item) for row in rows)


def material_told(rows: Sequence[Row]) -> Figures:
    """Of how many photos the material is told."""
    return share_of((_knows(row), row.item) for row in rows)


def _auc_of(clean: Sequence[Row], dirty: Sequence[Row]) -> Figures:
    clean_scores, dirty_scores = ([1 - row.clean for row in rows] for rows in (clean, dirty))
    clean_items, dirty_items = ([row.item for row in rows] for rows in (clean, dirty))
    return auc(clean_scores, dirty_scores, clean_items, dirty_items)


def _knows(row: Row) -> bool:
    return row.material == row.material_answer


def _variance_by_item(
    under: NDArray[np.float64],
    under_items: Sequence[str],
    over: NDArray[np.float64],
    over_items: Sequence[str],
) -> float:
    """The variance of the sum of both, whose parts are independent between items alone."""
    names = {item: place for place, item in enumerate(dict.fromkeys([*under_items, *over_items]))}
    first, second = (
        np.bincount([names[item] for item in items], off, minlength=len(names))
        for off, items in ((under, under_items), (over, over_items))
    )
    counts = len(set(under_items)), len(set(over_items))
    small = [count / (count - 1) if count > 1 else 0.0 for count in (*counts, len(names))]
    both = 2 * small[2] * float(first @ second)
    return max(0.0, small[0] * float(first @ first) + small[1] * float(second @ second) + both)


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
