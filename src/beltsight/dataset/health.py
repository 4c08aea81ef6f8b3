"""Check a data set before believing any figure measured on it.

Findings are data, not errors: corrupt and wrongly named files, duplicates (with two labels, across
splits), groups across splits, class counts, odd sizes, missing labels and, with a model, probably
mislabelled photos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from beltsight.dataset.duplicates import join
from beltsight.dataset.index import Dataset
from beltsight.dataset.scan import (
    Progress,
    Scan,
    find_duplicates,
    linked,
    same_group,
    scan_photos,
    wrong_suffix,
)
from beltsight.dataset.suspects import embed_photos, find_suspects
from beltsight.records import SPLITS, Floats, Sample, TaskSpec

if TYPE_CHECKING:
    from beltsight.model import Model

# Fewer photos of a class than this can neither be split three ways nor measured.
FEW_PHOTOS = 10
# Largest class over smallest: beyond it, accuracy says little about the small ones.
IMBALANCE = 10.0
NO_SPLIT = "none"
# A side that differs from the usual by this factor is odd, and by 4 robust deviations, too.
_ODD_FACTOR = 2.0
_ODD_DEVIATIONS = 4.0
_TINY_PX = 32


@dataclass(frozen=True, slots=True)
class PhotoRef:
    """A photo of the data set, as a report names it."""

    path: str
    labels: dict[str, str]
    split: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One photo and what is wrong with it."""

    photo: PhotoRef
    problem: str


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Photos that are the same.

    Args:
        kind: ``exact`` (byte for byte) or ``near`` (two photos that show the same).
        photos: two and more.
        distance: differing bits of 256 of a near pair; 0 of exact copies.
        conflicts: tasks whose labels contradict each other.
        splits: splits that the photos are in, where these are several: a leak.
    """

    kind: Literal["exact", "near"]
    photos: tuple[PhotoRef, ...]
    distance: int
    conflicts: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartedGroup:
    """Photos of one item or session that lie in several splits: a leak.

    Args:
        group: its name.
        splits: its photos per split; those without a split do not count.
        photos: the first of each split.
    """

    group: str
    splits: dict[str, int]
    photos: tuple[PhotoRef, ...]


@dataclass(frozen=True, slots=True)
class TaskHealth:
    """The labels of one task.

    Args:
        name: the task.
        counts: photos per class and split; photos without a split count under ``none``.
        imbalance: photos of the largest class over those of the smallest that has any.
        few: classes with fewer than ``FEW_PHOTOS`` photos.
        unlabelled: photos without a label of this task.
    """

    name: str
    counts: dict[str, dict[str, int]]
    imbalance: float
    few: tuple[str, ...]
    unlabelled: tuple[PhotoRef, ...]


@dataclass(frozen=True, slots=True)
class SuspectPhoto:
    """A photo that is probably mislabelled; see :class:`beltsight.dataset.suspects.Suspect`."""

    task: str
    photo: PhotoRef
    label: str
    suggestion: str
    probability: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All findings about one data set.

    Args:
        root: the data set.
        n_photos: photos in the index.
        n_readable: photos that decode.
        splits: photos per split; photos without one count under ``none``.
        corrupt: files that do not decode.
        wrong_suffix: files that decode, but are not what their names say.
        odd_sizes: photos far from the usual size or shape.
        exact: groups of byte-identical files.
        near: pairs of near duplicates.
        tasks: one per task.
        suspects: probably mislabelled, most doubtful first; None where no model was given.
        parted_groups: groups in more than one split.
    """

    root: str
    n_photos: int
    n_readable: int
    splits: dict[str, int]
    corrupt: tuple[Finding, ...]
    wrong_suffix: tuple[Finding, ...]
    odd_sizes: tuple[Finding, ...]
    exact: tuple[Duplicate, ...]
    near: tuple[Duplicate, ...]
    tasks: tuple[TaskHealth, ...]
    suspects: tuple[SuspectPhoto, ...] | None = None
    parted_groups: tuple[PartedGroup, ...] = ()

    @property
    def conflicting(self) -> tuple[Duplicate, ...]:
        """Duplicates with different labels."""
        return tuple(group for group in (*self.exact, *self.near) if group.conflicts)

    @property
    def leaking(self) -> tuple[Duplicate, ...]:
        """Duplicates across splits."""
        return tuple(group for group in (*self.exact, *self.near) if group.splits)

    @property
    def problems(self) -> dict[str, int]:
        """How many findings there are of each kind; a kind without findings is absent."""
        found = {
            "corrupt": len(self.corrupt),
            "wrong_suffix": len(self.wrong_suffix),
            "odd_sizes": len(self.odd_sizes),
            "exact_duplicates": len(self.exact),
            "near_duplicates": len(self.near),
            "conflicting_labels": len(self.conflicting),
            "across_splits": len(self.leaking),
            "groups_across_splits": len(self.parted_groups),
            "few_photos": sum(len(task.few) for task in self.tasks),
            "imbalanced": sum(task.imbalance > IMBALANCE for task in self.tasks),
            "missing_labels": sum(len(task.unlabelled) for task in self.tasks),
            "probably_mislabelled": len(self.suspects or ()),
        }
        return {kind: count for kind, count in found.items() if count}

    def to_record(self) -> dict[str, Any]:
        """The report as JSON can hold it; ``problems`` counts each kind of finding."""
        return {**asdict(self), "problems": self.problems}


def check_health(
    dataset: Dataset,
    *,
    model: Model | None = None,
    folds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> HealthReport:
    """Read every photo once and report what is wrong with the data set.

    Args:
        dataset: the index; photos are read one by one and none is kept.
        model: embeds the photos to find mislabelled ones (a second pass; needs the ``lab``
            extra). One that was trained on these very photos has seen their labels and finds
            less.
        folds: for the mislabelled.
        seed: for the mislabelled.
        progress: called with (what is done, photos done, photos in all).

    Returns:
        The findings. None of them is raised.

    Raises:
        MissingExtraError: a model is given and scikit-learn is not installed.
        DatasetError: too few labelled photos to find mislabelled ones among.
    """
    samples = dataset.samples
    refs = [PhotoRef(dataset.shown_path(s), dict(s.labels), s.split) for s in samples]
    paths = [sample.path for sample in samples]
    scans = list(scan_photos(paths, progress=progress))
    groups, pairs = find_duplicates(scans)
    suspects = None
    if model is not None:
        whole = join(len(samples), [*same_group(samples), *linked(groups, pairs)])
        usable = [place for place, scan in enumerate(scans) if scan.error is None]
        paths = [samples[place].path for place in usable]
        embeddings = embed_photos(model, paths, progress=progress)
        suspects = _suspects(dataset, refs, usable, whole, embeddings, folds=folds, seed=seed)
    return HealthReport(
        root=str(dataset.root),
        n_photos=len(samples),
        n_readable=sum(scan.error is None for scan in scans),
        splits=dict(Counter(sample.split or NO_SPLIT for sample in samples)),
        corrupt=tuple(Finding(r, s.error) for r, s in zip(refs, scans, strict=True) if s.error),
        wrong_suffix=_wrong_suffixes(samples, refs, scans),
        odd_sizes=_odd_sizes(refs, scans),
        exact=tuple(_duplicate([refs[i] for i in group], "exact") for group in groups),
        near=tuple(
            _duplicate([refs[pair.first], refs[pair.second]], "near", pair.distance)
            for pair in pairs
        ),
        tasks=tuple(_task_health(task, refs) for task in dataset.tasks),
        suspects=suspects,
        parted_groups=_parted_groups(samples, refs),
    )


def _duplicate(
    photos: Sequence[PhotoRef], kind: Literal["exact", "near"], distance: int = 0
) -> Duplicate:
    tasks = sorted({task for photo in photos for task in photo.labels})
    said = {
        task: {photo.labels[task] for photo in photos if task in photo.labels} for task in tasks
    }
    splits = sorted({photo.split for photo in photos if photo.split}, key=SPLITS.index)
    return Duplicate(
        kind=kind,
        photos=tuple(photos),
        distance=distance,
        conflicts=tuple(task for task in tasks if len(said[task]) > 1),
        splits=tuple(splits) if len(splits) > 1 else (),
    )


def _parted_groups(samples: Sequence[Sample], refs: Sequence[PhotoRef]) -> tuple[PartedGroup, ...]:
    members: dict[str, list[PhotoRef]] = {}
    for sample, ref in zip(samples, refs, strict=True):
        if sample.group and ref.split:
            members.setdefault(sample.group, []).append(ref)
    found = []
    for group, photos in sorted(members.items()):
        count = Counter(photo.split for photo in photos)
        splits = {split: count[split] for split in SPLITS if split in count}
        if len(splits) > 1:
            first = tuple(next(p for p in photos if p.split == split) for split in splits)
            found.append(PartedGroup(group, splits, first))
    return tuple(found)


def _task_health(task: TaskSpec, refs: Sequence[PhotoRef]) -> TaskHealth:
    counts: dict[str, dict[str, int]] = {name: {} for name in task.classes}
    for ref in refs:
        if task.name in ref.labels:
            row = counts[ref.labels[task.name]]
            row[ref.split or NO_SPLIT] = row.get(ref.split or NO_SPLIT, 0) + 1
    totals = {name: sum(row.values()) for name, row in counts.items()}
    used = [total for total in totals.values() if total]
    return TaskHealth(
        name=task.name,
        counts=counts,
        imbalance=round(max(used) / min(used), 3),
        few=tuple(name for name, total in totals.items() if total < FEW_PHOTOS),
        unlabelled=tuple(ref for ref in refs if task.name not in ref.labels),
    )


def _wrong_suffixes(
    samples: Sequence[Sample], refs: Sequence[PhotoRef], scans: Sequence[Scan]
) -> tuple[Finding, ...]:
    return tuple(
        Finding(ref, f"{scan.format} ({scan.mode}) named {sample.path.suffix or 'without suffix'}")
        for sample, ref, scan in zip(samples, refs, scans, strict=True)
        if scan.format and wrong_suffix(sample.path, scan.format)
    )


def _odd_sizes(refs: Sequence[PhotoRef], scans: Sequence[Scan]) -> tuple[Finding, ...]:
    """Photos whose size or shape differs by a factor, and by far more than is usual here."""
    readable = [(ref, scan) for ref, scan in zip(refs, scans, strict=True) if scan.error is None]
    if not readable:
        return ()
    sides = np.array([(scan.width, scan.height) for _, scan in readable], float)
    size = np.log2(np.sqrt(sides.prod(axis=1)))
    # Long side over short: a photo taken upright is not odd.
    shape = np.log2(sides.max(axis=1) / sides.min(axis=1))
    odd_size, odd_shape = _far_out(size), _far_out(shape)
    tiny = sides.min(axis=1) < _TINY_PX
    long, short = np.median(sides.max(axis=1)), np.median(sides.min(axis=1))
    usual = f"usual: about {long:.0f} x {short:.0f}"
    findings = []
    for place in np.flatnonzero(odd_size | odd_shape | tiny):
        ref, scan = readable[place]
        what = "tiny" if tiny[place] else "size" if odd_size[place] else "shape"
        findings.append(Finding(ref, f"{scan.width} x {scan.height} pixels ({what}; {usual})"))
    return tuple(findings)


def _far_out(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    gap = np.abs(values - np.median(values))
    # 1.4826 makes the median deviation a standard deviation where values are normal.
    usual = 1.4826 * float(np.median(gap))
    return np.asarray(gap > max(np.log2(_ODD_FACTOR), _ODD_DEVIATIONS * usual))


def _suspects(
    dataset: Dataset,
    refs: Sequence[PhotoRef],
    usable: Sequence[int],
    whole: Sequence[int],
    embeddings: Floats,
    *,
    folds: int,
    seed: int,
) -> tuple[SuspectPhoto, ...]:
    found: list[tuple[float, SuspectPhoto]] = []
    for task in dataset.tasks:
        rows = [row for row, place in enumerate(usable) if task.name in refs[place].labels]
        places = [usable[row] for row in rows]
        labels = [refs[place].labels[task.name] for place in places]
        if len(set(labels)) < 2:
            continue
        groups = [whole[place] for place in places]
        for doubt in find_suspects(
            embeddings[rows], labels, task.classes, groups=groups, folds=folds, seed=seed
        ):
            ref = refs[places[doubt.position]]
            photo = SuspectPhoto(
                task.name, ref, doubt.label, doubt.suggestion, round(doubt.probability, 6)
            )
            found.append((doubt.margin, photo))
    return tuple(photo for _, photo in sorted(found, key=lambda pair: pair[0]))
