"""How a model's answers hold when photos get worse: accuracy against the severity of each change.

A photo is decoded, changed, and then goes the way of every photo: prepared, answered. Photos whose
longer side is over 512 pixels are shrunk to that first, so that a pixel of blur, a level of noise
and a JPEG's quality mean the same for every camera.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.answered import NOT_ASKED, Answered, make_folder, read_answers, write_answers
from beltsight.card import content_hash
from beltsight.dataset.duplicates import hash_photos, items_of
from beltsight.dataset.index import Dataset, load_dataset
from beltsight.errors import ConfigError, DatasetError, ImageError
from beltsight.evaluation import labelled_samples
from beltsight.image import read_photo_bytes
from beltsight.image_small import decode_at_most
from beltsight.leak import find_leak, refuse_known
from beltsight.metrics import share_interval
from beltsight.model import Model
from beltsight.records import CONTAMINATION, DIRT, MATERIAL, Floats, Photo, Sample, is_clean
from beltsight.scene import CutOut, cut_out, find_foreground
from beltsight.scene.damage import CHANGES, Changed, change_photo, check_change

__all__ = ["CHANGES", "SIDE_PX", "change_photo", "find_others", "measure_robustness"]

SIDE_PX = 512
_PLAIN = "plain"
_BATCH_SIZE = 16
_ITEM_SHARES = (0.03, 0.7)  # of the photo, that an item may take
_OTHERS = 24
_SOLID = 0.3  # least part of its box that an item takes which is laid over another
WHY_LEFT_OUT = (
    "no photo shows an item whose outline can be trusted, or none of another class to lay over it"
)
_Ints = NDArray[np.int64]
Progress = Callable[[str, int, int], None]


def measure_robustness(
    model: Model | str | os.PathLike[str],
    data: Dataset | str | os.PathLike[str],
    split: str = "test",
    *,
    changes: Mapping[str, Sequence[float]] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    keep: Path | None = None,
    progress: Progress = lambda change, done, total: None,
) -> dict[str, Any]:
    """Accuracy of each task against the severity of each change.

    Photos of which a change cannot be made are passed over in its figures: those with a side under
    8 pixels and, where it needs one, those whose item has no outline that can be trusted.

    Args:
        model: a model or its file.
        data: a data set or its path. Items without a label of ``contamination`` are taken for
            clean ones where dirt is laid on, and are not asked for it elsewhere.
        split: ``test``, ``val``, ``train`` or ``all``.
        changes: amounts by change, mild to severe; all of :data:`CHANGES` by default.
        seed: of what is drawn; each photo draws its own, the same for all amounts of a change.
        batch_size: photos per call of the engine; by default as tuned, else 16.
        keep: a folder for the answers to each change: a call that was interrupted goes on, and
            one with the same model, photos (byte for byte) and amounts asks nothing again.
        progress: called with (change, photos done, photos in all).

    Returns:
        A record that JSON can hold: per change its unit and amounts (the neutral one first), and
        per task and amount ``n``, ``right`` and ``accuracy`` with ``interval`` (Wilson, 95 %,
        wider where photos show the same item); ``mean`` is the mean accuracy over all amounts but
        the neutral one. ``left_out``: changes without a photo to ask (:data:`WHY_LEFT_OUT`).

    Raises:
        ConfigError: an unknown change, one without an amount, or an impossible amount.
        SplitError: as :func:`beltsight.evaluate`.
        DatasetError: no photo with a label that the model can answer, or none readable.
    """
    model = model if isinstance(model, Model) else Model.load(model)
    dataset = (data if isinstance(data, Dataset) else load_dataset(data)).select(split)
    wanted = {name: tuple(c.amounts) for name, c in CHANGES.items()} if changes is None else changes
    _check_changes(wanted)
    samples = labelled_samples(dataset, model)
    digests = hash_photos(samples)
    if split == "test":
        refuse_known(dataset, find_leak(dataset, samples, model.card, digests), len(samples))
    size = (model.batch_size or _BATCH_SIZE) if batch_size is None else batch_size
    asking = _Asking(model, dataset, samples, seed, size, progress)
    plain = _kept(keep, asking, _PLAIN, (0.0,))
    if all((rows == NOT_ASKED).all() for rows in plain.answers.values()):
        raise DatasetError(f"{dataset.root}: none of {len(samples)} photos could be read")
    found = [
        _with_plain(_kept(keep, asking, name, _asked_of(name, amounts)), plain)
        for name, amounts in wanted.items()
    ]
    items = items_of(samples, digests)
    records = {answered.change: _change_record(answered, items) for answered in found}
    return {
        "split": split,
        "data": str(dataset.root),
        "n": len(samples),
        "seed": seed,
        "model": {"name": model.card.name, "sha256": model.hash, "engine": model.engine.name},
        "changes": records,
        "left_out": [name for name, record in records.items() if not record["tasks"]],
    }


def find_others(samples: Sequence[Sample], seed: int) -> list[tuple[Sample, CutOut]]:
    """Up to 24 items to lay over others, of as many classes as there are.

    Args:
        samples: photos to cut them out of.
        seed: of the order in which photos are tried.
    """
    groups: dict[str, list[Sample]] = {}
    for place in np.random.default_rng(seed).permutation(len(samples)):
        sample = samples[place]
        groups.setdefault(_class_of(sample), []).append(sample)
    found: list[tuple[Sample, CutOut]] = []
    while groups and len(found) < _OTHERS:
        for label in sorted(groups):
            while groups[label]:
                sample = groups[label].pop()
                if (item := _try_cut_out(sample)) is not None:
                    found.append((sample, item))
                    break
        groups = {label: rest for label, rest in groups.items() if rest}
    return found[:_OTHERS]


@dataclass(frozen=True)
class _Asking:
    """Which model is asked about which photos."""

    model: Model
    dataset: Dataset
    samples: tuple[Sample, ...]
    seed: int
    batch_size: int
    progress: Progress

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """Of the photos' files; empty for those that cannot be read."""
        return tuple(_file_digest(sample.path) for sample in self.samples)

    def answered(self, change: str, amounts: tuple[float, ...]) -> Answered:
        """Ask about all photos at all amounts of a change."""
        specs = {task.name: task.classes for task in self.model.tasks}
        shape = (len(amounts), len(self.samples))
        labels = {task: np.full(shape, NOT_ASKED, np.int64) for task in specs}
        answers = {task: np.full(shape, NOT_ASKED, np.int64) for task in specs}
        held: list[tuple[int, int, Mapping[str, str]]] = []
        photos: list[Photo] = []

        def ask() -> None:
            outputs = self.model.outputs(np.stack(photos), list(specs), self.batch_size)
            for row, (step, place, truth) in enumerate(held):
                for task, classes in specs.items():
                    if task in truth and truth[task] in classes:
                        labels[task][step, place] = classes.index(truth[task])
                    answers[task][step, place] = int(outputs[task][row].argmax())
            held.clear()
            photos.clear()

        for step, place, changed in self._changed(change, amounts):
            held.append((step, place, _truth(self.samples[place], change, changed)))
            photos.append(self.model.prepare(changed.photo))
            if len(photos) >= self.batch_size:
                ask()
        if photos:
            ask()
        return Answered(change, amounts, labels, answers)

    def _changed(
        self, change: str, amounts: tuple[float, ...]
    ) -> Iterator[tuple[int, int, Changed]]:
        # A dirty item laid over a clean one would show dirt that its label denies.
        clean = [sample for sample in self.samples if is_clean(sample)]
        others = find_others(clean, self.seed) if change == "occlusion" else []
        for place, sample in enumerate(self.samples):
            self.progress(change, place + 1, len(self.samples))
            try:
                made = self._made(change, amounts, sample, others)
            except ImageError:  # it cannot be read, or is too small for the change
                continue
            for step, changed in enumerate(made):
                yield step, place, changed

    def _made(
        self,
        change: str,
        amounts: tuple[float, ...],
        sample: Sample,
        others: Sequence[tuple[Sample, CutOut]],
    ) -> list[Changed]:
        """The photo at each amount, all or none of them, so that all are about the same photos."""
        photo = decode_at_most(sample.path, SIDE_PX)
        if change == _PLAIN:
            return [Changed(photo, {})]
        # Not every name is UTF-8, and none is a reason to stop.
        name = self.dataset.shown_path(sample).encode(errors="surrogatepass")
        seed = (self.seed, zlib.crc32(name), zlib.crc32(change.encode()))
        scene = self._scene(change, sample, photo, others, seed)
        if scene is None:
            return []
        return [change_photo(photo, change, amount, seed, **scene) for amount in amounts]

    def _scene(
        self,
        change: str,
        sample: Sample,
        photo: Photo,
        others: Sequence[tuple[Sample, CutOut]],
        seed: Sequence[int],
    ) -> dict[str, Any] | None:
        """What the change needs beside the photo; None where the photo is passed over."""
        fill = self.model.card.image_preparation.fill
        if not CHANGES[change].needs_item:
            return {"fill": fill}
        if change == "dirt" and not is_clean(sample):
            return None
        item = _item_mask(photo)
        own = _class_of(sample)
        strange = [
            cut for other, cut in others if other.path != sample.path and _class_of(other) != own
        ]
        if item is None or (change == "occlusion" and not strange):
            return None
        choice = int(np.random.default_rng(seed).integers(max(1, len(strange))))
        return {"fill": fill, "item": item, "other": strange[choice] if strange else None}


def _check_changes(changes: Mapping[str, Sequence[float]]) -> None:
    for name, amounts in changes.items():
        check_change(name)
        if not len(amounts):
            raise ConfigError(f"{name}: expected at least one amount, got none")
        for amount in amounts:
            check_change(name, amount)


def _class_of(sample: Sample) -> str:
    """The material, whatever the order of columns; without one the first label."""
    return sample.labels.get(MATERIAL, next(iter(sample.labels.values()), ""))


def _truth(sample: Sample, change: str, changed: Changed) -> dict[str, str]:
    """Labels of a changed photo. What a change decides never stays as it was: wet dirt has a
    level and no class of ``dirt``, so nobody is asked for one; and of a dirty item that another
    hides in part, nobody knows how much dirt can still be seen."""
    decided = change == "dirt" or (change == "occlusion" and not is_clean(sample))
    gone = {CONTAMINATION, DIRT} if decided else set()
    kept = {task: label for task, label in sample.labels.items() if task not in gone}
    return {**kept, **changed.labels}


def _asked_of(change: str, amounts: Sequence[float]) -> tuple[float, ...]:
    """Dirt decides labels, so that its clean photos are asked for, too."""
    return ((CHANGES[change].neutral,) if change == "dirt" else ()) + tuple(amounts)


def _with_plain(answered: Answered, plain: Answered) -> Answered:
    """The neutral amount first: the plain answers to those photos that were changed."""
    neutral = CHANGES[answered.change].neutral
    if answered.amounts[0] == neutral:
        return answered
    labels, answers = {}, {}
    for task, rows in answered.answers.items():
        # Not what was answered: under a change the truth of some photos is not known.
        asked = (answered.labels[task] != NOT_ASKED).any(axis=0)
        labels[task] = np.vstack(
            [np.where(asked, plain.labels[task][0], NOT_ASKED), answered.labels[task]]
        )
        answers[task] = np.vstack([np.where(asked, plain.answers[task][0], NOT_ASKED), rows])
    return Answered(answered.change, (neutral, *answered.amounts), labels, answers)


def _change_record(answered: Answered, items: _Ints | None) -> dict[str, Any]:
    change = CHANGES[answered.change]
    tasks = {}
    for task, labels in answered.labels.items():
        pairs = zip(labels, answered.answers[task], strict=True)
        rows = [_figures(*pair, items) for pair in pairs]
        worse = [row["accuracy"] for row in rows[1:] if row["n"]]
        if worse:
            tasks[task] = {"severities": rows, "mean": float(np.mean(worse))}
    return {
        "title": change.title,
        "unit": change.unit,
        "amounts": list(answered.amounts),
        "tasks": tasks,
    }


def _figures(labels: _Ints, answers: _Ints, items: _Ints | None) -> dict[str, Any]:
    asked = labels != NOT_ASKED
    correct = (labels == answers)[asked]
    n, right = len(correct), int(correct.sum())
    interval = share_interval(correct, None if items is None else items[asked])
    return {
        "n": n,
        "right": right,
        "accuracy": right / n if n else None,
        "interval": list(interval) if n else None,
    }


def _kept(
    folder: Path | None, asking: _Asking, change: str, amounts: tuple[float, ...]
) -> Answered:
    """The answers to a change: from the folder, or asked for and kept there."""
    if folder is None:
        return asking.answered(change, amounts)
    names = [
        [asking.dataset.shown_path(sample), digest, sorted(sample.labels.items())]
        for sample, digest in zip(asking.samples, asking.digests, strict=True)
    ]
    # What a change does to a photo may differ between versions.
    parts = [version("beltsight"), asking.model.hash, names, asking.seed, change, amounts]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    file = folder / f"{change}-{digest[:16]}.npz"
    kept = read_answers(file, change, amounts, [task.name for task in asking.model.tasks])
    if kept is not None:
        return kept
    make_folder(folder)  # before the work that would be lost
    answered = asking.answered(change, amounts)
    write_answers(file, answered)
    return answered


def _file_digest(path: Path) -> str:
    try:
        return content_hash(read_photo_bytes(path))
    except ImageError:
        return ""


def _item_mask(photo: Photo) -> Floats | None:
    """The item's mask, or None where its outline cannot be trusted."""
    found = find_foreground(photo)
    low, high = _ITEM_SHARES
    return found.mask if found.is_trusted and low <= found.share <= high else None


def _try_cut_out(sample: Sample) -> CutOut | None:
    """The photo's item, where it can be seen as a thing of its own."""
    try:
        photo = decode_at_most(sample.path, SIDE_PX)
        mask = _item_mask(photo)
    except ImageError:  # it cannot be read, or is too small to hold an item
        return None
    if mask is None:
        return None
    item = cut_out(photo, mask)
    return item if float((item.alpha >= 0.5).mean()) >= _SOLID else None
