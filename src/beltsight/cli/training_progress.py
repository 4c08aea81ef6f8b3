"""Progress of a training run on standard error: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from beltsight.train.activations import CachePlanned, CacheProgress
from beltsight.train.loop import BatchDone, EpochDone, Event
from beltsight.train.plan import Pace, RunPlanned

_SECONDS_TO_ESTIMATE = 60


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
        self._cache = self._bar.add_task("frozen layers", total=None, visible=False)
        self._start = time.monotonic()
        self._epochs = 0
        self._plan: RunPlanned | None = None
        self._learned_s = 0.0
        self._planned_at_start: float | None = None
        self._last_step = 0.0
        self._estimated = False

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
            self._console.print(
                "beltsight: stopped; go on with --resume, which learns again what is younger than "
                "the last checkpoint: half a minute, or an epoch where one takes longer"
            )

    def preparing(self, done: int, total: int) -> None:
        """Photos prepared so far."""
        self._bar.update(self._prepare, completed=done, total=total, visible=done < total)
        if done == total:
            self._start = time.monotonic()

    def doubt(self, sentence: str) -> None:
        """What to know before believing the figures."""
        self._print(f"beltsight: {sentence}")

    def watch(self, event: Event) -> None:
        """Something is planned, or done."""
        match event:
            case RunPlanned():
                self._plan, self._start = event, time.monotonic()
            case CachePlanned():
                self._print(
                    f"computing the frozen layers once: {event.rows:,} views, "
                    f"{event.size_bytes / 1e9:.1f} GB, about {_duration(event.seconds)} "
                    f"({event.engine})"
                )
            case CacheProgress():
                self._bar.update(
                    self._cache,
                    completed=event.done,
                    total=event.rows,
                    visible=event.done < event.rows,
                )
            case BatchDone():
                self._step(event)
            case EpochDone():
                self._print(
                    f"epoch {event.epoch:3d}/{self._epochs}  train loss {event.train_loss:.3f}  "
                    f"val loss {event.val_loss:.3f}  val accuracy {event.val_accuracy:.1%}  "
                    f"{_duration(event.seconds)}{self._left(event.epoch, 0.0)}"
                )

    def _step(self, event: BatchDone) -> None:
        plan, done, now = self._plan, event.epoch - 1, time.monotonic()
        assert plan is not None
        part = event.batch / event.batches
        self._epochs = event.epochs
        if self._planned_at_start is None:  # a run that goes on has done a part before
            self._planned_at_start = plan.seconds_done(done, part, caching=False)
        elif event.batch > 1:  # validation, caching and checkpoints lie between epochs
            self._learned_s += now - self._last_step
        self._last_step = now
        self._bar.update(
            self._learn,
            completed=plan.seconds_done(done, part),
            total=plan.seconds,
            description=f"epoch {event.epoch}/{event.epochs}  loss {event.loss:.3f}",
            visible=True,
        )
        if not self._estimated and now - self._start > _SECONDS_TO_ESTIMATE:
            self._estimated = True
            self._print(f"after the first minute:{self._left(done, part)}")

    def _left(self, epoch: int, part: float) -> str:
        plan = self._plan
        assert plan is not None
        planned = plan.seconds_done(epoch, part, caching=False) - (self._planned_at_start or 0.0)
        seconds = plan.seconds_left(epoch, part, Pace(self._learned_s, planned))
        return f"  about {_duration(seconds)} left" if seconds >= 1 else ""

    def _print(self, text: str) -> None:
        # One line an event in a log, too.
        self._console.print(text, highlight=False, soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
