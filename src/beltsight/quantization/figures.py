"""The int8 model's card: what of the float model's figures still holds, and what is new.

Classes, preparation, licence and notice stay. Temperatures, thresholds, figures, golden answers and
the border of the novel are the int8 graph's own, measured again on the photos that decide. These
and those that ranges were fitted to join the photos that the model was chosen by. What nobody
measured again, such as a test figure, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from beltsight.calibrate import fit_temperature, softmax
from beltsight.card import Card, GoldenCard, ParityCard, QuantizationCard, TaskCard, golden_batch
from beltsight.errors import ModelError
from beltsight.evaluation import Evaluation, TaskResult
from beltsight.leak import with_marks
from beltsight.metrics import task_metrics
from beltsight.model import Model
from beltsight.novelty import Novelty, refit_threshold
from beltsight.quantization.parity import measure_parity
from beltsight.threshold import set_threshold

GOLDEN_TOLERANCE = 0.04
"""Share of the largest logit by which a golden one may differ.

Engines round int8 at other places: here up to 0.14 of logits up to 4. A processor that saturates
differed by 0.21 to 0.59 (oneDNN held to AVX2, weights of 8 bits).
"""


_CHOSEN_BY = "the form of int8 was chosen by these photos"


def measure_tasks(before: Evaluation, after: Evaluation) -> dict[str, ParityCard]:
    """Parity per task, each model with its own temperature.

    Args:
        before, after: of the float and the int8 model, on the same photos.

    Raises:
        ModelError: they are not of the same photos.
    """
    parity = {}
    for name, old in before.tasks.items():
        new = after.tasks[name]
        if old.paths != new.paths:
            raise ModelError("photos changed while they were being measured; try again")
        probabilities = softmax(new.logits, _temperature(new))
        parity[name] = measure_parity(old.probabilities, probabilities, new.labels, new.items)
    return parity


def restated_card(
    before: Card,
    after: Model,
    evaluation: Evaluation,
    fitted_to: Sequence[Path],
    record: QuantizationCard,
) -> Card:
    """The card of the int8 file.

    Args:
        before: of the float file.
        after: the int8 model.
        evaluation: of it, on the photos that decided.
        fitted_to: the photos that ranges were fitted to.
        record: how the model became int8.
    """
    novelty = _novelty(after, evaluation)
    tasks, metrics = [], {}
    for spec, task in zip(before.task_specs, before.tasks, strict=True):
        result = evaluation.tasks[task.name]
        temperature = _temperature(result)
        tasks.append(_task(task, result, temperature, novelty))
        metrics[task.name] = task_metrics(
            spec, result.logits, result.labels, temperature, result.items
        )
    largest = max(float(np.abs(result.logits).max()) for result in evaluation.tasks.values())
    decided = [file for result in evaluation.tasks.values() for file in result.files]
    changes = {
        "tasks": tuple(tasks),
        "metrics": {"split": evaluation.split, "n": evaluation.n, "tasks": metrics},
        "novelty": novelty and novelty.to_card(),
        "training": with_marks(before.training, [*fitted_to, *decided]),
        "golden": _golden(after, GOLDEN_TOLERANCE * max(1.0, largest)),
        "quantization": record,
        "beltsight_version": version("beltsight"),
    }
    changed = before.model_copy(update=changes)
    return Card.model_validate(changed.model_dump())  # a copy is not checked by itself


def _temperature(result: TaskResult) -> float:
    return fit_temperature(result.logits, result.labels, result.temperature)


def _task(
    task: TaskCard, result: TaskResult, temperature: float, novelty: Novelty | None
) -> TaskCard:
    """With the int8 temperature; its threshold is found again where a purity asked for it."""
    changed = task.model_copy(
        update={"temperature": temperature, "threshold": None, "purity": None}
    )
    if task.purity is None:
        return changed
    novel = None
    if novelty is not None and result.novelties is not None:
        novel = result.novelties > novelty.threshold
    sure, _ = set_threshold(
        changed,
        softmax(result.logits, temperature),
        result.labels,
        task.purity.target,
        novel=novel,
        known=_CHOSEN_BY,
        items=result.items,
    )
    return sure


def _novelty(model: Model, evaluation: Evaluation) -> Novelty | None:
    """The directions that the float model learned, with the border where int8 photos lie."""
    if model.novelty is None:
        return None
    of_photo: dict[str, float] = {}  # one may be labelled for several tasks
    for result in evaluation.tasks.values():
        if result.novelties is not None:
            of_photo.update(zip(result.paths, result.novelties.tolist(), strict=True))
    return refit_threshold(model.novelty, np.array(list(of_photo.values())))


def _golden(model: Model, tolerance: float) -> GoldenCard:
    golden = model.card.golden
    if not golden.photos_png:
        return golden
    names = [task.name for task in model.tasks]
    outputs = model.engine.run(golden_batch(golden, model.card.image_preparation), names)
    logits = {name: outputs[name].tolist() for name in names}
    return GoldenCard(photos_png=golden.photos_png, logits=logits, tolerance=tolerance)
