"""From trained weights to the model file: export, parity, temperatures, figures, card."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import beltsight
from beltsight.calibrate import fit_temperature
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
from beltsight.engine import Engine, run_in_batches
from beltsight.metrics import task_metrics
from beltsight.records import Floats, TaskSpec
from beltsight.train.export import (
    PARITY_PHOTOS,
    check_parity,
    export_graph,
    make_engine,
    save_model,
)
from beltsight.train.network import Network
from beltsight.train.photos import UNLABELLED, PreparedPhotos
from beltsight.train.settings import TrainSettings

_GOLDEN_PHOTOS = 2


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
    logits = run_in_batches(engine, val.pixels(), [task.name for task in network.tasks])
    temperatures, metrics = _measure(network.tasks, logits, val)
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
            )
            for task in network.tasks
        ),
        preparation=PreparationCard(
            height=preparation.height, width=preparation.width, fill=preparation.fill
        ),
        training=_training_card(train, val, settings, about),
        metrics=metrics,
        licence=about.licence,
        notice=about.notice,
        golden=_golden(engine, network.tasks, real, settings),
        beltsight_version=beltsight.__version__,
    )
    save_model(graph, card, path)
    return card


def _measure(
    tasks: tuple[TaskSpec, ...], logits: dict[str, Floats], val: PreparedPhotos
) -> tuple[dict[str, float], dict[str, Any]]:
    temperatures, metrics = {}, {}
    for column, task in enumerate(tasks):
        known = val.labels[:, column] != UNLABELLED
        scores, labels = logits[task.name][known], val.labels[known, column]
        temperatures[task.name] = fit_temperature(scores, labels)
        metrics[task.name] = task_metrics(task, scores, labels, temperatures[task.name])
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
