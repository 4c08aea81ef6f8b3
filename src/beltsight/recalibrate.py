"""Temperatures and thresholds anew, on a plant's own labelled photos; answers stay as they are."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beltsight.calibrate import (
    fit_temperature,
    likely_temperatures,
    softmax,
    temperature_doubt,
)
from beltsight.card import Card, TaskCard
from beltsight.dataset import Dataset, load_dataset
from beltsight.errors import ConfigError, DatasetError, SplitError
from beltsight.evaluation import Evaluation, SampleWatch, TaskResult, evaluate
from beltsight.leak import LEAK_LIMIT, with_marks
from beltsight.model import Model
from beltsight.model_file import require_onnx, restate_card
from beltsight.novelty import Novelty, refit_threshold
from beltsight.purity import StreamChoices
from beltsight.records import SPLITS
from beltsight.threshold import purity_task, set_threshold

# What a card states of a task that holds for one temperature only.
_OF_TEMPERATURE = {"temperature", "ece", "calibration_error", "reliability"}

_SAME_ITEMS = "some of these photos show the same item, and the proof counts each photo as one"


@dataclass(frozen=True, slots=True)
class FittedTemperature:
    """A task's temperature before and after, and the labelled photos that it was fitted on."""

    before: float
    after: float
    n: int


@dataclass(frozen=True, slots=True)
class FittedNovelty:
    """From where on a photo is unlike anything seen, and how many of the photos are.

    Args:
        before, after: the thresholds.
        called_before, called: photos that lie over them.
        n: photos.
    """

    before: float
    after: float
    called_before: int
    called: int
    n: int


@dataclass(frozen=True, slots=True)
class Recalibration:
    """What was found on the photos.

    Args:
        card: of the written file.
        n: photos.
        temperatures: per task.
        novelty: None where the model does not tell the strange.
        purities: how each task's threshold was chosen, the one first whose purity was asked for.
        by_card: those of them whose purity is that in the card before.
        doubts: what to know before believing all this, in sentences.
    """

    card: Card
    n: int
    temperatures: Mapping[str, FittedTemperature]
    novelty: FittedNovelty | None
    purities: Mapping[str, StreamChoices]
    by_card: tuple[str, ...]
    doubts: tuple[str, ...]

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        purities = []
        for name, choices in self.purities.items():
            record = choices.to_record()
            about = {"task": name, "by_card": name in self.by_card}
            purities.append({**about, **record["overall"], "per_class": record["per_class"]})
        return {
            "n": self.n,
            "temperatures": {name: asdict(found) for name, found in self.temperatures.items()},
            "novelty": self.novelty and asdict(self.novelty),
            "purity": purities[0] if purities else None,
            "further_purities": purities[1:],
            "doubts": list(self.doubts),
        }


def recalibrate(
    model: Model,
    data: Dataset | str | os.PathLike[str],
    out: Path,
    *,
    split: str = "val",
    purity: float | None = None,
    task: str | None = None,
    progress: SampleWatch | None = None,
) -> Recalibration:
    """Fit temperatures and thresholds, and write the model with them.

    The card of the new model marks the photos as known, so that no test is made of them later.

    Args:
        model: from a file.
        data: labelled photos from the place where the model works. Tasks that they do not label
            keep what they have.
        out: the model file to write.
        split: which of the photos, but not ``test``; ``all`` for every one, where none is
            ``test``.
        purity: share of accepted answers that must be right, 0 to 1, ends excluded. Thresholds
            hold for one temperature only: each other task, or each where this is None, gets a new
            one for the purity that its card names, and where it names none loses the one it had.
        task: whose answers; None for ``material``, or the first where there is none.

    Raises:
        SplitError: the model has learned more than 5 % of the photos, or they are for the test.
        DatasetError: no labels for a task of the model, or for the one whose purity is wanted.
        ConfigError: ``out`` is the model's own file, no such task, a purity that is no share, or a
            task alone, whose card names none.
        MissingExtraError: the ``lab`` extra, whose onnx writes the file, is not installed.
    """
    require_onnx("calibrating")
    _check(model, out, split, purity)
    targets = _targets(model.card.tasks, purity, task)
    dataset = data if isinstance(data, Dataset) else load_dataset(data)
    _refuse_test(dataset, split)
    evaluation = evaluate(model, dataset, split, progress=progress)
    _refuse_learned(evaluation)
    if purity is not None and (asked := next(iter(targets))) not in evaluation.tasks:
        raise DatasetError(
            f"{dataset.root}: no photo has a label for {asked}, whose purity is wanted"
        )
    temperatures = _fit_temperatures(model.card.tasks, evaluation)
    novelty, moved = _fit_novelty(model, evaluation)
    cards, choices = _fit_tasks(model.card.tasks, evaluation, temperatures, targets, novelty)
    if moved is not None and moved.after != moved.before:
        cards = [one if one.name in temperatures else _without_proof(one) for one in cards]
    files = (file for result in evaluation.tasks.values() for file in result.files)
    card = model.card.model_copy(
        update={
            "tasks": tuple(cards),
            "novelty": novelty and novelty.to_card(),
            "training": with_marks(model.card.training, files),
            "metrics": _without_calibration(model.card.metrics, temperatures),
        }
    )
    restate_card(model.path or out, card, out)
    return Recalibration(
        card=card,
        n=evaluation.n,
        temperatures=temperatures,
        novelty=moved,
        purities={name: choices[name] for name in targets if name in choices},
        by_card=tuple(name for name in choices if purity is None or name != next(iter(targets))),
        doubts=(
            *_doubts(evaluation, temperatures),
            *_losses(model.card.tasks, cards, temperatures),
        ),
    )


def _targets(cards: Sequence[TaskCard], purity: float | None, task: str | None) -> dict[str, float]:
    """The purity wanted of each task, that one first which is asked for."""
    wanted = cards[purity_task(cards, task)].name
    by_card = {card.name: card.purity.target for card in cards if card.purity is not None}
    if purity is None and task is not None and task not in by_card:
        raise ConfigError(
            f"a purity of {task} is to be set, but none is given and the model's card names none; "
            "give one, e.g. 0.97"
        )
    asked = by_card.get(wanted) if purity is None else purity
    first = {} if asked is None else {wanted: asked}
    return {**first, **by_card, **first}


def _check(model: Model, out: Path, split: str, purity: float | None) -> None:
    if model.path is None or out.resolve() == model.path.resolve():
        raise ConfigError(f"--out {out}: give another file than the model's own")
    if os.path.isdir(out) or not os.path.isdir(out.parent):
        raise ConfigError(f"--out {out}: give a file in a folder that exists and can be read")
    if purity is not None and not 0 < purity < 1:
        raise ConfigError(f"a purity lies between 0 and 1, e.g. 0.97; got {purity}")
    if split == "test":
        raise SplitError(
            "split 'test' is for measuring what comes out of this: what a model is calibrated on "
            "is no test any more; calibrate on --split val, or on other photos with --split all"
        )


def _refuse_test(dataset: Dataset, split: str) -> None:
    if split == "all" and "test" in dataset.splits:
        raise SplitError(
            f"{dataset.root}: 'all' takes the photos of split 'test', too, and what a model is "
            "calibrated on is no test any more; use --split val, or leave the test photos out"
        )


def _refuse_learned(evaluation: Evaluation) -> None:
    learned = len(evaluation.leak.learned)
    if learned > LEAK_LIMIT * evaluation.n:
        raise SplitError(
            f"{evaluation.data}: the model was trained on {learned} of these {evaluation.n} "
            "photos, of which it is too sure; calibrate on photos that it has not learned"
        )


def _known(evaluation: Evaluation) -> str:
    """Why these photos certify nothing; empty where they are new to the model."""
    if not evaluation.leak.checked:
        return "the model's card does not record which photos it knows"
    known = len(evaluation.leak.paths)
    if not known:
        return ""
    return (
        f"the model was trained on, chosen by or calibrated on {known} of these "
        f"{evaluation.n} photos"
    )


def _fit_temperatures(
    cards: Collection[TaskCard], evaluation: Evaluation
) -> dict[str, FittedTemperature]:
    found = {}
    for card in cards:
        if (result := evaluation.tasks.get(card.name)) is not None:
            after = fit_temperature(result.logits, result.labels, card.temperature)
            found[card.name] = FittedTemperature(card.temperature, after, len(result.labels))
    return found


def _fit_tasks(
    cards: Sequence[TaskCard],
    evaluation: Evaluation,
    temperatures: Mapping[str, FittedTemperature],
    targets: Mapping[str, float],
    novelty: Novelty | None,
) -> tuple[list[TaskCard], dict[str, StreamChoices]]:
    """The tasks with their temperatures and thresholds; those without labels stay as they were."""
    fitted = {card.name: card for card in cards}
    choices = {}
    for name, result in evaluation.tasks.items():
        # The threshold held for the temperature before.
        changes = {"temperature": temperatures[name].after, "threshold": None, "purity": None}
        fitted[name] = fitted[name].model_copy(update=changes)
        if name in targets:
            known = _known(evaluation) or ("" if result.items is None else _SAME_ITEMS)
            fitted[name], choices[name] = _sure(fitted[name], result, targets[name], novelty, known)
    return list(fitted.values()), choices


def _without_proof(task: TaskCard) -> TaskCard:
    """What is called strange has changed, and so have the photos that its threshold accepts."""
    if task.purity is None or not task.purity.certified:
        return task
    purity = task.purity.model_copy(update={"certified": False})
    return task.model_copy(update={"purity": purity})


def _fit_novelty(
    model: Model, evaluation: Evaluation
) -> tuple[Novelty | None, FittedNovelty | None]:
    """What is strange, by photos that are known to be no strangers."""
    if model.novelty is None:
        return None, None
    of_photo: dict[str, float] = {}
    for result in evaluation.tasks.values():
        if result.novelties is not None:
            of_photo.update(zip(result.paths, result.novelties.tolist(), strict=True))
    scores = np.array(list(of_photo.values()))
    before, novelty = model.novelty.threshold, refit_threshold(model.novelty, scores)
    return novelty, FittedNovelty(
        before=before,
        after=novelty.threshold,
        called_before=int((scores > before).sum()),
        called=int((scores > novelty.threshold).sum()),
        n=len(scores),
    )


def _sure(
    task: TaskCard, result: TaskResult, purity: float, novelty: Novelty | None, known: str
) -> tuple[TaskCard, StreamChoices]:
    novel = None
    if novelty is not None and result.novelties is not None:
        novel = result.novelties > novelty.threshold
    guesses = [
        softmax(result.logits, temperature).max(axis=1)
        for temperature in likely_temperatures(result.temperature)
    ]
    return set_threshold(
        task,
        softmax(result.logits, task.temperature),
        result.labels,
        purity,
        # By the card's temperature: the new one has seen these labels.
        before=np.stack(guesses),
        novel=novel,
        known=known,
        items=result.items,
    )


def _without_calibration(metrics: Mapping[str, Any], tasks: Collection[str]) -> dict[str, Any]:
    """Figures of a card less what held for the temperatures before."""

    def cleared(record: Mapping[str, Any]) -> dict[str, Any]:
        figures = record.get("tasks")
        if not isinstance(figures, Mapping):
            return dict(record)
        kept = {
            name: {key: value for key, value in one.items() if key not in _OF_TEMPERATURE}
            if name in tasks and isinstance(one, Mapping)
            else one
            for name, one in figures.items()
        }
        return {key: value for key, value in record.items() if key != "confidence"} | {
            "tasks": kept
        }

    found = cleared(metrics)
    of_split = {name: found[name] for name in SPLITS if isinstance(found.get(name), Mapping)}
    return found | {name: cleared(record) for name, record in of_split.items()}


def _doubts(
    evaluation: Evaluation, temperatures: Mapping[str, FittedTemperature]
) -> tuple[str, ...]:
    said = []
    if evaluation.leak.paths:
        said.append(f"{_known(evaluation)}: its confidence on them is too good")
    for name, result in evaluation.tasks.items():
        right = len(result.labels) - len(result.mistakes)
        doubt = temperature_doubt(len(result.labels), right, temperatures[name].after)
        if doubt:
            said.append(f"the temperature of {name}: {doubt}")
        if result.absent:
            said.append(f"no photo of {name} {', '.join(result.absent)}: nothing is known of it")
    return tuple(said)


def _losses(
    before: Sequence[TaskCard], after: Sequence[TaskCard], fitted: Collection[str]
) -> Iterator[str]:
    """What a task had and has no more."""
    for old, new in zip(before, after, strict=True):
        if old.threshold is not None and new.threshold is None:
            yield (
                f"{old.name}: its threshold {old.threshold:.3f} held for the temperature before "
                "and is taken away, since the model's card names no purity to set another for"
            )
        if old.name not in fitted and new != old:
            yield (
                f"{old.name}: its purity is certified no more, since other photos are called "
                "unlike anything seen than when it was, and none of these is labelled for it"
            )
