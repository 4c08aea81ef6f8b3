"""The answers to photos under one change, and the file that keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import BeltsightError
from beltsight.files import whole

NOT_ASKED = -1
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Answers to photos under one change.

    Args:
        change: a name of :data:`beltsight.scene.damage.CHANGES`, or ``plain``.
        amounts: the neutral one first.
        labels: per task int64 (amounts, photos) of class indices; -1 where it was not asked.
        answers: the same for what the model said.
    """

    change: str
    amounts: tuple[float, ...]
    labels: Mapping[str, _Ints]
    answers: Mapping[str, _Ints]


def read_answers(
    file: Path, change: str, amounts: tuple[float, ...], tasks: Sequence[str]
) -> Answered | None:
    """What was kept; None where there is none, or it is damaged (cut off with the power)."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as kept:
            labels = {task: kept[f"labels {task}"] for task in tasks}
            return Answered(change, amounts, labels, {t: kept[f"answers {t}"] for t in tasks})
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None


def write_answers(file: Path, answered: Answered) -> None:
    """Keep answers, whole or not at all.

    Raises:
        BeltsightError: they cannot be written there.
    """
    arrays = {f"labels {task}": rows for task, rows in answered.labels.items()}
    arrays |= {f"answers {task}": rows for task, rows in answered.answers.items()}
    try:
        with whole(file) as draft, draft.open("wb") as out:
            np.savez(out, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise BeltsightError(f"{file}: cannot be written: {error.strerror}") from error


def make_folder(folder: Path) -> None:
    """A folder for answers, before any is asked for.

    Raises:
        BeltsightError: there can be none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BeltsightError(f"{folder}: cannot be written: {error.strerror}") from error
