"""The options about a data set's labels that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
