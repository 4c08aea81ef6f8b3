"""Progress of a training run on standard error: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from beltsight.train.loop import BatchDone, EpochDone


class TrainingProgress:
    """Shows events of a run; a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._prepare = self._bar.add_task("preparing photos", total=None)
        self._learn = self._bar.add_task("learning", total=None, visible=False)
        self._start = time.monotonic()
        self._epochs = 0
        self._first_epoch: int | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        if isinstance(error, KeyboardInterrupt):
            self._console.print("stopped; the last complete epoch is kept: go on with --resume")

    def preparing(self, done: int, total: int) -> None:
        """Photos prepared so far."""
        self._bar.update(self._prepare, completed=done, total=total)
        if done == total:
            self._bar.update(self._prepare, visible=False)
            self._start = time.monotonic()

    def watch(self, event: BatchDone | EpochDone) -> None:
        """A step or an epoch is done."""
        if isinstance(event, BatchDone):
            self._first_epoch = self._first_epoch or event.epoch
            self._epochs = event.epochs
            done = (event.epoch - 1) * event.batches + event.batch
            total = event.epochs * event.batches
            text = f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}"
            self._bar.update(
                self._learn, completed=done, total=total, description=text, visible=True
            )
            return
        self._console.print(
            f"epoch {event.epoch:3d}/{self._epochs}  train loss {event.train_loss:.3f}  "
            f"val loss {event.val_loss:.3f}  val accuracy {event.val_accuracy:.1%}  "
            f"{event.seconds:.0f} s{self._left(event.epoch)}",
            highlight=False,
            soft_wrap=True,  # one line an epoch in a log, too
        )

    def _left(self, epoch: int) -> str:
        done = epoch - (self._first_epoch or 1) + 1
        seconds = (time.monotonic() - self._start) / done * (self._epochs - epoch)
        return f"  about {seconds / 60:.0f} min left" if seconds > 60 else ""
