"""The figures of each epoch, on disk as soon as it ends: CSV, and TensorBoard where asked for."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

from beltsight.errors import MissingExtraError, TrainError
from beltsight.files import whole
from beltsight.train.loop import EpochDone

Keep = Callable[[Sequence[EpochDone]], None]


@contextmanager
def kept_history(folder: Path, *, tensorboard: bool) -> Iterator[Keep]:
    """Gives a function that is told all epochs so far after each of them.

    Args:
        folder: of the run; gets ``metrics.csv`` and, where asked for, ``tensorboard/``.
        tensorboard: also write TensorBoard events.

    Raises:
        MissingExtraError: TensorBoard is asked for and not installed.
    """
    if not tensorboard:
        yield lambda history: write_csv(folder / "metrics.csv", history)
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("tensorboard = true", "tensorboard") from error
    with SummaryWriter(str(folder / "tensorboard")) as writer:

        def keep(history: Sequence[EpochDone]) -> None:
            write_csv(folder / "metrics.csv", history)
            last = history[-1]
            for name in ("learning_rate", "train_loss", "val_loss", "val_accuracy"):
                writer.add_scalar(name, getattr(last, name), last.epoch)
            writer.flush()

        yield keep


def write_csv(path: Path, history: Sequence[EpochDone]) -> None:
    """One row per epoch, under the field names of :class:`EpochDone`; complete or not at all."""
    try:
        with whole(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochDone)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in history)
    except OSError as error:
        raise TrainError(f"{path}: cannot be written: {error.strerror}") from error
