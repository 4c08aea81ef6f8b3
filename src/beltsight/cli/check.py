"""``beltsight check``"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaskOption, TaxonomyOption, open_dataset
from beltsight.cli.model_argument import open_model

if TYPE_CHECKING:
    from beltsight.dataset.health import (
        Duplicate,
        HealthReport,
        PartedGroup,
        PhotoRef,
        TaskHealth,
    )
    from beltsight.dataset.index import Dataset

# Rows of one kind in the table; the page and --json have all.
_ROWS = 20


def command(
    data: Annotated[Path, typer.Argument(help="A folder of class folders, or a CSV.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Also list photos that are probably mislabelled, by this model's features: "
            "a model file, or 'default'. Needs the 'lab' extra.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all findings as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with the photos.")
    ] = None,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds of --model.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 on any problem.")] = False,
) -> None:
    """Find corrupt, duplicate, leaking and mislabelled photos.

    Also counts of classes and splits, and odd sizes. Findings are a result, so the exit status
    is 0 unless --strict is given.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset.health import check_health
    from beltsight.report.check import write_check_page
    from beltsight.report.render import require_page
    from beltsight.taxonomy import load_taxonomy

    known = load_taxonomy(taxonomy)
    dataset = open_dataset(data, task or (), known)
    loaded = open_model(model) if model else None
    if html is not None:
        require_page(html)
    with stage_progress() as progress:
        report = check_health(dataset, model=loaded, seed=seed, progress=progress)
    if html is not None:
        write_check_page(report, dataset, html, taxonomy=known)
    if json:
        print_json(report.to_record())
    else:
        _print_report(report, dataset)
    if html is not None:
        note(f"beltsight: the page is {html}")
    if strict and report.problems:
        raise typer.Exit(1)


def _print_report(report: HealthReport, dataset: Dataset) -> None:
    from beltsight.cli.console import one_line, print_line

    splits = ", ".join(f"{name} {count:,}" for name, count in report.splits.items())
    print_line(f"{dataset.root}: {report.n_photos:,} photos ({splits})")
    for task in report.tasks:
        _print_counts(task)
    for title, findings in (
        ("Corrupt files", report.corrupt),
        ("Not what the name says", report.wrong_suffix),
        ("Odd sizes", report.odd_sizes),
    ):
        rows = [(one_line(f.photo.path), one_line(f.problem)) for f in findings]
        _print_rows(title, ("photo", "problem"), rows)
    _print_rows("Byte-identical", _PAIR, [_duplicate_row(group) for group in report.exact])
    # What does harm first: pairs that are merely doubled are many, and mostly harmless.
    near = sorted(report.near, key=lambda pair: (not pair.conflicts, not pair.splits))
    _print_rows("Near duplicates", _PAIR, [_duplicate_row(pair) for pair in near])
    parted = [_group_row(group) for group in report.parted_groups]
    _print_rows("Groups across splits", ("group", "photos", "for example"), parted)
    doubts = [
        (one_line(s.photo.path), s.task, s.label, s.suggestion, f"{s.probability:.0%}")
        for s in report.suspects or ()
    ]
    columns = ("photo", "task", "label", "suggestion", "probability")
    _print_rows("Probably mislabelled", columns, doubts)
    _print_verdict(report)


_PAIR = ("photos", "splits", "differing bits", "problem")


def _print_counts(task: TaskHealth) -> None:
    from beltsight.cli.console import print_table
    from beltsight.records import SPLITS

    present = {split for row in task.counts.values() for split in row}
    splits = [split for split in (*SPLITS, "none") if split in present]
    rows = [
        (name, *(f"{row.get(split, 0):,}" for split in splits), f"{sum(row.values()):,}")
        for name, row in task.counts.items()
    ]
    print_table(
        f"{task.name}: largest class / smallest {task.imbalance:.1f}",
        ("class", *splits, "all"),
        rows,
    )


def _print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from beltsight.cli.console import print_line, print_table

    if not rows:
        return
    print_table(f"{title}: {len(rows):,}", columns, rows[:_ROWS])
    if len(rows) > _ROWS:
        print_line(f"  ... and {len(rows) - _ROWS:,} more; see --html or --json")


def _duplicate_row(duplicate: Duplicate) -> tuple[str, ...]:
    from beltsight.cli.console import one_line

    problems = [f"{task}: two labels" for task in duplicate.conflicts]
    problems += ["across splits"] if duplicate.splits else []
    return (
        "\n".join(one_line(photo.path) for photo in duplicate.photos),
        "\n".join(_split(photo) for photo in duplicate.photos),
        str(duplicate.distance),
        "\n".join(problems),
    )


def _group_row(parted: PartedGroup) -> tuple[str, ...]:
    from beltsight.cli.console import one_line

    return (
        one_line(parted.group),
        "\n".join(f"{split} {count:,}" for split, count in parted.splits.items()),
        "\n".join(one_line(photo.path) for photo in parted.photos),
    )


def _split(photo: PhotoRef) -> str:
    return photo.split or "-"


def _print_verdict(report: HealthReport) -> None:
    from beltsight.cli.console import print_line

    if not report.problems:
        print_line("No problems found.")
        return
    counts = ", ".join(
        f"{count:,} {kind.replace('_', ' ')}" for kind, count in report.problems.items()
    )
    print_line(f"Found: {counts}.")
    for task in report.tasks:
        if task.few:
            print_line(f"{task.name}: few photos of {', '.join(task.few)}.")
        if task.unlabelled:
            print_line(f"{task.name}: {len(task.unlabelled):,} photos have no label.")
