"""Temperatures and threshold anew, on a plant's own labelled photos; answers stay as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beltsight.calibrate import fit_temperature, softmax
from beltsight.card import Card, TaskCard
from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import ConfigError, DatasetError, SplitError
from beltsight.evaluate import Evaluation, SampleWatch, TaskResult, evaluate
from beltsight.leak import LEAK_LIMIT
from beltsight.model import Model
from beltsight.selective import PurityChoice
from beltsight.threshold import set_threshold
from beltsight.train.export import restate_card


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What was found on the photos.

    Args:
        card: of the written file.
        n: photos.
        temperatures: per task, before and after.
        purity: how the threshold was chosen; None where no purity was asked for.
    """

    card: Card
    n: int
    temperatures: Mapping[str, tuple[float, float]]
    purity: PurityChoice | None

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "n": self.n,
            "temperatures": {
                name: {"before": before, "after": after}
                for name, (before, after) in self.temperatures.items()
            },
            "purity": self.purity and self.purity.to_record(),
        }


def recalibrate(
    model: Model,
    data: Dataset | str | os.PathLike[str],
    out: Path,
    *,
    split: str = "val",
    purity: float | None = None,
    progress: SampleWatch | None = None,
) -> Recalibration:
    """Fit temperatures, and a threshold where a purity is wanted, and write the model with them.

    Args:
        model: from a file.
        data: labelled photos from the place where the model works. Tasks that they do not label
            keep what they have.
        out: the model file to write.
        split: which of the photos; ``all`` for every one.
        purity: share of accepted answers to the first task that must be right, 0 to 1, ends
            excluded. None takes the threshold away, since it held for other temperatures.

    Raises:
        SplitError: the model has learned more than 5 % of the photos.
        DatasetError: no labels for a task of the model, or for the first where a purity is wanted.
        ConfigError: ``out`` is the model's own file, or a purity that is no share.
    """
    if model.path is None or out.resolve() == model.path.resolve():
        raise ConfigError(f"--out {out}: give another file than the model's own")
    if purity is not None and not 0 < purity < 1:
        raise ConfigError(f"a purity lies between 0 and 1, e.g. 0.97; got {purity}")
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    evaluation = evaluate(model, dataset, split, progress=progress)
    _refuse_learned(evaluation)
    tasks, temperatures = [], {}
    for task in model.card.tasks:
        result = evaluation.tasks.get(task.name)
        after = fit_temperature(result.logits, result.labels) if result else None
        tasks.append(_with_temperature(task, after))
        if after is not None:
            temperatures[task.name] = (task.temperature, after)
    choice = None
    if purity is not None:
        first = evaluation.tasks.get(tasks[0].name)
        if first is None:
            raise DatasetError(
                f"{dataset.root}: no photo has a label for {tasks[0].name}, whose purity is wanted"
            )
        tasks[0], choice = _sure(tasks[0], first, purity)
    card = model.card.model_copy(update={"tasks": tuple(tasks)})
    restate_card(model.path, card, out)
    return Recalibration(card, evaluation.n, temperatures, choice)


def _with_temperature(task: TaskCard, temperature: float | None) -> TaskCard:
    """The task with another temperature, for which its threshold does not hold; None: as it was."""
    if temperature is None:
        return task
    return task.model_copy(update={"temperature": temperature, "threshold": None, "purity": None})


def _sure(task: TaskCard, result: TaskResult, purity: float) -> tuple[TaskCard, PurityChoice]:
    probabilities = softmax(result.logits, task.temperature)
    return set_threshold(task, probabilities, result.labels, purity)


def _refuse_learned(evaluation: Evaluation) -> None:
    learned = len(evaluation.leak.learned)
    if learned > LEAK_LIMIT * evaluation.n:
        raise SplitError(
            f"{evaluation.data}: the model was trained on {learned} of these {evaluation.n} "
            "photos, of which it is too sure; calibrate on photos that it has not learned"
        )
