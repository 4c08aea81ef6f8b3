"""Split a data set so that a test figure means something.

Photos of one item, and photos that are the same, go to one split together; every class is spread
over the splits as evenly as these whole parts allow.
"""

from __future__ import annotations

import csv
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beltsight.dataset.duplicates import find_exact, hash_file, join
from beltsight.dataset.index import Dataset, as_cell
from beltsight.dataset.scan import Progress, find_duplicates, linked, same_group, scan_photos
from beltsight.errors import ConfigError, DatasetError, ImageError, SplitError
from beltsight.files import whole
from beltsight.records import SPLITS, Sample

_ATTEMPTS = 10  # orders of parts; one does for all but a few sets of several tasks


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """A data set with new splits, and how they came about.

    Args:
        dataset: the data set; every sample has a split.
        n_parts: parts that were kept whole; a photo alone is a part.
        largest_part: photos in the largest of them.
        corrupt: photos that do not decode, as paths relative to the data set's root.
    """

    dataset: Dataset
    n_parts: int
    largest_part: int
    corrupt: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """The summary as JSON can hold it."""
        splits = Counter(sample.split for sample in self.dataset.samples)
        return {
            "n_photos": len(self.dataset.samples),
            "splits": {name: splits[name] for name in SPLITS},
            "n_parts": self.n_parts,
            "largest_part": self.largest_part,
            "corrupt": list(self.corrupt),
            "tasks": self.counts(),
        }

    def counts(self) -> dict[str, dict[str, dict[str, int]]]:
        """Photos per task, class and split."""
        table: dict[str, dict[str, dict[str, int]]] = {
            task.name: {name: dict.fromkeys(SPLITS, 0) for name in task.classes}
            for task in self.dataset.tasks
        }
        for sample in self.dataset.samples:
            for task, label in sample.labels.items():
                table[task][label][sample.split or ""] += 1
        return table


def make_splits(
    dataset: Dataset,
    *,
    val: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    near: bool = True,
    progress: Progress | None = None,
) -> SplitPlan:
    """Assign every photo to train, val or test; splits it had before are forgotten.

    Args:
        dataset: the index; every photo is read once.
        val: share of the photos for validation, 0 (none) to below 1.
        test: share of the photos for the test.
        seed: another seed, another split; the same seed, the same split.
        near: keep near duplicates together, not only byte-identical files and groups.
        progress: called with (what is done, photos done, photos in all).

    Returns:
        The plan. Photos that do not decode are assigned, too, and listed.

    Raises:
        ConfigError: shares that leave nothing for training.
        SplitError: a class has too few whole parts to be in every split.
    """
    shares = {"train": 1.0 - val - test, "val": val, "test": test}
    if min(val, test) < 0 or not shares["train"] > 0:
        raise ConfigError(
            f"val {val:g} and test {test:g}: shares must be 0 or more and leave some for training"
        )
    samples = dataset.samples
    paths = [sample.path for sample in samples]
    scans = list(scan_photos(paths, progress=progress))
    groups, pairs = find_duplicates(scans, near=near)
    parts = join(len(samples), [*same_group(samples), *linked(groups, pairs)])
    _require_enough(dataset, samples, parts, [name for name, share in shares.items() if share])
    chosen = assign(samples, parts, shares, seed)
    moved = tuple(replace(s, split=split) for s, split in zip(samples, chosen, strict=True))
    return SplitPlan(
        replace(dataset, samples=moved),
        len(set(parts)),
        max(Counter(parts).values()),
        tuple(dataset.shown_path(s) for s, scan in zip(samples, scans, strict=True) if scan.error),
    )


def holdout(dataset: Dataset, fraction: float, seed: int) -> Dataset:
    """Move part of ``train`` to ``val``; groups and byte-identical copies move together.

    Nothing is decoded: files are read only to compare their bytes, and only where their sizes
    are equal.

    Args:
        dataset: has a train split and no val split.
        fraction: share of the train photos to move, between 0 and 1.
        seed: another seed, another choice.

    Raises:
        ConfigError: a share outside 0 to 1.
        SplitError: no train split, a val split already, or a class with too few photos.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"validation share {fraction:g}: expected between 0 and 1")
    if "val" in dataset.splits:
        raise SplitError(f"{dataset.root}: it has a val split already; nothing to hold out")
    train = dataset.select("train").samples
    parts = join(len(train), [*same_group(train), *linked(find_exact(_contents(train)))])
    _require_enough(dataset, train, parts, ["train", "val"])
    chosen = assign(train, parts, {"train": 1 - fraction, "val": fraction}, seed)
    where = {sample.path: split for sample, split in zip(train, chosen, strict=True)}
    moved = tuple(
        replace(s, split=where[s.path]) if s.split == "train" else s for s in dataset.samples
    )
    return replace(dataset, samples=moved)


def assign(
    samples: Sequence[Sample], parts: Sequence[int], shares: Mapping[str, float], seed: int
) -> list[str]:
    """A split per photo: parts whole, each class in proportion, by greedy assignment.

    The parts are taken from the largest to the smallest, in random order among equals. Each goes
    to the split that lacks most photos of its labels, relative to what the split should have. A
    label with at least as many parts as splits gets one in each, unless other labels of the same
    photos stand in the way.

    Args:
        samples: N photos.
        parts: N numbers; photos with the same number stay together.
        shares: the share of each split; one of 0 gets nothing.
        seed: of the random order.

    Returns:
        N names of splits.

    Source:
        After K. Sechidis, G. Tsoumakas, I. Vlahavas, On the Stratification of Multi-Label Data,
        ECML PKDD 2011, with whole parts instead of single examples.
    """
    names = [name for name, share in shares.items() if share > 0]
    weights = np.array([shares[name] for name in names])
    table = _label_table(samples)
    members: dict[int, list[int]] = defaultdict(list)
    for place in np.random.default_rng(seed).permutation(len(samples)).tolist():
        members[parts[place]].append(place)
    sums = np.array([table[rows].sum(axis=0) for rows in members.values()])
    chosen = [""] * len(samples)
    for rows, split in zip(members.values(), _place(sums, weights / weights.sum()), strict=True):
        for place in rows:
            chosen[place] = names[split]
    return chosen


def _place(sums: NDArray[np.float64], weights: NDArray[np.float64]) -> list[int]:
    """A split per part; tried again in another order where a label lacks a split.

    Args:
        sums: (P, L) photos of each label in each part; the last column counts all of them.
        weights: (S,) share of each split, in all 1.
    """
    urgency = np.zeros(sums.shape[1])
    tries: list[tuple[int, list[int]]] = []
    for attempt in range(1, _ATTEMPTS + 1):
        urgent = np.where(sums > 0, urgency, 0).max(axis=1)
        placed, lacks = _place_in_order(sums, weights, np.lexsort((-sums[:, -1], -urgent)))
        tries.append((int(lacks.sum()), placed))
        if not lacks.any():
            break
        # What came too late this time comes first next time.
        urgency[lacks.any(axis=0)] = attempt
    return min(tries, key=lambda found: found[0])[1]


def _place_in_order(
    sums: NDArray[np.float64], weights: NDArray[np.float64], order: NDArray[np.intp]
) -> tuple[list[int], NDArray[np.bool_]]:
    """A split per part, and (S, L) where a split has nothing of a label."""
    total = sums.sum(axis=0)
    wanted = np.outer(weights, total)
    lacking = wanted.copy()
    own = sums > 0
    lacks = np.ones(wanted.shape, bool)
    left = own.sum(axis=0)  # parts of each label that are not placed yet
    placed = [0] * len(sums)
    for part in order.tolist():
        # As its photos would ask one by one, when on average half of them are there already: else
        # a small split takes a large part as gladly as train. Divided by the total, since the
        # rarest label has the fewest chances.
        need = ((lacking - (sums[part] - 1) / 2) / wanted) @ (sums[part] / total)
        # Labels with no more parts left than splits that lack them decide, if there are any.
        tight = own[part] & (left <= lacks.sum(axis=0))
        served = lacks[:, tight].sum(axis=1)
        best = int(np.where(served == served.max(), need, -np.inf).argmax())
        placed[part] = best
        lacking[best] -= sums[part]
        lacks[best] &= ~own[part]
        left -= own[part]
    return placed, lacks


def write_splits(dataset: Dataset, out: Path, *, force: bool = False) -> None:
    """Write a CSV that :func:`beltsight.load_dataset` reads: path, tasks, group, split, masks.

    The column ``mask`` is there where any photo has one. Other columns are not known to the
    data set and are left out, see its ``unread``.

    Args:
        dataset: with splits.
        out: a CSV in the data set's folder, or above it: paths are written relative to it.
        force: write over a file that is there.

    Raises:
        DatasetError: the file is there, cannot be written, a photo or mask does not lie below
            it, or has a name that is not UTF-8.
    """
    check_target(dataset, out, force=force)
    tasks = [task.name for task in dataset.tasks]
    masks = ["mask"] if any(sample.mask for sample in dataset.samples) else []
    rows = []
    for sample in dataset.samples:
        labels = [sample.labels.get(task, "") for task in tasks]
        rows.append([_below(sample.path, out), *labels, sample.group or "", sample.split or ""])
        if masks:
            rows[-1].append(_below(sample.mask, out) if sample.mask else "")
    try:
        with whole(out) as draft, draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", *tasks, "group", "split", *masks])
            writer.writerows(rows)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written: {error.strerror}") from error


def check_target(dataset: Dataset, out: Path, *, force: bool = False) -> None:
    """Refuse a CSV that :func:`write_splits` could not write, before any work is done.

    Raises:
        DatasetError: as for :func:`write_splits`.
    """
    if out.exists() and not force:
        raise DatasetError(f"{out} is there already; give another --out, or --force to replace it")
    if not out.parent.is_dir():
        raise DatasetError(f"{out}: its folder does not exist")
    for path in (path for sample in dataset.samples for path in (sample.path, sample.mask) if path):
        _below(path, out)


def _below(photo: Path, out: Path) -> str:
    try:
        return as_cell(photo.absolute().relative_to(out.absolute().parent).as_posix())
    except ValueError as error:
        raise DatasetError(
            f"{photo} does not lie below {out.parent}; write the CSV to the data set's folder"
        ) from error


def _label_table(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """(N, L) one column per task and label, and one that counts every photo."""
    pairs = sorted({pair for sample in samples for pair in sample.labels.items()})
    column = {pair: place for place, pair in enumerate(pairs)}
    table = np.zeros((len(samples), len(pairs) + 1))
    table[:, -1] = 1
    for row, sample in enumerate(samples):
        for pair in sample.labels.items():
            table[row, column[pair]] = 1
    return table


def _require_enough(
    dataset: Dataset, samples: Sequence[Sample], parts: Sequence[int], splits: Sequence[str]
) -> None:
    """Every class must have a part for every split."""
    seen: dict[tuple[str, str], set[int]] = defaultdict(set)
    for sample, part in zip(samples, parts, strict=True):
        for pair in sample.labels.items():
            seen[pair].add(part)
    for (task, label), own in sorted(seen.items()):
        if len(own) < len(splits):
            raise SplitError(
                f"{dataset.root}: class {label!r} of {task} has {len(own)} separate photos "
                f"(groups and duplicates count once); {', '.join(splits)} need one each. "
                "Add photos, merge the class into another, or ask for fewer splits"
            )


def _contents(samples: Sequence[Sample]) -> list[str | None]:
    """SHA-256 of files that share their size with another; None for all others."""
    sizes = [_size(sample.path) for sample in samples]
    shared = {size for size, count in Counter(sizes).items() if count > 1 and size is not None}
    digests: list[str | None] = []
    for sample, size in zip(samples, sizes, strict=True):
        try:
            digests.append(hash_file(sample.path) if size in shared else None)
        except ImageError:
            digests.append(None)
    return digests


def _size(path: Path) -> int | None:
    try:
        return os.path.getsize(path)
    except OSError:
        return None
