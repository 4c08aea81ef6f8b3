"""Tables of the README: pure functions from a folder of results to Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.comparison import (
    Pair,
    against_published,
    against_rest,
    failures,
    friedman_p,
    mean_ranks,
    over_cells,
    rank_agreement,
    relu_effects,
)
from studies.relu_placement.model import LAYERS, NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.relu_placement.plan import Experiment
from studies.relu_placement.results import Row, read_errors, read_marks, read_rows
from studies.tables import Share, pooled

Floats = NDArray[np.float64]
NOTHING = "Not run yet."


def one_size_text(folder: Path, experiment: Experiment, size_px: int) -> str:
    """The 16 placements of one size: errors, paired tests, dead units and zeros."""
    marks = read_marks(folder, size_px)
    if not marks:
        return NOTHING
    split = "test" if experiment.test else "validation"
    published, rest = against_published(marks), against_rest(marks)
    rows = [
        f"| placement | {split} error, 95 % interval | seeds | against {PUBLISHED_NAME}, in points "
        "| p | against the others' mean | p | dead units 1, 2, 3, 4 | zeros 1, 2, 3, 4 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    activity = read_rows(folder / "activity.csv")
    for name in sorted(marks, key=lambda name: -marks[name].mean()):
        share = pooled(marks[name])
        seeds = " ".join(f"{100 - 100 * each:.2f}" for each in marks[name].mean(axis=1))
        shown = f"**{name}**" if name == PUBLISHED_NAME else name
        dead, zeros = (
            _by_layer(activity, name, size_px, column) for column in ("dead", "zeros")
        )  # fmt: skip
        rows.append(
            f"| {shown} | {100 - 100 * share.mean:.2f} % ({100 - 100 * share.high:.2f} to "
            f"{100 - 100 * share.low:.2f}) | {seeds} | {_pair(published.get(name))} | "
            f"{_pair(rest[name])} | {dead} | {zeros} |"
        )
    count, n = next(iter(marks.values())).shape
    note = (
        f"N = {size_px}, {n:,} {split} photos, {count} seeds. Intervals and tests are over photos, "
        "seeds pooled: p by flipping signs of the differences, corrected by Holm for 15 and for 16 "
        "comparisons; bold where the corrected p is below 0.05 and every seed agrees in sign. "
        "Dead: share of units that are zero for every validation photo; zeros: share of values, "
        "after the pool; in percent, mean over seeds."
    )
    return "\n".join(rows) + f"\n\n{note} {statement(marks, published, size_px)}"


def statement(marks: dict[str, Floats], published: dict[str, Pair], size_px: int) -> str:
    """In one sentence, what the paired tests say of the published winner."""
    place = 1 + sum(own.mean() > marks[PUBLISHED_NAME].mean() for own in marks.values())
    better = [name for name, pair in published.items() if pair.is_shown and pair.gap.mean < 0]
    worse = [name for name, pair in published.items() if pair.is_shown and pair.gap.mean > 0]
    return (
        f"At N = {size_px} {PUBLISHED_NAME} is number {place} of {len(marks)}: shown to be better "
        f"than {len(worse)}, worse than {len(better)}"
        + (f" ({', '.join(better)})" if better else "")
        + f", and not told apart from {len(published) - len(better) - len(worse)}."
    )


def sizes_text(folder: Path, experiment: Experiment) -> str:
    """16 placements x sizes, ranks, and tests over all cells."""
    column = "test_error" if experiment.test else "val_error"
    errors = {size: found for (_, size), found in read_errors(folder, column).items()}
    if not errors:
        return NOTHING
    cells = whole_cells(errors)
    ranks = dict(zip(NAMES, mean_ranks(cells), strict=True))
    gaps = over_cells(cells)
    middles = {size: np.median(found, axis=0) for size, found in errors.items()}
    head = " | ".join(f"N = {size}" for size in middles)
    rows = [
        f"| placement | {head} | mean rank | against {PUBLISHED_NAME} | p |",
        "|---" * (len(middles) + 4) + "|",
    ]
    for name in sorted(NAMES, key=lambda name: ranks[name].mean):
        place = NAMES.index(name)
        each = " | ".join(_cell(errors[size], place, middle) for size, middle in middles.items())
        shown = f"**{name}**" if name == PUBLISHED_NAME else name
        rank = f"{ranks[name].mean:.1f} ({ranks[name].low:.1f} to {ranks[name].high:.1f})"
        rows.append(f"| {shown} | {each} | {rank} | {_pair(gaps.get(name))} |")
    seeds = sorted({len(found) for found in errors.values()})
    note = (
        f"{'Test' if experiment.test else 'Validation'} error in percent, median over "
        f"{' or '.join(map(str, seeds))} seeds; bold: the lowest of a size; a star for each seed "
        "that failed (over 1.5 times the lower quartile of its cell and 5 points). Ranks (1 is "
        f"best), median gaps in points and Wilcoxon's p are over {len(cells)} cells of one size "
        "and seed, p corrected by Holm for 15 comparisons; Friedman's test of no difference at "
        f"all: p {_p(friedman_p(cells))}. "
        f"{effects_sentence(cells)}"
    )
    return "\n".join(rows) + f"\n\n{note}"


def factors_text(folder: Path, experiment: Experiment) -> str:
    """A line per variant: the best, the published winner, and what each ReLU does."""
    errors = {name: found for (name, _), found in read_errors(folder, "val_error").items()}
    if not errors:
        return NOTHING
    rows = [
        f"| changed | best, its error | {PUBLISHED_NAME} | its rank | ReLU 1 | ReLU 2 | ReLU 3 | "
        "ReLU 4 | ranks as in base | failed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for variant in experiment.variants:
        if variant.name not in errors:
            continue
        own = errors[variant.name]
        middle = np.median(own, axis=0)
        best, published = int(middle.argmin()), NAMES.index(PUBLISHED_NAME)
        rank = 1 + int((middle < middle[published]).sum())
        lost = failures(own)
        failed = f"{lost[:, published].sum()}, {lost.sum()}"
        effects = " | ".join(_points(share) for share in relu_effects(own))
        same = f"{rank_agreement(own, errors['base']):.2f}" if "base" in errors else "-"
        shown = f"{variant.name} ({variant.note})" if variant.note else variant.name
        rows.append(
            f"| {shown} | {NAMES[best]} {middle[best]:.2f} % | {middle[published]:.2f} % | {rank} "
            f"| {effects} | {same} | {failed} of {lost.size} |"
        )
    note = (
        "Validation error, median over seeds. ReLU 1 to 4: the median error of the eight "
        "placements with that ReLU less that of the eight without, in points (below zero it "
        "helps), with the 95 % t interval over seeds. Ranks: Spearman's correlation with the "
        f"base's. Failed: trainings of {PUBLISHED_NAME}, and of all placements (over 1.5 times the "
        "lower quartile of a seed and 5 points)."
    )
    return "\n".join(rows) + f"\n\n{note}"


def jobs_text(folder: Path) -> str:
    """How long an experiment took, and on what."""
    rows = read_rows(folder / "jobs.csv")
    if not rows:
        return NOTHING
    minutes = sum(float(row["train_minutes"]) for row in rows)
    machines = sorted({f"{row['processor']}, {row['threads']} threads" for row in rows})
    commands = sorted({row["command"] for row in rows})
    return f"{len(rows)} jobs, {minutes:.0f} min of training ({'; '.join(machines)}): " + "; ".join(
        f"`{command}`" for command in commands
    )


def whole_cells(errors: dict[int, Floats]) -> Floats:
    """(cells, placements) of all sizes; a cell is a size and a seed."""
    return np.concatenate(list(errors.values()))


def effects_sentence(cells: Floats) -> str:
    """What each ReLU changes, over cells."""
    each = [f"ReLU {p + 1} {_points(share)}" for p, share in enumerate(relu_effects(cells))]
    return f"Effect of a ReLU in points (below zero it helps): {', '.join(each)}."


def activity_means(rows: Sequence[Row], size_px: int, column: str, variant: str = "base") -> Floats:
    """(placements, layers) in percent, mean over seeds; NaN where no ReLU stands."""
    found = np.full((len(PLACEMENTS), len(LAYERS)), np.nan)
    for place, name in enumerate(NAMES):
        for layer, title in enumerate(LAYERS):
            values = [
                float(row[column])
                for row in rows
                if (row["placement"], row["layer"]) == (name, title)
                and (row["variant"], int(row["size_px"])) == (variant, size_px)
            ]
            if values:
                found[place, layer] = 100 * np.mean(values)
    return found


def _cell(errors: Floats, place: int, middle: Floats) -> str:
    """A placement's median at one size; bold where it is the lowest, starred where seeds failed."""
    text = f"{middle[place]:.2f}"
    text = f"**{text}**" if middle[place] == middle.min() else text
    return text + "\\*" * int(failures(errors)[:, place].sum())


def _by_layer(rows: Sequence[Row], name: str, size_px: int, column: str) -> str:
    values = activity_means(rows, size_px, column)[NAMES.index(name)]
    return " ".join("-" if np.isnan(value) else f"{value:.0f}" for value in values)


def _pair(pair: Pair | None) -> str:
    """Two cells of a table."""
    if pair is None:
        return "- | -"
    shown = f"**{_p(pair.p_holm)}**" if pair.is_shown else _p(pair.p_holm)
    return f"{_points(pair.gap)} | {shown}"


def _points(share: Share) -> str:
    if np.isnan(share.low):
        return f"{share.mean:+.2f}"
    return f"{share.mean:+.2f} ({share.low:+.2f} to {share.high:+.2f})"


def _p(value: float) -> str:
    return f"{value:.2g}" if not value < 0.001 else "< 0.001"
