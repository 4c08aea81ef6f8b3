"""Progress of work that reports (what, done, in all), on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar per stage, where standard error is a terminal; gone when the work is done."""
    from rich.console import Console
    from rich.progress import Progress, TaskID

    console = Console(stderr=True)
    bars: dict[str, TaskID] = {}
    with Progress(console=console, transient=True, disable=not console.is_terminal) as display:

        def show(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = display.add_task(stage, total=total or None)
            display.update(bars[stage], completed=done, total=total or None)

        yield show
