"""The options of ``beltsight predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PathsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...",
        help="Photos, folders (with all that lies below), quoted patterns ('in/*.jpg'), tar "
        "archives (.tar, .tar.gz), addresses (s3://bucket/in), or '-' for a list on standard "
        "input.",
        show_default=False,
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object a line; see 'beltsight schema predict'.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        dir_okay=False,
        help="Write to FILE instead: .jsonl, .csv or .parquet by its name.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with --out where an earlier run was ended.")
]
ExplainOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Write each photo with its heat map to DIR, named by the number of its line.",
    ),
]
NullOption = Annotated[
    bool, typer.Option("--null", help="The list ends each path with NUL, as 'find -print0'.")
]
