"""The answers to several views of one item, made one."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import LineError
from beltsight.model import Model
from beltsight.records import Answer, Prediction

DEPENDENCE = 1.0
"""Measured: a second view of an item corrects an answer, but is no second witness."""

_LEAST = 1e-9  # a probability of 0 in one view would forbid a class for good


def fuse(predictions: Sequence[Prediction], model: Model) -> Prediction:
    """One calibrated answer from the views of one item.

    Per task the logarithms of the probabilities are averaged and multiplied by what n dependent
    views are worth, n / (1 + (n - 1) ``DEPENDENCE``): n where views were independent (0), 1 where
    they share their mistakes (1).

    Measured on TrashNet's 328 validation photos with the packaged model, n views of each item,
    shifted, scaled, relit, blurred and noisy; the error of calibration is debiased, chance alone
    reaches 0.05 (``python benchmarks/fuse_views.py``):

    ===========================  ========  =====  =====  =======================
    rule                         accuracy    NLL    ECE  mean confidence
    ===========================  ========  =====  =====  =======================
    one view                       93.0 %  0.238  0.000  91.2 %
    2, mean of probabilities       94.2 %  0.228  0.052  90.9 %
    2, mean of logarithms          94.2 %  0.224  0.045  91.6 %
    2, product (independent)       94.2 %  0.277  0.050  97.4 %
    4, mean of probabilities       93.0 %  0.237  0.000  90.7 %
    4, mean of logarithms          93.3 %  0.233  0.006  91.6 %
    4, product (independent)       93.3 %  0.540  0.098  98.9 %
    ===========================  ========  =====  =====  =======================

    A dependence chosen on half of the items and judged on the other was 0.70 and 0.75 for two
    views, 0.80 and 0.85 for four: views of one item are little more than one witness who looks
    again. The means are a little too unsure, within chance, and do not differ beyond it; that of
    logarithms is used, since a view that excludes a class excludes it. The model's epoch and
    temperature were chosen on these photos.

    Args:
        predictions: of the views; those with an ``error`` are left out.
        model: that answered; by it ``abstain``, ``novel`` and ``why`` follow from the fused answer
            as they do from a single one.

    Returns:
        The Prediction of the one view as it came, where there is one; else the fused answers, the
        mean embedding, the median novelty, and no maps. Where every view has an error, the first.

    Raises:
        LineError: no prediction, or views whose tasks or classes differ.
    """
    if not predictions:
        raise LineError("an item without a view has no answer: expected at least one prediction")
    answered = [prediction for prediction in predictions if prediction.error is None]
    if len(answered) < 2:
        return answered[0] if answered else predictions[0]
    tasks = {name: _fused(name, answered) for name in _names(answered)}
    embeddings = [p.embedding for p in answered if p.embedding is not None]
    novelties = [p.novelty for p in answered if p.novelty is not None]
    novelty = median(novelties) if novelties else None
    novel, abstain, why = model.judge(tasks, novelty)
    return Prediction(
        path=answered[0].path,
        tasks=tasks,
        embedding=np.mean(embeddings, axis=0).astype(np.float32) if embeddings else None,
        abstain=abstain,
        engine=answered[0].engine,
        novel=novel,
        novelty=novelty,
        why=why,
    )


def fuse_probabilities(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """The fused probabilities of one task.

    Args:
        probabilities: (n, C), of n views; rows sum to 1.

    Returns:
        float64 (C,), with a sum of 1.

    Example:
        >>> fuse_probabilities(np.array([[0.5, 0.5], [0.9, 0.1]]))  # odds 1 and 9: together 3
        array([0.75, 0.25])
    """
    count = len(probabilities)
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST)).mean(axis=0)
    logs *= count / (1 + (count - 1) * DEPENDENCE)
    powers = np.exp(logs - logs.max())
    return np.asarray(powers / powers.sum())


def _names(answered: Sequence[Prediction]) -> tuple[str, ...]:
    first = tuple(answered[0].tasks)
    for other in answered[1:]:
        if set(other.tasks) != set(first):
            raise LineError(
                f"views of one item must have the same tasks, got {sorted(first)} and "
                f"{sorted(other.tasks)}; answer all of them with one model"
            )
    return first


def _fused(name: str, answered: Sequence[Prediction]) -> Answer:
    tables = [prediction.tasks[name].probabilities for prediction in answered]
    classes = tuple(tables[0])
    if any(set(table) != set(classes) for table in tables):
        raise LineError(
            f"views of one item must have the same classes of task {name!r}; "
            "answer all of them with one model"
        )
    rows = np.array([[table[label] for label in classes] for table in tables])
    fused = fuse_probabilities(rows)
    best = int(fused.argmax())
    table = dict(zip(classes, fused.tolist(), strict=True))
    return Answer(classes[best], float(fused[best]), table)
