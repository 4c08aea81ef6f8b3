"""How far ``beltsight predict`` is, how fast, and how long it will take."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

T = TypeVar("T")


class RateColumn(ProgressColumn):
    """Photos per second of the last while."""

    def render(self, task: Task) -> Text:
        """The rate, empty before there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} photos/s" if speed else "", style="progress.data.speed")


def watched(answers: Generator[T], done: int, total: int | None) -> Generator[T]:
    """Go through answers with a bar on standard error.

    Args:
        answers: closed at the end.
        done: how many an earlier run has answered.
        total: of all photos, those done among them, where that is known.
    """
    last = TimeElapsedColumn() if total is None else TimeRemainingColumn()
    columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), RateColumn(), last)
    console = Console(stderr=True)
    with closing(answers), Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total, completed=done)
        for answer in answers:
            yield answer
            progress.advance(task)
