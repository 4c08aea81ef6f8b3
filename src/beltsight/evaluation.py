"""A model and labelled photos -> an Evaluation, with the doubts that belong beside its figures.

Photos are streamed: what stays in memory is one row of logits, a label and a path per photo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.calibrate import softmax
from beltsight.card import Card
from beltsight.confidence import confidence_figures
from beltsight.config import nearest
from beltsight.dataset.duplicates import hash_photos, items_of
from beltsight.dataset.index import Dataset, load_dataset
from beltsight.errors import DatasetError, ImageError
from beltsight.leak import Leak, find_leak, refuse_known
from beltsight.metrics import share_interval, task_metrics
from beltsight.model import Model
from beltsight.records import Floats, Sample, TaskSpec

SampleWatch = Callable[[Sequence[Sample]], Iterable[Sample]]
"""Gives the samples on one by one, as ``tqdm.tqdm`` does."""

_MAX_TWIN_PATHS = 50
_Row = tuple[Sample, dict[str, Floats], float | None]  # logits per task, novelty


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong answer.

    Args:
        path: the photo, relative to the data set.
        file: the photo's file.
        truth: its label.
        answer: what the model said.
        confidence: calibrated probability of the answer.
        truth_probability: calibrated probability of the truth.
    """

    path: str
    file: Path
    truth: str
    answer: str
    confidence: float
    truth_probability: float


@dataclass(frozen=True)
class TaskResult:
    """The answers to one task, on the photos that are labelled for it.

    Args:
        task: its classes.
        temperature: of the model's calibration.
        threshold: confidence from which on the model does not abstain, or None.
        paths: (N,) relative to the data set.
        files: (N,) the photos.
        labels: int64 (N,) class indices.
        logits: float32 (N, C).
        novelties: float64 (N,) how unlike anything seen the photos look, or None where the model's
            card does not say.
        novel: bool (N,) whether the model abstains for that, or None.
        items: int64 (N,) which item each photo shows, by the samples' groups; None where each
            shows its own. It widens the intervals.
    """

    task: TaskSpec
    temperature: float
    paths: tuple[str, ...]
    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    logits: Floats
    threshold: float | None = None
    novelties: NDArray[np.float64] | None = None
    novel: NDArray[np.bool_] | None = None
    items: NDArray[np.int64] | None = None

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated, (N, C)."""
        return softmax(self.logits, self.temperature)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """See :func:`beltsight.metrics.task_metrics`."""
        return task_metrics(self.task, self.logits, self.labels, self.temperature, self.items)

    @cached_property
    def confidence(self) -> dict[str, Any]:
        """See :func:`beltsight.confidence.confidence_figures`."""
        return confidence_figures(
            self.probabilities, self.labels, self.threshold, self.novel, self.items
        )

    @property
    def absent(self) -> tuple[str, ...]:
        """Classes that no photo is labelled with: nothing is known of them."""
        seen = np.bincount(self.labels, minlength=len(self.task.classes))
        return tuple(name for name, n in zip(self.task.classes, seen, strict=True) if not n)

    @cached_property
    def mistakes(self) -> tuple[Mistake, ...]:
        """All wrong answers, the most confident first."""
        answers = self.probabilities.argmax(axis=1)
        found = [
            Mistake(
                self.paths[row],
                self.files[row],
                self.task.classes[self.labels[row]],
                self.task.classes[answers[row]],
                float(self.probabilities[row, answers[row]]),
                float(self.probabilities[row, self.labels[row]]),
            )
            for row in np.flatnonzero(answers != self.labels)
        ]
        return tuple(sorted(found, key=lambda mistake: (-mistake.confidence, mistake.path)))

    def accuracy_without(self, paths: Collection[str]) -> dict[str, Any]:
        """Accuracy on all other photos: ``accuracy`` and ``interval``, null for none, and ``n``."""
        kept = np.array([path not in paths for path in self.paths], bool)
        n = int(kept.sum())
        if not n:
            return {"accuracy": None, "interval": None, "n": 0}
        right = (self.probabilities.argmax(axis=1) == self.labels)[kept]
        interval = share_interval(right, None if self.items is None else self.items[kept])
        return {"accuracy": int(right.sum()) / n, "interval": list(interval), "n": n}

    def worst(self, count: int) -> tuple[Mistake, ...]:
        """The wrong answers whose truth was thought least probable."""
        order = sorted(self.mistakes, key=lambda mistake: (mistake.truth_probability, mistake.path))
        return tuple(order[:count])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model is worth on a split, and what to know before believing it.

    Args:
        split: ``train``, ``val``, ``test`` or ``all``.
        data: the data set's folder.
        n: photos that were measured on.
        tasks: per task its answers and figures.
        leak: photos that the model knows already.
        unreadable: (path, error) of photos that could not be used; not counted in ``n``.
        unlabelled: number of photos without a label for any task of the model; not counted.
        card: of the model.
        model_hash: SHA-256 of the model file, hexadecimal.
        engine: what computed the answers.
        twins: photos measured on that another split holds, too, exactly or nearly, and where
            it does; None where nobody looked. See ``with_twins``.
        robustness: of :func:`beltsight.robustness.measure_robustness`; None where nobody asked.
    """

    split: str
    data: str
    n: int
    tasks: dict[str, TaskResult] = field(repr=False)  # with every photo's probabilities
    leak: Leak
    unreadable: tuple[tuple[str, str], ...]
    unlabelled: int
    card: Card
    model_hash: str
    engine: str
    twins: Mapping[str, str] | None = None
    robustness: Mapping[str, Any] | None = None

    def to_record(self, mistakes: int = 12) -> dict[str, Any]:
        """``metrics.json`` (schema: ``assets/schemas/metrics.schema.json``).

        Args:
            mistakes: how many of the worst and of the most confident mistakes to list.
        """
        return {
            "split": self.split,
            "n": self.n,
            "tasks": {name: result.metrics for name, result in self.tasks.items()},
            "confidence": {name: result.confidence for name, result in self.tasks.items()},
            "model": {
                "name": self.card.name,
                "version": self.card.version,
                "sha256": self.model_hash,
                "engine": self.engine,
            },
            "data": self.data,
            "leaked": {
                "checked": self.leak.checked,
                "n": len(self.leak.paths),
                "learned": len(self.leak.learned),
                "chosen_by": len(self.leak.chosen_by),
                "paths": list(self.leak.paths),
            },
            "twins": self._twins_record(),
            "robustness": self.robustness and dict(self.robustness["changes"]),
            "unreadable": [{"path": path, "error": error} for path, error in self.unreadable],
            "unlabelled": self.unlabelled,
            "mistakes": {
                name: {
                    "n": len(result.mistakes),
                    "most_confident": [_mistake(m) for m in result.mistakes[:mistakes]],
                    "worst": [_mistake(m) for m in result.worst(mistakes)],
                }
                for name, result in self.tasks.items()
            },
        }

    def _twins_record(self) -> dict[str, Any] | None:
        if self.twins is None:
            return None
        without = {name: r.accuracy_without(self.twins) for name, r in self.tasks.items()}
        return {
            "n": len(self.twins),
            "paths": list(self.twins)[:_MAX_TWIN_PATHS],
            "accuracy_without": without,
        }


def evaluate(
    model: Model | str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    batch_size: int | None = None,
    progress: SampleWatch | None = None,
) -> Evaluation:
    """Measure a model on labelled photos.

    Args:
        model: a model or its file.
        data: a data set or its path; see :func:`beltsight.load_dataset`.
        split: ``test``, ``val``, ``train``, or ``all`` for every photo.
        batch_size: photos per call of the engine; by default as tuned, else 16.
        progress: wraps the samples while they are worked on, e.g. ``tqdm.tqdm``.

    Returns:
        The answers and figures; ``to_record()`` gives them as JSON can hold them.

    Raises:
        SplitError: no such split, or a split called ``test`` holds more than 5 % photos that
            the model was trained on or chosen by.
        DatasetError: no labels for a task of the model, or a label that it cannot answer.
        ModelError: the model cannot be used.
    """
    model = model if isinstance(model, Model) else Model.load(model)
    dataset = (data if isinstance(data, Dataset) else load_dataset(data)).select(split)
    samples = labelled_samples(dataset, model)
    digests = hash_photos(samples)
    leak = find_leak(dataset, samples, model.card, digests)
    if split == "test":
        refuse_known(dataset, leak, len(samples))
    shown = samples if progress is None else progress(samples)
    rows, unreadable = _answers(model, dataset, shown, batch_size)
    if not rows:
        raise DatasetError(
            f"{dataset.root}: none of {len(samples)} photos could be read ({unreadable[0][1]})"
        )
    results = {task.name: _result(task, model, dataset, rows, digests) for task in model.tasks}
    return Evaluation(
        split=split,
        data=str(dataset.root),
        n=len(rows),
        tasks={name: result for name, result in results.items() if len(result.labels)},
        leak=leak,
        unreadable=tuple(unreadable),
        unlabelled=len(dataset.samples) - len(samples),
        card=model.card,
        model_hash=model.hash,
        engine=model.engine.name,
    )


def with_twins(evaluation: Evaluation, twins: Mapping[str, str] | None) -> Evaluation:
    """The evaluation with what :func:`beltsight.dataset.twins.find_twins` has found.

    Args:
        evaluation: made of the same data set and split.
        twins: photos of the split and their twins in others; those that were not measured on
            are left out. None where nobody looked.
    """
    measured = {path for result in evaluation.tasks.values() for path in result.paths}
    known = twins and {path: other for path, other in twins.items() if path in measured}
    return replace(evaluation, twins=known)


def labelled_samples(dataset: Dataset, model: Model) -> tuple[Sample, ...]:
    """The samples with a label for a task of the model.

    Raises:
        DatasetError: there is none, or a label that the model cannot give.
    """
    tasks = {task.name: frozenset(task.classes) for task in model.tasks}
    chosen = []
    for sample in dataset.samples:
        labels = {name: label for name, label in sample.labels.items() if name in tasks}
        for name, label in labels.items():
            if label not in tasks[name]:
                raise DatasetError(
                    f"{dataset.shown_path(sample)}: {name} {label!r} is not a class of this "
                    f"model; {nearest(label, sorted(tasks[name]))}. Leave those photos out, or "
                    f"train a model on these labels (its classes: {', '.join(sorted(tasks[name]))})"
                )
        if labels:
            chosen.append(sample)
    if not chosen:
        have = ", ".join(task.name for task in dataset.tasks)
        raise DatasetError(
            f"{dataset.root}: no photo has a label for {', '.join(tasks)}, which the model "
            f"answers; the data set labels {have}"
        )
    return tuple(chosen)


def _answers(
    model: Model, dataset: Dataset, samples: Iterable[Sample], batch_size: int | None
) -> tuple[list[_Row], list[tuple[str, str]]]:
    """Logits and novelty of every photo that can be read, and what is wrong with the others."""
    names = [task.name for task in model.tasks]
    asked = names if model.novelty is None else [*names, "embedding"]
    held: list[Sample] = []

    def sources() -> Iterator[Path]:
        for sample in samples:
            held.append(sample)
            yield sample.path

    rows: list[_Row] = []
    unreadable = []
    answers = model.stream_outputs(sources(), asked, batch_size=batch_size, on_error="record")
    for number, (_, outputs) in enumerate(answers):
        sample = held[number]
        if isinstance(outputs, ImageError):
            unreadable.append((dataset.shown_path(sample), str(outputs)))
        else:
            novelty = None
            if model.novelty is not None:  # the embedding itself would fill the memory
                novelty = float(model.novelty.score(outputs["embedding"][None])[0])
            rows.append((sample, {name: outputs[name] for name in names}, novelty))
    return rows, unreadable


def _result(
    task: TaskSpec,
    model: Model,
    dataset: Dataset,
    rows: Sequence[_Row],
    digests: Mapping[Path, str],
) -> TaskResult:
    known = [row for row in rows if task.name in row[0].labels]
    logits = [outputs[task.name] for _, outputs, _ in known]
    limit = None if model.novelty is None else model.novelty.threshold
    novelties = None if limit is None else np.array([row[2] for row in known], np.float64)
    return TaskResult(
        task=task,
        temperature=model.temperatures[task.name],
        paths=tuple(dataset.shown_path(sample) for sample, _, _ in known),
        files=tuple(sample.path for sample, _, _ in known),
        labels=np.array([task.classes.index(s.labels[task.name]) for s, _, _ in known], np.int64),
        logits=np.array(logits, np.float32).reshape(len(known), len(task.classes)),
        threshold=next(card.threshold for card in model.card.tasks if card.name == task.name),
        novelties=novelties,
        novel=None if novelties is None or limit is None else novelties > limit,
        items=items_of([sample for sample, _, _ in known], digests),
    )


def _mistake(mistake: Mistake) -> dict[str, Any]:
    return {
        "path": mistake.path,
        "truth": mistake.truth,
        "answer": mistake.answer,
        "confidence": round(mistake.confidence, 6),
        "truth_probability": round(mistake.truth_probability, 6),
    }
