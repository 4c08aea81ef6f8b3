"""``beltsight split``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beltsight.cli.dataset_options import TaskOption, TaxonomyOption

if TYPE_CHECKING:
    from beltsight.dataset.index import Dataset
    from beltsight.dataset.split import SplitPlan

# Of the columns that are left out; a table may have thousands.
_SHOWN_COLUMNS, _SHOWN_CHARS = 10, 40


def command(
    data: Annotated[Path, typer.Argument(help="A folder of class folders, or a CSV.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The CSV to write (default: DATA/splits.csv)."),
    ] = None,
    val: Annotated[float, typer.Option(help="Share of the photos for validation.")] = 0.15,
    test: Annotated[float, typer.Option(help="Share of the photos for the test.")] = 0.15,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same split.")] = 0,
    no_near: Annotated[
        bool, typer.Option("--no-near", help="Keep only groups and identical files together.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a CSV that is there.")] = False,
    task: TaskOption = None,
    taxonomy: TaxonomyOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Split a data set by class, keeping copies together.

    Photos of one item (the same group) and duplicates stay in one split.
    """
    from beltsight.cli.console import note, print_json
    from beltsight.cli.stage_progress import stage_progress
    from beltsight.dataset import load_dataset
    from beltsight.dataset.split import check_target, make_splits, write_splits
    from beltsight.taxonomy import load_taxonomy

    dataset = load_dataset(data, tasks=task or (), taxonomy=load_taxonomy(taxonomy))
    target = out or dataset.root / "splits.csv"
    # Before the photos are read, which takes minutes where they are many.
    check_target(dataset, target, force=force)
    note_unread(dataset, str(target))
    with stage_progress() as progress:
        plan = make_splits(
            dataset, val=val, test=test, seed=seed, near=not no_near, progress=progress
        )
    write_splits(plan.dataset, target, force=force)
    if json:
        print_json({"out": str(target), "seed": seed, **plan.to_record()})
    else:
        _print_plan(plan)
    if plan.corrupt:
        note(
            f"beltsight: {len(plan.corrupt)} photos do not decode and are split like the others; "
            f"see 'beltsight check {data}'"
        )
    note(f"beltsight: wrote {target}")


def note_unread(dataset: Dataset, target: str) -> None:
    """Say which columns of the data set's CSV the one to be written will not have."""
    from beltsight.cli.console import note, one_line

    if not dataset.unread:
        return
    shown = ", ".join(one_line(name)[:_SHOWN_CHARS] for name in dataset.unread[:_SHOWN_COLUMNS])
    more = f" and {rest} more" if (rest := len(dataset.unread) - _SHOWN_COLUMNS) > 0 else ""
    note(
        f"beltsight: left out of {target}: the columns {shown}{more}; to keep those that are "
        "labels, name every label column with --task"
    )


def _print_plan(plan: SplitPlan) -> None:
    from beltsight.cli.console import print_line, print_table
    from beltsight.records import SPLITS

    for task, table in plan.counts().items():
        rows = [
            (name, *(f"{row[split]:,}" for split in SPLITS), f"{sum(row.values()):,}")
            for name, row in table.items()
        ]
        print_table(task, ("class", *SPLITS, "all"), rows)
    print_line(
        f"{len(plan.dataset.samples):,} photos in {plan.n_parts:,} parts that stay whole; "
        f"the largest has {plan.largest_part:,}."
    )
