"""A training run from a data set to a model file, in one folder; see :mod:`~.folder`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch

import beltsight
from beltsight.answers.columns import as_text
from beltsight.card import Card
from beltsight.config import nearest
from beltsight.dataset import Dataset, load_dataset
from beltsight.dataset.split import holdout
from beltsight.errors import ConfigError, DatasetError, ResumeError
from beltsight.machine import usable_cores
from beltsight.records import Sample, TaskSpec
from beltsight.train.balance import with_synthesis
from beltsight.train.checkpoint import load_checkpoint
from beltsight.train.doubts import empty_classes, left_out, shared_photos, temperature_doubts
from beltsight.train.folder import (
    DESCRIPTION_FILE,
    FREE_SETTINGS,
    SCRATCH_PREFIX,
    make_folder,
    opened_folder,
    stored_description,
    stored_settings,
    write_text,
)
from beltsight.train.history import kept_history
from beltsight.train.loop import EpochDone, Fit, Watcher
from beltsight.train.memory import keep_freed_memory
from beltsight.train.network import Network, build_network
from beltsight.train.package import About, package_model
from beltsight.train.photos import PreparedPhotos, fingerprint, masks_digest, prepare_photos
from beltsight.train.plan import cut_of
from beltsight.train.settings import TrainSettings

_PIXEL_FILES = ("train.pixels", "val.pixels")
_Splits = tuple[Sequence[Sample], Sequence[Sample]]
Preparing = Callable[[int, int], None]
Doubting = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Args:
        folder: holds everything of the run.
        model: the exported model file.
        card: of the model.
        history: one row per epoch.
        unreadable: messages of photos that were left out.
    """

    folder: Path
    model: Path
    card: Card
    history: tuple[EpochDone, ...]
    unreadable: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, Any]:
        """Validation figures as in the model's card."""
        return self.card.metrics


def run_training(
    data: str | os.PathLike[str] | Dataset,
    out: str | os.PathLike[str],
    settings: TrainSettings,
    *,
    resume: bool = False,
    watch: Watcher = lambda event: None,
    preparing: Preparing = lambda done, total: None,
    doubting: Doubting = lambda sentence: None,
    about: About = About(),
) -> Run:
    """Train, export and describe a model; see :func:`beltsight.train`.

    Args:
        watch: told of each step and epoch.
        preparing: told (done, total) while photos are prepared, and again while some are made up
            for rare classes.
        doubting: told what to know before believing the figures, as soon as it is known.
        about: name, licence and notice for the card.
    """
    dataset = data if isinstance(data, Dataset) else load_dataset(data, tasks=settings.tasks)
    tasks, samples = choose_samples(dataset, settings)
    for sentence in (*empty_classes(tasks, samples), *left_out(dataset, tasks)):
        doubting(sentence)
    torch.set_num_threads(settings.threads or usable_cores())
    keep_freed_memory()
    with opened_folder(Path(out), settings, resume=resume) as folder:
        torch.manual_seed(settings.seed)
        _check_names(tasks, samples[0], settings)
        goes_on = resume and (folder / "checkpoint.safetensors").exists()
        network = build_network(settings, tasks, pretrained=not goes_on)
        _check_places_are_learned(network, settings)
        with _prepared(folder, samples, tasks, settings, preparing) as photos:
            for sentence in shared_photos(*photos):
                doubting(sentence)
            digest = fingerprint(photos)
            identity = _identity(settings, digest, tasks, masks_digest(photos[0]))
            learned = photos[0]
            if settings.balance == "synthesis":
                learned = with_synthesis(learned, settings.seed, settings.fill, preparing)
            with kept_history(folder, tensorboard=settings.tensorboard) as keep:
                fit = Fit(network, learned, photos[1], settings, folder, identity, watch, keep)
                if goes_on:
                    fit.restore()
                _describe(folder, dataset, network, photos, digest)
                history = fit.run()
            model = folder / "model.onnx"
            about = _complete(about, folder, dataset, digest)
            card = package_model(network, *photos, settings, about, model)
    for sentence in temperature_doubts(card):
        doubting(sentence)
    skipped = (*photos[0].unreadable, *photos[1].unreadable)
    return Run(folder, model, card, tuple(history), skipped)


def export_run(
    folder: Path,
    data: str | os.PathLike[str] | Dataset,
    path: Path,
    *,
    about: About = About(),
    preparing: Preparing = lambda done, total: None,
) -> dict[str, Any]:
    """Export a run's best weights again, e.g. with another name in the card or a newer exporter.

    Args:
        folder: a run.
        data: the data set that it was trained on; temperatures are fitted on its validation split.
        path: the model file to write.
        about: name, licence and notice for the card.
        preparing: told (done, total) while photos are prepared.

    Returns:
        The card's validation figures.

    Raises:
        ResumeError: no run there, the data set is not the one of the run, or it has other tasks,
            or theirs in another order.
        ParityError: the graph does not answer as the network does.
    """
    network, settings = load_network(folder), stored_settings(folder)
    dataset = data if isinstance(data, Dataset) else load_dataset(data, tasks=settings.tasks)
    tasks, samples = choose_samples(dataset, settings)
    # The fingerprint knows no order, and labels are read by the order of tasks and classes.
    if difference := _task_difference(network.tasks, tasks):
        raise ResumeError(
            f"{dataset.root}: not as {folder} was trained on it: {difference}; give it with the "
            "run's own order of columns and its taxonomy (--taxonomy)"
        )
    make_folder(path.parent)
    with _prepared(path.parent, samples, tasks, settings, preparing) as photos:
        digest = fingerprint(photos)
        if stored_description(folder).get("fingerprint") != digest:
            raise ResumeError(f"{dataset.root}: not the data that {folder} was trained on")
        about = _complete(about, folder, dataset, digest)
        return package_model(network, *photos, settings, about, path).metrics


def load_network(folder: Path) -> Network:
    """The network of a run with its best weights.

    Raises:
        ResumeError: no run there, or its files do not belong together.
    """
    settings = stored_settings(folder)
    described = stored_description(folder)
    best = folder / "best.safetensors"
    try:
        tasks = [
            TaskSpec(task["name"], tuple(task["classes"]), task["ordered"])
            for task in described["tasks"]
        ]
        network = build_network(settings, tasks, pretrained=False)
        network.load_state_dict(load_checkpoint(best)[0])
    except (RuntimeError, KeyError, TypeError) as error:
        raise ResumeError(f"{folder}: its files do not belong together: {error}") from error
    return network.eval()


def choose_samples(
    dataset: Dataset, settings: TrainSettings
) -> tuple[tuple[TaskSpec, ...], _Splits]:
    """The tasks to learn, the photos to learn from and those to validate on.

    Photos of the test split are in neither. Without a val split, part of train is held out.

    Raises:
        DatasetError: no training photos, a class without any, or a name that no card can hold.
    """
    tasks = tuple(dataset.task(task) for task in settings.tasks) or dataset.tasks
    _check_text(tasks, dataset)
    if not dataset.splits:
        everything = tuple(replace(sample, split="train") for sample in dataset.samples)
        dataset = replace(dataset, samples=everything)
    if "train" not in dataset.splits:
        raise DatasetError(f"{dataset.root}: no photo is in split 'train'; nothing to learn from")
    if "val" not in dataset.splits:
        dataset = holdout(dataset, settings.val_fraction, settings.seed)
    names = {task.name for task in tasks}
    train, val = (
        tuple(s for s in dataset.select(split).samples if names & s.labels.keys())
        for split in ("train", "val")
    )
    for task in tasks:
        if not any(task.name in sample.labels for sample in val):
            raise DatasetError(f"{dataset.root}: no validation photo has a label of {task.name}")
        seen = {sample.labels.get(task.name) for sample in train}
        empty = [label for label in task.classes if label not in seen]
        # A level nobody has photos of yet keeps its place in the order.
        if (empty and not task.ordered) or not seen - {None}:
            raise DatasetError(
                f"{dataset.root}: no training photo of {task.name} {', '.join(empty)}; "
                "add some, or take the class out of the data set"
            )
    return tasks, (train, val)


def _check_text(tasks: Sequence[TaskSpec], dataset: Dataset) -> None:
    """Refuse names that are no UTF-8, as those of folders from old disks.

    Escaped they would be labels that the data set does not have.

    Raises:
        DatasetError: such a task or class.
    """
    for task in tasks:
        for name in (task.name, *task.classes):
            if (shown := as_text(name)) != name:
                kind = "task" if name == task.name else "class"
                raise DatasetError(
                    f"{dataset.root}: the name of {kind} {shown} is not UTF-8, and a model file "
                    "holds nothing else; rename it"
                )


def _check_names(
    tasks: Sequence[TaskSpec], train: Sequence[Sample], settings: TrainSettings
) -> None:
    """Refuse classes in ``augment_more``, tasks of stages and masks that the data set lacks.

    Raises:
        ConfigError: such a name, or no mask.
    """
    have = [task.name for task in tasks]
    for stage in settings.stages:
        for name in stage.tasks:
            if name not in have:
                raise ConfigError(f"stages: no task {name!r} to learn; {nearest(name, have)}")
    if settings.mask_weight and not any(sample.mask for sample in train):
        raise ConfigError(
            "mask_weight: no training photo has a mask; 'beltsight soil --masks' makes photos "
            "that have, and a CSV names them in its column 'mask'"
        )
    known = [label for task in tasks for label in task.classes]
    for name in settings.augment_more if isinstance(settings.augment_more, tuple) else ():
        if name not in known:
            raise ConfigError(f"augment_more: no class {name!r}; {nearest(name, known)}")


def _check_places_are_learned(network: Network, settings: TrainSettings) -> None:
    """Refuse a run that would export where dirt lies without having learned it.

    Raises:
        ConfigError: masks count, and every stage keeps activations, which masks do not go with.
    """
    if settings.mask_weight and all(cut_of(network, each, settings) for each in settings.stages):
        raise ConfigError(
            "mask_weight: expected a stage that learns from photos, but every stage keeps "
            "activations, which masks do not go with; add a stage with learn = 'all', or set "
            "mask_weight = 0"
        )


def _task_difference(before: Sequence[TaskSpec], now: Sequence[TaskSpec]) -> str:
    """In words, the first difference between a run's tasks and a data set's; empty for none."""
    names = [", ".join(task.name for task in tasks) for tasks in (before, now)]
    if names[0] != names[1]:
        return f"tasks were {names[0]}, are {names[1]}"
    for old, new in zip(before, now, strict=True):
        if old.classes != new.classes:
            classes = ", ".join(old.classes), ", ".join(new.classes)
            return f"classes of {old.name} were {classes[0]}, are {classes[1]}"
        if old.ordered != new.ordered:
            return f"classes of {old.name} {'are no' if old.ordered else 'have become'} levels"
    return ""


def _complete(about: About, folder: Path, dataset: Dataset, digest: str) -> About:
    # The data set's folder name tells data sets apart, and is no path of the user's machine.
    about = replace(
        about,
        name=about.name or folder.resolve().name,
        data=dataset.root.resolve().name,
        fingerprint=digest,
    )
    # A folder may be called what no card can hold.
    return About(**{part: as_text(said) for part, said in asdict(about).items()})


@contextmanager
def _prepared(
    where: Path,
    samples: _Splits,
    tasks: Sequence[TaskSpec],
    settings: TrainSettings,
    preparing: Preparing,
) -> Iterator[tuple[PreparedPhotos, PreparedPhotos]]:
    """Both splits' prepared photos, in a folder of this process alone, removed at the end."""
    masks = settings.mask_weight > 0  # of training: validation asks the tasks alone
    learned = len(samples[0]) * (2 if masks else 1)
    total = learned + len(samples[1])

    def prepare_split(index: int, scratch: str) -> PreparedPhotos:
        before = learned if index else 0
        return prepare_photos(
            samples[index],
            tasks,
            settings.preparation,
            Path(scratch) / _PIXEL_FILES[index],
            skip_unreadable=settings.skip_unreadable,
            masks=masks and not index,
            progress=lambda done, _: preparing(before + done, total),
        )

    with TemporaryDirectory(
        prefix=SCRATCH_PREFIX, dir=where, ignore_cleanup_errors=True
    ) as scratch:
        yield prepare_split(0, scratch), prepare_split(1, scratch)


def _describe(
    folder: Path,
    dataset: Dataset,
    network: Network,
    photos: tuple[PreparedPhotos, PreparedPhotos],
    data_digest: str,
) -> None:
    described = {
        "data": str(dataset.root.resolve()),
        "fingerprint": data_digest,
        "tasks": [asdict(task) for task in network.tasks],
        "n_train": len(photos[0].samples),
        "n_val": len(photos[1].samples),
        "unreadable": [*photos[0].unreadable, *photos[1].unreadable],
        "versions": {
            "beltsight": beltsight.__version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
    }
    write_text(folder / DESCRIPTION_FILE, json.dumps(described, indent=2) + "\n")


def _identity(
    settings: TrainSettings, data_digest: str, tasks: Sequence[TaskSpec], masks: str
) -> str:
    """What must not change between a run and its resumption."""
    values = settings.model_dump(mode="json", exclude=set(FREE_SETTINGS))
    parts: list[Any] = [values, data_digest, [asdict(task) for task in tasks]]
    if masks:  # only then: runs without go on from checkpoints that knew of none
        parts.append(masks)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
