"""Find the photos and labels of a data set on disk.

Three forms are understood, and told apart by what lies in the folder:

- a CSV, given by itself or as ``splits.csv``, ``labels.csv``, ``dataset.csv`` or ``index.csv``
  in the folder: a column ``path`` or ``file``, one column per task, optional ``group`` and
  ``split``; an empty cell is a missing label. Paths are relative to the CSV's folder or to its
  ``images/``.
- a folder per split with a folder per class in each: ``train/glass/1.jpg``.
- a folder per class: ``glass/1.jpg``.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from beltsight.config import nearest
from beltsight.errors import DatasetError, SplitError
from beltsight.image import is_photo_path
from beltsight.records import SPLITS, Sample, TaskSpec
from beltsight.taxonomy import Taxonomy, load_taxonomy

CSV_NAMES = ("splits.csv", "labels.csv", "dataset.csv", "index.csv")
_SPLIT_ALIASES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_FIXED_COLUMNS = ("path", "file", "group", "split")


@dataclass(frozen=True, slots=True)
class Dataset:
    """An index of photos: where they are and what is known of them; no pixels.

    Args:
        root: the folder that paths are shown relative to.
        tasks: one TaskSpec per task that has labels.
        samples: sorted by path.
    """

    root: Path
    tasks: tuple[TaskSpec, ...]
    samples: tuple[Sample, ...]

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that samples belong to, in the order train, val, test."""
        present = {sample.split for sample in self.samples}
        return tuple(split for split in SPLITS if split in present)

    def select(self, split: str) -> Dataset:
        """The samples of one split; ``all`` selects every sample.

        Raises:
            SplitError: the data set has no such split.
        """
        if split == "all":
            return self
        chosen = tuple(sample for sample in self.samples if sample.split == split)
        if not chosen:
            have = f"it has {', '.join(self.splits)}" if self.splits else "it has no splits"
            raise SplitError(
                f"{self.root}: no photo is in split {split!r}; {have}. Make splits with "
                f"'beltsight split', or measure on every photo with --split all"
            )
        return replace(self, samples=chosen)

    def task(self, name: str) -> TaskSpec:
        """The TaskSpec of one task.

        Raises:
            DatasetError: the data set has no labels for it.
        """
        for spec in self.tasks:
            if spec.name == name:
                return spec
        have = ", ".join(spec.name for spec in self.tasks)
        raise DatasetError(f"{self.root}: no labels for task {name!r}; it has {have}")

    def shown_path(self, sample: Sample) -> str:
        """The sample's path relative to the root, with forward slashes."""
        try:
            return sample.path.relative_to(self.root).as_posix()
        except ValueError:
            return sample.path.as_posix()


def load_dataset(
    path: str | os.PathLike[str],
    *,
    tasks: Sequence[str] = (),
    taxonomy: Taxonomy | None = None,
) -> Dataset:
    """Index a data set.

    Args:
        path: a folder or a CSV file.
        tasks: task columns of the CSV, or the one task that class folders label
            (default: the columns that the taxonomy names; ``material`` for folders).
        taxonomy: what may be labelled; the packaged one by default.

    Raises:
        DatasetError: nothing there, no photos, no labels, a path outside the folder.
        TaxonomyError: a label that a closed task does not list.
    """
    root = Path(path)
    taxonomy = taxonomy or load_taxonomy()
    if root.is_file():
        return _from_csv(root, tasks, taxonomy)
    if not root.is_dir():
        raise DatasetError(
            f"{root}: no such folder or CSV; give a folder of class folders, or a CSV with "
            "columns path, material (TrashNet comes with 'beltsight fetch trashnet')"
        )
    for name in CSV_NAMES:
        if (root / name).is_file():
            return _from_csv(root / name, tasks, taxonomy)
    return _from_folders(root, tasks[0] if tasks else "material", taxonomy)


def _from_folders(root: Path, task: str, taxonomy: Taxonomy) -> Dataset:
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    by_split = [(_SPLIT_ALIASES.get(folder.name.lower()), folder) for folder in folders]
    samples = []
    if folders and all(split for split, _ in by_split):
        for split, folder in by_split:
            samples += list(_class_folders(folder, task, split))
    else:
        samples += list(_class_folders(root, task, None))
    if not samples:
        raise DatasetError(
            f"{root}: no photos in class folders; expected CLASS/photo.jpg, "
            f"SPLIT/CLASS/photo.jpg, or one of {', '.join(CSV_NAMES)}"
        )
    return _dataset(root, samples, (task,), taxonomy)


def _class_folders(root: Path, task: str, split: str | None) -> Iterator[Sample]:
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            for photo in sorted(folder.rglob("*")):
                if is_photo_path(photo) and photo.is_file():
                    yield Sample(photo, {task: folder.name}, split=split)


def _from_csv(path: Path, tasks: Sequence[str], taxonomy: Taxonomy) -> Dataset:
    root = path.parent
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            wanted = _task_columns(path, columns, tasks, taxonomy)
            samples = [_csv_sample(path, reader.line_num, row, wanted) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not readable as CSV: {error}") from error
    if not samples:
        raise DatasetError(f"{path}: no rows below the header")
    return _dataset(root, samples, wanted, taxonomy)


def _task_columns(
    path: Path, columns: list[str], tasks: Sequence[str], taxonomy: Taxonomy
) -> tuple[str, ...]:
    if not {"path", "file"} & set(columns):
        raise DatasetError(f"{path}: no column 'path' or 'file'; it has {', '.join(columns)}")
    for task in tasks:
        if task not in columns:
            raise DatasetError(f"{path}: no column {task!r}; {nearest(task, columns)}")
    wanted = tuple(tasks) or tuple(name for name in columns if name in taxonomy.tasks)
    if not wanted:
        others = [column for column in columns if column not in _FIXED_COLUMNS]
        raise DatasetError(
            f"{path}: no column is a task of the taxonomy ({', '.join(taxonomy.tasks)}); "
            f"name the label columns with --task (it has {', '.join(others) or 'none'})"
        )
    return wanted


def _csv_sample(
    path: Path, line: int, row: dict[str, str | None], tasks: tuple[str, ...]
) -> Sample:
    name = (row.get("path") or row.get("file") or "").strip()
    if not name:
        raise DatasetError(f"{path}, line {line}: no file name")
    if os.path.isabs(name) or ".." in Path(name).parts:
        raise DatasetError(
            f"{path}, line {line}: {name!r} leaves the CSV's folder; use relative paths inside it"
        )
    photo = path.parent / name
    if not photo.exists() and (path.parent / "images" / name).exists():
        photo = path.parent / "images" / name
    labels = {task: text for task in tasks if (text := (row.get(task) or "").strip())}
    split = (row.get("split") or "").strip().lower()
    if split and split not in _SPLIT_ALIASES:
        raise SplitError(f"{path}, line {line}: split {split!r}; {nearest(split, SPLITS)}")
    group = (row.get("group") or "").strip() or None
    return Sample(photo, labels, group, _SPLIT_ALIASES.get(split))


def _dataset(
    root: Path, samples: list[Sample], tasks: tuple[str, ...], taxonomy: Taxonomy
) -> Dataset:
    specs = []
    for task in tasks:
        labels = [sample.labels[task] for sample in samples if task in sample.labels]
        if labels:
            specs.append(taxonomy.spec(task, labels))
    if not specs:
        raise DatasetError(f"{root}: not one photo has a label for {', '.join(tasks)}")
    ordered = tuple(sorted(samples, key=lambda sample: sample.path.as_posix()))
    return Dataset(root, tuple(specs), ordered)
