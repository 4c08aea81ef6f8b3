"""Tables of the README on what the order of placements depends on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.comparison import (
    against,
    failures,
    kept_error,
    mean_ranks,
    rank_agreement,
    relu_effects,
)
from studies.relu_placement.formats import (
    error_with,
    failed_is,
    listed,
    named,
    number,
    p_value,
    points,
    whole_number,
)
from studies.relu_placement.model import NAMES, PUBLISHED_NAME
from studies.relu_placement.plan import Experiment, Variant
from studies.relu_placement.results import Row, read_errors, read_marks, read_rows
from studies.relu_placement.tables import NOTHING, activity_means

Floats = NDArray[np.float64]
_BASE = "base"


def factors_text(folder: Path, experiment: Experiment) -> str:
    """A line per variant: the best, the published winner, what each ReLU does, what failed."""
    errors, marks = read_errors(folder, "val_error"), read_marks(folder)
    size = experiment.sizes[0]
    known = [v for v in experiment.variants if (v.name, size) in errors.keys() & marks.keys()]
    if not known:
        return NOTHING
    activity = read_rows(folder / "activity.csv")
    base = errors.get((_BASE, size))
    rows = [
        f"| changed | best by rank, its error | {PUBLISHED_NAME} | its rank | p | ReLU 1 | ReLU 2 "
        "| ReLU 3 | ReLU 4 | ranks as in base | failed | dead units 1, 2, 3, 4 |",
        "|---" * 12 + "|",
    ]
    for variant in known:
        own = errors[variant.name, size]
        effects = " | ".join(points(each.gap) for each in relu_effects(own, experiment.chance))
        rows.append(
            f"| {_titled(variant)} | {_best_cells(own, marks[variant.name, size], experiment)} | "
            f"{effects} | {number(_agreement(own, base))} | {_failed_cell(own, experiment)} | "
            f"{_dead_cell(activity, (variant.name, size))} |"
        )
    return "\n".join(rows) + f"\n\n{_factors_note(marks[known[0].name, size], experiment)}"


def _factors_note(marks: dict[str, Floats], experiment: Experiment) -> str:
    n = next(iter(marks.values())).shape[1]
    return (
        f"Error on {n:,} validation photos with the 95 % interval over photos, seeds pooled, "
        "without what failed; the best is named on the same photos, which flatters it. Ranks are "
        f"means over seeds. p: the best against {PUBLISHED_NAME}, over photos, corrected by Holm "
        "for 15 comparisons. ReLU 1 to 4: error with it less error without, in points (below zero "
        "it helps), paired, the other ReLUs alike, without pairs that failed, with the 95 % t "
        "interval over seeds; ReLU 1 to 3 where there is no ReLU 4. Ranks as in base: Spearman's "
        "correlation of single trainings of different seeds; the line of base compares its own "
        "seeds, and no other line can be expected to reach more. Failed: trainings of "
        f"{PUBLISHED_NAME}, of all with ReLU 4, of all without ({failed_is(experiment.chance)}). "
        "Dead: share of units that are zero for every validation photo, mean over the placements "
        "with that ReLU; ? where every loss is no number."
    )


def _titled(variant: Variant) -> str:
    return f"{variant.name} ({variant.note})" if variant.note else variant.name


def _best_cells(errors: Floats, marks: dict[str, Floats], experiment: Experiment) -> str:
    """Four cells: the best with its error, the published winner's error, its rank, p."""
    lost = failures(errors, experiment.chance)
    ranks = [share.mean for share in mean_ranks(errors)]
    best, published = int(np.argmin(ranks)), NAMES.index(PUBLISHED_NAME)
    shares = [kept_error(marks[NAMES[place]], lost[:, place]) for place in (best, published)]
    place = 1 + sum(rank < ranks[published] for rank in ranks)
    told = "-" if best == published else p_value(against(marks)[NAMES[best]].p_holm)
    return f"{NAMES[best]} {error_with(shares[0])} | {error_with(shares[1])} | {place} | {told}"


def _agreement(own: Floats, base: Floats | None) -> float:
    if base is None:
        return float("nan")
    is_base = own.shape == base.shape and bool((own == base).all())
    return rank_agreement(own, base, apart=is_base or min(len(own), len(base)) > 1)


def _failed_cell(errors: Floats, experiment: Experiment) -> str:
    lost, effect = failures(errors, experiment.chance), relu_effects(errors, experiment.chance)[3]
    published = lost[:, NAMES.index(PUBLISHED_NAME)].sum()
    return (
        f"{published} of {len(errors)}, {effect.failed_with} of {effect.trainings}, "
        f"{effect.failed_without} of {effect.trainings}"
    )


def _dead_cell(rows: list[Row], key: tuple[str, int]) -> str:
    table = activity_means(rows, key, "dead")
    known = [column[~np.isnan(column)] for column in table.T]
    return " ".join(whole_number(float(each.mean()) if each.size else np.nan) for each in known)


def rates_text(folder: Path, experiment: Experiment) -> str:
    """Each placement at its own best rate: chosen on half of the photos, measured on the others."""
    size = experiment.sizes[0]
    marks, errors = read_marks(folder), read_errors(folder, "val_error")
    names = [
        v.name for v in experiment.variants if v.recipe.keys() <= {"rate"} and v.photos is None
    ]
    names = [name for name in names if (name, size) in marks.keys() & errors.keys()]
    if len(names) < 2 or _BASE not in names:
        return NOTHING
    # Stopped halfway, some rates have a seed more than others.
    seeds = min(len(errors[name, size]) for name in names)
    lost = {name: failures(errors[name, size][:seeds], experiment.chance) for name in names}
    chosen, kept, failed = {}, {}, {}
    for place, placement in enumerate(NAMES):
        own = {name: marks[name, size][placement][:seeds] for name in names}
        rate = max(names, key=lambda name: float(own[name][:, ::2].mean()))
        chosen[placement], kept[placement] = rate, own[rate][:, 1::2]
        failed[placement] = [int(lost[name][:, place].sum()) for name in names]
    rows = [
        f"| placement | best of {', '.join(names)} | error there | failed, by rate |",
        "|---|---|---|---|",
    ]
    shares = {
        name: kept_error(kept[name], lost[chosen[name]][:, NAMES.index(name)]) for name in NAMES
    }
    for name in sorted(NAMES, key=lambda name: shares[name].mean):
        counts = ", ".join(map(str, failed[name]))
        rows.append(f"| {named(name)} | {chosen[name]} | {error_with(shares[name])} | {counts} |")
    return "\n".join(rows) + f"\n\n{_rates_sentence(kept)}"


def _rates_sentence(kept: dict[str, Floats]) -> str:
    pairs = against(kept)
    better = [name for name, pair in pairs.items() if pair.is_shown and pair.gap.mean < 0]
    worse = [name for name, pair in pairs.items() if pair.is_shown and pair.gap.mean > 0]
    halves = next(iter(kept.values())).shape[1]
    return (
        f"Each placement at its own best rate, chosen on every other validation photo, measured on "
        f"the {halves:,} between: there {PUBLISHED_NAME} is shown to be better than {len(worse)}, "
        f"worse than {len(better)}{listed(better)} (over photos, Holm for 15, every seed agreeing "
        "in sign)."
    )
