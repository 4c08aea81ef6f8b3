"""``beltsight schema``"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Shape(StrEnum):
    """The shapes that scripts may rely on."""

    PREDICT = "predict"
    EVALUATE = "evaluate"


_FILES = {Shape.PREDICT: "prediction.schema.json", Shape.EVALUATE: "metrics.schema.json"}


def command(
    shape: Annotated[
        Shape,
        typer.Argument(help="The command whose JSON is described.", show_default=False),
    ],
) -> None:
    """Print the JSON Schema of what a command writes.

    The schema is of draft 2020-12. For predict it describes one line.
    """
    from beltsight.cli.console import print_line
    from beltsight.config import ASSETS

    text = (ASSETS / "schemas" / _FILES[shape]).read_text(encoding="utf-8")
    for line in text.rstrip().splitlines():
        print_line(line)
