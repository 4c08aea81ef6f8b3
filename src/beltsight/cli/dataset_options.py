"""The options about a data set's splits and labels that commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from beltsight.dataset.index import Dataset
    from beltsight.taxonomy import Taxonomy

_SHOWN_COLUMNS = 5
_OF_MADE_PHOTOS = ("source", "share", "kinds", "harmless")


def open_dataset(data: Path, tasks: Sequence[str], taxonomy: Taxonomy) -> Dataset:
    """The data set, having said which columns of its CSV serve for nothing: one may be misspelt."""
    import difflib

    from beltsight.cli.console import note, one_line
    from beltsight.dataset import load_dataset

    dataset = load_dataset(data, tasks=tasks, taxonomy=taxonomy)
    known = [*taxonomy.tasks, "group", "split", "mask"]
    # A task that --task leaves out is no mistake, nor is what 'soil' and '--crops' write.
    unread = [name for name in dataset.unread if name not in (*known, *_OF_MADE_PHOTOS)]
    shown = []
    for name in unread[:_SHOWN_COLUMNS]:
        near = difflib.get_close_matches(name, known, n=1)
        shown.append(one_line(name)[:40] + (f" (did you mean {near[0]!r}?)" if near else ""))
    more = f" and {rest} more" if (rest := len(unread) - _SHOWN_COLUMNS) > 0 else ""
    if shown:
        note(
            f"beltsight: columns that are passed over: {', '.join(shown)}{more}; --task NAME takes "
            "a column for labels"
        )
    return dataset


class Split(StrEnum):
    """Photos of a data set."""

    TEST = "test"
    VAL = "val"
    TRAIN = "train"
    ALL = "all"


SplitOption = Annotated[Split, typer.Option("--split", help="Which photos; 'all' needs no splits.")]
TaxonomyOption = Annotated[
    Path | None,
    typer.Option(
        "--taxonomy",
        metavar="FILE",
        help="Tasks, classes and their display names in TOML (default: the packaged ones).",
    ),
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="A label column of the CSV, or the task of class folders; may be given again.",
    ),
]
