"""From trained weights to the model file: export, parity, temperatures, figures, card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import beltsight
from beltsight.calibrate import fit_temperature, softmax
from beltsight.card import (
    Card,
    GoldenCard,
    PreparationCard,
    TaskCard,
    TrainingCard,
    golden_batch,
    golden_png,
    pack_marks,
)
from beltsight.dataset.duplicates import hash_photos, items_of
from beltsight.engines import Engine, run_in_batches
from beltsight.metrics import task_metrics
from beltsight.model_file import save_model
from beltsight.novelty import Novelty, NoveltyCard, fit_novelty
from beltsight.records import Floats, TaskSpec
from beltsight.threshold import purity_task, set_threshold
from beltsight.train.export import (
    PARITY_PHOTOS,
    check_parity,
    export_graph,
    make_engine,
)
from beltsight.train.network import Network
from beltsight.train.photos import UNLABELLED, PreparedPhotos
from beltsight.train.settings import TrainSettings

_GOLDEN_PHOTOS = 2
# More photos hardly change what the embeddings of known photos look like, and each takes its time.
_MOST_EMBEDDED = 2000
_FEWEST_EMBEDDED = 10


@dataclass(frozen=True, slots=True)
class About:
    """What the card says beside what was measured."""

    name: str = ""
    version: str = "1"
    licence: str = ""
    notice: str = ""
    data: str = ""
    fingerprint: str = ""


def package_model(
    network: Network,
    train: PreparedPhotos,
    val: PreparedPhotos,
    settings: TrainSettings,
    about: About,
    path: Path,
) -> Card:
    """Export, check parity on real photos, fit temperatures on validation, write the file.

    Temperatures and figures come from the exported graph's own answers, so that they hold
    for what is deployed.

    Args:
        network: trained.
        train, val: prepared photos; ``train`` serves parity where ``val`` is small.
        settings: of the run.
        about: name, licence, data.
        path: the model file to write.

    Returns:
        The card in the file.

    Raises:
        ParityError: the graph does not answer as the network does; nothing is written.
    """
    preparation = settings.preparation
    graph = export_graph(network, (preparation.height, preparation.width))
    engine = make_engine(graph, settings.threads)
    real: NDArray[np.uint8] = val.pixels()
    if len(real) < PARITY_PHOTOS:
        real = np.concatenate([real, train.pixels()[: PARITY_PHOTOS - len(real)]])
    check_parity(network, engine, real)
    names = [task.name for task in network.tasks]
    outputs = run_in_batches(engine, val.pixels(), [*names, "embedding"])
    temperatures, metrics = _measure(network.tasks, outputs, val)
    card = Card(
        name=about.name,
        version=about.version,
        tasks=tuple(
            TaskCard(
                name=task.name,
                classes=task.classes,
                ordered=task.ordered,
                temperature=temperatures[task.name],
                map=network.has_maps,
                places=task.name == network.places_task,
            )
            for task in network.tasks
        ),
        preparation=PreparationCard(
            height=preparation.height, width=preparation.width, fill=preparation.fill
        ),
        training=_training_card(train, val, settings, about),
        novelty=_novelty(engine, train, outputs["embedding"]),
        metrics=metrics,
        licence=about.licence,
        notice=about.notice,
        golden=_golden(engine, network.tasks, real, settings),
        beltsight_version=beltsight.__version__,
    )
    if settings.purity:
        card = with_purity(card, outputs, val.labels, settings.purity)
    save_model(graph, card, path)
    return card


def with_purity(
    card: Card, outputs: dict[str, Floats], labels: NDArray[np.int64], target: float
) -> Card:
    """The card with a threshold of the task that :func:`beltsight.threshold.purity_task` names.

    It is an estimate: the epoch was chosen by these photos, so they certify nothing.

    Args:
        card: has the temperatures, and the threshold of novelty.
        outputs: logits (N, C) of validation photos under the task's name, and ``embedding``.
        labels: int64 (N, tasks).
        target: share of accepted answers that must be right, 0 to 1, ends excluded.
    """
    index = purity_task(card.tasks)
    task = card.tasks[index]
    known = labels[:, index] != UNLABELLED
    novel = None
    if card.novelty is not None:
        novel = Novelty.from_card(card.novelty).is_novel(outputs["embedding"][known])
    probabilities = softmax(outputs[task.name][known], task.temperature)
    sure, _ = set_threshold(
        task,
        probabilities,
        labels[known, index],
        target,
        novel=novel,
        known="the epoch was chosen by these photos",
    )
    tasks = (*card.tasks[:index], sure, *card.tasks[index + 1 :])
    return card.model_copy(update={"tasks": tasks})


def _novelty(engine: Engine, train: PreparedPhotos, known: Floats) -> NoveltyCard | None:
    """What the training photos look like; None of too few."""
    n = len(train)
    if n < _FEWEST_EMBEDDED:
        return None
    chosen = np.linspace(0, n - 1, min(n, _MOST_EMBEDDED)).round().astype(np.int64)
    parts = [
        run_in_batches(engine, train.pixels()[rows], ["embedding"])["embedding"]
        for rows in np.array_split(chosen, -(-len(chosen) // 256))
    ]
    return fit_novelty(np.concatenate(parts), known).to_card()


def _measure(
    tasks: tuple[TaskSpec, ...], logits: dict[str, Floats], val: PreparedPhotos
) -> tuple[dict[str, float], dict[str, Any]]:
    temperatures, metrics = {}, {}
    items = items_of(val.samples, hash_photos(val.samples))
    for column, task in enumerate(tasks):
        known = val.labels[:, column] != UNLABELLED
        scores, labels = logits[task.name][known], val.labels[known, column]
        temperatures[task.name] = fit_temperature(scores, labels)
        metrics[task.name] = task_metrics(
            task, scores, labels, temperatures[task.name], None if items is None else items[known]
        )
    return temperatures, {"split": "val", "n": len(val), "tasks": metrics}


def _training_card(
    train: PreparedPhotos, val: PreparedPhotos, settings: TrainSettings, about: About
) -> TrainingCard:
    return TrainingCard(
        backbone=settings.backbone,
        data=about.data,
        fingerprint=about.fingerprint,
        n_train=len(train.samples),
        n_val=len(val.samples),
        seed=settings.seed,
        train_marks=pack_marks(train.hashes),
        val_marks=pack_marks(val.hashes),
    )


def _golden(
    engine: Engine, tasks: tuple[TaskSpec, ...], photos: NDArray[np.uint8], settings: TrainSettings
) -> GoldenCard:
    step = max(1, len(photos) // _GOLDEN_PHOTOS)
    pngs = tuple(golden_png(np.array(photo)) for photo in photos[::step][:_GOLDEN_PHOTOS])
    names = [task.name for task in tasks]
    batch = golden_batch(GoldenCard(photos_png=pngs), settings.preparation)
    outputs = engine.run(batch, names)
    return GoldenCard(photos_png=pngs, logits={name: outputs[name].tolist() for name in names})
