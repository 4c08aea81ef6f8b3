"""Tables of the README: pure functions from a folder of results to Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.comparison import (
    LEVEL,
    Pair,
    against,
    agreement_by_size,
    best_name,
    failures,
    friedman_p,
    kept_error,
    mean_ranks,
    over_cells,
    rank_agreement,
    relu_effects,
)
from studies.relu_placement.formats import (
    counted,
    error_with,
    failed_is,
    listed,
    named,
    number,
    p_value,
    pair_cells,
    points,
    whole_number,
)
from studies.relu_placement.model import LAYERS, NAMES, PLACEMENTS, PUBLISHED_NAME
from studies.relu_placement.plan import Experiment
from studies.relu_placement.results import Row, read_errors, read_marks, read_rows

Floats = NDArray[np.float64]
NOTHING = "Not run yet."
_T = TypeVar("_T")


def one_size_text(folder: Path, experiment: Experiment, size_px: int) -> str:
    """The 16 placements of one size: errors, paired tests, dead units and zeros."""
    key = (experiment.variants[0].name, size_px)
    marks = read_marks(folder).get(key)
    if not marks:
        return NOTHING
    errors = read_errors(folder, experiment.column)[key]
    chosen = best_name(read_errors(folder, "val_error")[key])
    published, best = against(marks), against(marks, chosen)
    lost = failures(errors, experiment.chance)
    rows = [
        f"| placement | {experiment.split} error, 95 % interval | seeds "
        f"| against {PUBLISHED_NAME}, in points | p | against {chosen}, lowest on validation | p "
        "| dead units 1, 2, 3, 4 | zeros 1, 2, 3, 4 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    activity = read_rows(folder / "activity.csv")
    for name in sorted(marks, key=lambda name: -marks[name].mean()):
        place = NAMES.index(name)
        share = kept_error(marks[name], lost[:, place])
        seeds = " ".join(
            f"{error:.2f}" + "\\*" * bool(failed)
            for error, failed in zip(errors[:, place], lost[:, place], strict=True)
        )
        dead, zeros = (
            _by_layer(activity, name, key, column) for column in ("dead", "zeros")
        )  # fmt: skip
        rows.append(
            f"| {named(name)} | {error_with(share)} | {seeds} | "
            f"{pair_cells(published.get(name))} | {pair_cells(best.get(name))} | {dead} | {zeros} |"
        )
    count, n = next(iter(marks.values())).shape
    note = (
        f"N = {size_px}, {n:,} {experiment.split} photos, {counted(count, 'seed')}. "
        "Intervals and tests are over photos, seeds pooled: p by flipping signs of the "
        "differences, corrected by Holm for 15 comparisons; bold where the corrected p is below "
        "0.05 and every seed agrees in sign. "
        f"A star: {failed_is(experiment.chance)}; the error leaves these out, the "
        "comparisons do not. Dead: share of units that are zero for every validation photo; zeros: "
        "share of values, after the pool; in percent, mean over seeds, ? where the loss is no "
        "number."
    )
    told = statement(marks, published, experiment, size_px, chosen)
    return "\n".join(rows) + f"\n\n{note} {told}"


def statement(
    marks: Mapping[str, Floats],
    published: Mapping[str, Pair],
    experiment: Experiment,
    size_px: int,
    chosen: str,
) -> str:
    """In words, what the tests say of the published winner, and which one validation names."""
    place = 1 + sum(own.mean() > marks[PUBLISHED_NAME].mean() for own in marks.values())
    better = [name for name, pair in published.items() if pair.is_shown and pair.gap.mean < 0]
    worse = [name for name, pair in published.items() if pair.is_shown and pair.gap.mean > 0]
    share = kept_error(marks[chosen], np.zeros(len(marks[chosen]), bool))
    flatters = "" if experiment.test else ", on the photos that named it, which flatters"
    return (
        f"At N = {size_px} {PUBLISHED_NAME} is number {place} of {len(marks)} by "
        f"{experiment.split} error (an order after the fact: its first place flatters): shown to "
        f"be better than {len(worse)}, worse than {len(better)}{listed(better)}, and not told "
        f"apart from {len(published) - len(better) - len(worse)}. Lowest on validation is "
        f"{chosen}: {experiment.split} error {error_with(share)}{flatters}."
    )


def sizes_text(folder: Path, experiment: Experiment) -> str:
    """16 placements x sizes, ranks, and tests over cells and over photos."""
    base = experiment.variants[0].name
    errors = _by_size(read_errors(folder, experiment.column), base)
    marks = _by_size(read_marks(folder), base)
    if not errors or errors.keys() != marks.keys():
        return NOTHING
    cells = whole_cells(errors)
    everywhere = {name: np.concatenate([own[name] for own in marks.values()]) for name in NAMES}
    ranks = dict(zip(NAMES, mean_ranks(cells), strict=True))
    by_cell, by_photo = over_cells(cells), against(everywhere)
    columns = [_column(marks[size], failures(errors[size], experiment.chance)) for size in errors]
    head = " | ".join(f"N = {size}" for size in errors)
    rows = [
        f"| placement | {head} | mean rank | against {PUBLISHED_NAME}, cells | p | photos | p |",
        "|---" * (len(errors) + 6) + "|",
    ]
    for name in sorted(NAMES, key=lambda name: ranks[name].mean):
        each = " | ".join(column[name] for column in columns)
        rank = f"{ranks[name].mean:.1f} ({ranks[name].low:.1f} to {ranks[name].high:.1f})"
        rows.append(
            f"| {named(name)} | {each} | {rank} | {pair_cells(by_cell.get(name))} | "
            f"{pair_cells(by_photo.get(name), alone=True)} |"
        )
    agreement = agreement_by_size(errors)
    alike = " | ".join(number(agreement[size]) for size in errors)
    rows.append(f"| *ranks as at other sizes* | {alike} |" + " |" * 5)
    notes = [
        _sizes_note(errors, everywhere, experiment),
        sizes_statement(errors, by_cell, by_photo, experiment),
        _chosen_sentence(folder, everywhere, cells, experiment),
        agreement_sentence(errors),
        effects_sentence(cells, experiment.chance),
    ]
    return "\n".join(rows) + "\n\n" + " ".join(notes)


def _sizes_note(errors: dict[int, Floats], marks: Mapping[str, Floats], exp: Experiment) -> str:
    cells = whole_cells(errors)
    *fewer, most = sorted({len(found) for found in errors.values()})
    seeds = " or ".join([*map(str, fewer), counted(most, "seed")])
    n = next(iter(marks.values())).shape[1]
    return (
        f"{exp.split.capitalize()} error in percent on {n:,} photos, mean over {seeds} with "
        "its 95 % interval over photos; bold: the lowest of a size, of those of which no seed "
        f"failed; a star for each seed that did ({failed_is(exp.chance)}) and is left "
        f"out of the mean. Ranks (1 is best), median gaps in points and Wilcoxon's p are over "
        f"{len(cells)} cells of one size and seed, each with its own weights and order, while all "
        "share their photos of training and testing: this p speaks of other trainings on these "
        "photos. The last two columns are over photos, all cells pooled, failures among them: p "
        "speaks of other photos for these trainings. Each p is corrected by Holm for 15 "
        f"comparisons. Friedman's test of no difference at all: p {p_value(friedman_p(cells))}."
    )


def sizes_statement(
    errors: Mapping[int, Floats],
    by_cell: Mapping[str, Pair],
    by_photo: Mapping[str, Pair],
    experiment: Experiment,
) -> str:
    """In words, what both tests say of the published winner over all sizes."""
    cells, own = whole_cells(errors), NAMES.index(PUBLISHED_NAME)
    ranks = [share.mean for share in mean_ranks(cells)]
    place = 1 + sum(rank < ranks[own] for rank in ranks)
    shown = [n for n in by_cell if max(by_cell[n].p_holm, by_photo[n].p_holm) < LEVEL]
    better = [n for n in shown if by_cell[n].gap.mean < 0 and by_photo[n].gap.mean < 0]
    worse = [n for n in shown if by_cell[n].gap.mean > 0 and by_photo[n].gap.mean > 0]
    first = sum(int(np.median(found, axis=0).argmin()) == own for found in errors.values())
    lost = failures(cells, experiment.chance)[:, own].sum()
    return (
        f"Over {len(cells)} cells {PUBLISHED_NAME} is number {place} of {len(NAMES)} by mean rank, "
        f"has the lowest median at {first} of {len(errors)} sizes, and failed "
        f"{counted(lost, 'time')}; by both tests it is better than {len(worse)}, worse than "
        f"{len(better)}{listed(better)}, and not told apart from "
        f"{len(by_cell) - len(better) - len(worse)}."
    )


def _chosen_sentence(
    folder: Path, marks: Mapping[str, Floats], cells: Floats, experiment: Experiment
) -> str:
    """What validation would choose over all sizes, and how it does."""
    known = _by_size(read_errors(folder, "val_error"), experiment.variants[0].name)
    chosen = best_name(whole_cells(known))
    lost = failures(cells, experiment.chance)[:, NAMES.index(chosen)]
    share = kept_error(marks[chosen], lost)
    flatters = "" if experiment.test else ", on the photos that named it, which flatters"
    left_out = f", {lost.sum()} failed left out" if lost.any() else ""
    return (
        f"Lowest on validation over all sizes is {chosen}: mean {experiment.split} error "
        f"{share.mean:.2f} % ({share.low:.2f} to {share.high:.2f}{left_out}){flatters}."
    )


def agreement_sentence(errors: Mapping[int, Floats]) -> str:
    """Does the order depend on the size? Against how far seeds of one size agree."""
    within = [rank_agreement(own, own, apart=True) for own in errors.values() if len(own) > 1]
    across = list(agreement_by_size(errors).values())
    ends = rank_agreement(errors[min(errors)], errors[max(errors)])
    same = number(float(np.mean(within)) if within else float("nan"))
    return (
        "Does the order depend on N? Spearman's correlation of two trainings' orders is "
        f"{same} between seeds of one size, {number(float(np.mean(across)))} between sizes, and "
        f"{number(ends)} between N = {min(errors)} and {max(errors)}: what the first exceeds the "
        "others by is the size's."
    )


def effects_sentence(cells: Floats, chance: float) -> str:
    """What each ReLU changes, over cells."""
    effects = relu_effects(cells, chance)
    each = [f"ReLU {p + 1} {points(effect.gap)}" for p, effect in enumerate(effects)]
    return (
        "Effect of a ReLU in points, below zero it helps, paired, without what failed: "
        f"{', '.join(each[:3])} (where there is no ReLU 4); {each[3]}. Failed: "
        f"{effects[3].failed_with} of {effects[3].trainings} trainings with ReLU 4, "
        f"{effects[3].failed_without} of as many without."
    )


def jobs_text(folder: Path) -> str:
    """How long an experiment took, and on what."""
    rows = read_rows(folder / "jobs.csv")
    if not rows:
        return NOTHING
    own = [row for row in rows if not row["taken_from"]]
    minutes = sum(float(row["train_minutes"]) for row in own)
    taken = len(rows) - len(own)
    elsewhere = f" ({taken} trained in another experiment)" if taken else ""
    machines = sorted({f"{row['processor']}, {row['threads']} threads" for row in rows})
    commands = "; ".join(f"`{command}`" for command in sorted({row["command"] for row in rows}))
    return (
        f"{counted(len(rows), 'job')}{elsewhere}, {minutes:.0f} min of training "
        f"({'; '.join(machines)}): {commands}"
    )


def whole_cells(errors: Mapping[int, Floats]) -> Floats:
    """(cells, placements) of all sizes; a cell is a size and a seed."""
    return np.concatenate(list(errors.values()))


def activity_means(rows: Sequence[Row], key: tuple[str, int], column: str) -> Floats:
    """(placements, layers) in percent, mean over seeds that did not diverge.

    Args:
        rows: of activity.csv.
        key: variant and size.
        column: ``dead`` or ``zeros``.

    Returns:
        NaN where no ReLU stands, or every seed diverged.
    """
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if (row["variant"], int(row["size_px"])) == key:
            values.setdefault((row["placement"], row["layer"]), []).append(float(row[column]))
    found = np.full((len(PLACEMENTS), len(LAYERS)), np.nan)
    for place, name in enumerate(NAMES):
        for layer, title in enumerate(LAYERS):
            known = [value for value in values.get((name, title), []) if not np.isnan(value)]
            if known:
                found[place, layer] = 100 * np.mean(known)
    return found


def _by_size(found: Mapping[tuple[str, int], _T], variant: str) -> dict[int, _T]:
    return {size: each for (name, size), each in found.items() if name == variant}


def _column(marks: Mapping[str, Floats], lost: NDArray[np.bool_]) -> dict[str, str]:
    """A size's cells of the table."""
    shares = {name: kept_error(marks[name], lost[:, NAMES.index(name)]) for name in NAMES}
    whole = [shares[name].mean for name in NAMES if not lost[:, NAMES.index(name)].any()]
    found = {}
    for name, share in shares.items():
        stars = "\\*" * int(lost[:, NAMES.index(name)].sum())
        text = f"{share.mean:.2f}{stars}"
        text = f"**{text}**" if not stars and share.mean == min(whole) else text
        found[name] = f"{text} ({share.low:.2f} to {share.high:.2f})"
    return found


def _by_layer(rows: Sequence[Row], name: str, key: tuple[str, int], column: str) -> str:
    place = NAMES.index(name)
    values = zip(PLACEMENTS[place], activity_means(rows, key, column)[place], strict=True)
    return " ".join("-" if not relu else whole_number(value) for relu, value in values)
