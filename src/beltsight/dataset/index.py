"""Find the photos and labels of a data set on disk.

Three forms are understood, and told apart by what lies in the folder:

- a CSV in UTF-8, with commas, semicolons or tabs, given by itself or as ``splits.csv``,
  ``labels.csv``, ``dataset.csv`` or ``index.csv`` in the folder: a column ``path`` or ``file``, one
  column per task, optional ``group`` and ``split``; an empty cell is a missing label. Paths are
  relative to the CSV's folder or to its ``images/``.
- a folder per split with a folder per class in each: ``train/glass/1.jpg``.
- a folder per class: ``glass/1.jpg``, or ``images/glass/1.jpg``.

Hidden files and folders are passed over. A link that leaves the folder is refused.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from beltsight.config import nearest
from beltsight.errors import DatasetError, SplitError, TaxonomyError
from beltsight.image import is_photo_path
from beltsight.records import MATERIAL, SPLITS, Sample, TaskSpec
from beltsight.taxonomy import Taxonomy, load_taxonomy

CSV_NAMES = ("splits.csv", "labels.csv", "dataset.csv", "index.csv")
_SPLIT_ALIASES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_FIXED_COLUMNS = ("path", "file", "group", "split", "mask")
_MAX_CSV_BYTES = 2_000_000_000
_MAX_HEADER_CHARS = 1 << 16
_MAX_NAME_CHARS = 4096
_SHOWN_CHARS = 80
_KEPT_QUOTES = re.compile(r'\s+".*"\s*')


@dataclass(frozen=True, slots=True)
class Dataset:
    """An index of photos: where they are and what is known of them; no pixels.

    Args:
        root: the folder that paths are shown relative to.
        tasks: one TaskSpec per task that has labels.
        samples: sorted by path.
        unread: columns of its CSV that are neither labels of these tasks nor known otherwise.
    """

    root: Path
    tasks: tuple[TaskSpec, ...]
    samples: tuple[Sample, ...] = field(repr=False)  # a screen is no place for 2,527
    unread: tuple[str, ...] = ()

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


def as_cell(name: str) -> str:
    """A file's name as a CSV in UTF-8 can hold it: the name itself.

    Raises:
        DatasetError: its bytes are no UTF-8, as names from old disks and archives are.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise DatasetError(
            f"{shown}: this name is not UTF-8 (\\x stands for a byte that is not), so no CSV can "
            "hold it; rename the file or its folder"
        ) from error
    return name


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
        DatasetError: nothing there, no photos, no labels, a path or link outside the folder, a
            photo listed twice, a damaged row (the message names the line), or labels that
            differ in capitals only, or in how accents are stored.
        SplitError: a split that is none of train, val and test.
        TaxonomyError: a label that a closed task does not list, or a single class.
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
    return _from_folders(root, tasks[0] if tasks else MATERIAL, taxonomy)


def _from_folders(root: Path, task: str, taxonomy: Taxonomy) -> Dataset:
    samples = list(_in_folders(root, task, root))
    if not samples and (root / "images").is_dir():
        samples = list(_in_folders(root / "images", task, root))
    if not samples:
        raise DatasetError(
            f"{root}: no photos in class folders; expected CLASS/photo.jpg, "
            f"SPLIT/CLASS/photo.jpg, or one of {', '.join(CSV_NAMES)}"
        )
    return _dataset(root, samples, (task,), taxonomy)


def _in_folders(root: Path, task: str, whole: Path) -> Iterator[Sample]:
    """Photos by class folder, or by split and class folder; none where only ``images`` has any.

    ``whole`` is the data set's folder, which no link may leave.
    """
    photos = {folder: list(_photos_below(folder, whole)) for folder in _folders(root)}
    used = [folder for folder, found in photos.items() if found]
    splits = {f: _SPLIT_ALIASES[f.name.lower()] for f in used if f.name.lower() in _SPLIT_ALIASES}
    # A split holds class folders; a class that happens to be called 'test' holds photos.
    splits = {f: split for f, split in splits.items() if all(p.parent != f for p in photos[f])}
    if splits and len(splits) < len(used):
        odd = next(folder for folder in used if folder not in splits)
        raise DatasetError(
            f"{root}: {', '.join(folder.name for folder in splits)} look like splits, but "
            f"{odd.name!r} has photos, too; put every photo into SPLIT/CLASS/, or none"
        )
    if not splits and len(used) > 1 and all(f.name.lower() in _SPLIT_ALIASES for f in used):
        raise DatasetError(
            f"{root}: {', '.join(folder.name for folder in used)} hold photos without class "
            "folders; expected SPLIT/CLASS/photo.jpg"
        )
    if [folder.name.lower() for folder in used] == ["images"]:
        return
    for folder in used:
        inside = splits.get(folder)
        for photo in photos[folder]:
            label = photo.relative_to(folder).parts[0] if inside else folder.name
            yield Sample(photo, {task: label}, split=inside)


def _folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and not _is_debris(folder))


def _photos_below(folder: Path, root: Path) -> Iterator[Path]:
    """Photos in a folder and its folders, sorted; links to folders are not followed.

    One to a folder outside ``root`` is refused, since its photos would be missing without a word;
    what a link inside shows is in the data set already.
    """
    real = os.path.realpath(root)
    for where, folders, files in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(name for name in folders if not _is_debris(Path(name)))
        for inner in (Path(where, name) for name in folders):
            if inner.is_symlink() and not _is_within(inner, real):
                raise _link_outside(inner, root)
        for name in sorted(files):
            photo = Path(where, name)
            if is_photo_path(photo) and not _is_debris(photo) and photo.is_file():
                yield photo


def _refuse_folder(error: OSError) -> None:
    """Photos that cannot be listed would otherwise be missing without a word."""
    raise DatasetError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def _is_debris(path: Path) -> bool:
    """What editors and other systems leave: ``.git``, ``.ipynb_checkpoints``, ``._photo.jpg``."""
    return path.name.startswith(".") or path.name == "__MACOSX"


def _from_csv(path: Path, tasks: Sequence[str], taxonomy: Taxonomy) -> Dataset:
    try:
        if path.stat().st_size > _MAX_CSV_BYTES:
            raise DatasetError(f"{path}: over {_MAX_CSV_BYTES:,} bytes; split it into several")
        with path.open(newline="", encoding="utf-8-sig") as file:
            delimiter = _delimiter(file.readline(_MAX_HEADER_CHARS))
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, strict=True)
            columns = [column.strip() for column in next(rows, [])]
            columns = [name.lower() if name.lower() in _FIXED_COLUMNS else name for name in columns]
            wanted = _task_columns(path, columns, tasks, taxonomy)
            samples = _csv_samples(path, rows, columns, wanted)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path}: not UTF-8 text ({error.reason}); save it as 'CSV UTF-8'"
        ) from error
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: not readable as CSV: {error}") from error
    if not samples:
        raise DatasetError(f"{path}: no rows below the header")
    if not any(sample.path.exists() for sample in samples):
        raise DatasetError(
            f"{path}: not one of its {len(samples):,} photos is there; the first is looked for at "
            f"{samples[0].path}. Paths are relative to the CSV's folder or its images/"
        )
    unread = [name for name in columns if name and name not in (*_FIXED_COLUMNS, *wanted)]
    return replace(_dataset(path.parent, samples, wanted, taxonomy), unread=tuple(unread))


def _delimiter(header: str) -> str:
    """Comma, or what a spreadsheet writes where the comma is the decimal sign."""
    return max(",;\t", key=header.count) if header else ","


def _task_columns(
    path: Path, columns: list[str], tasks: Sequence[str], taxonomy: Taxonomy
) -> tuple[str, ...]:
    if not {"path", "file"} & set(columns):
        shown = ", ".join(columns)[:_SHOWN_CHARS] or "none"
        raise DatasetError(f"{path}: no column 'path' or 'file'; it has {shown}")
    # A header in capitals still names the task that the taxonomy knows.
    known = {name.lower(): name for name in taxonomy.tasks}
    for place, column in enumerate(columns):
        if not tasks and column.lower() in known:
            columns[place] = known[column.lower()]
    twice = [column for column in columns if column and columns.count(column) > 1]
    if twice:
        raise DatasetError(f"{path}: two columns are called {twice[0]!r}")
    others = [column for column in columns if column not in _FIXED_COLUMNS]
    for task in tasks:
        if task not in others:
            raise DatasetError(f"{path}: no label column {task!r}; {nearest(task, others)}")
    wanted = tuple(tasks) or tuple(name for name in columns if name in taxonomy.tasks)
    if not wanted:
        raise DatasetError(
            f"{path}: no column is a task of the taxonomy ({', '.join(taxonomy.tasks)}); "
            f"name the label columns with --task (it has {', '.join(others) or 'none'})"
        )
    return wanted


def _csv_samples(path: Path, rows: Any, columns: list[str], tasks: tuple[str, ...]) -> list[Sample]:
    samples: list[Sample] = []
    seen: dict[str, int] = {}
    for cells in rows:
        line = f"{path}, line {rows.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        # Behind a space CSV takes a quote for a part of the name.
        if odd := [cell.strip() for cell in cells if _KEPT_QUOTES.fullmatch(cell)]:
            shown = odd[0][:_SHOWN_CHARS]
            raise DatasetError(f"{line}: {shown} has a space before its quote; take the space out")
        if len(cells) != len(columns):
            raise DatasetError(
                f"{line}: {len(cells)} cells, but the header has {len(columns)}; "
                "a name with a comma must stand in double quotes, with no space before them"
            )
        sample = _csv_sample(line, path.parent, dict(zip(columns, cells, strict=True)), tasks)
        before = seen.setdefault(os.path.normpath(sample.path), rows.line_num)
        if before != rows.line_num:
            raise DatasetError(f"{line}: {sample.path.name} stands in line {before} already")
        samples.append(sample)
    return samples


def _csv_sample(line: str, root: Path, row: dict[str, str], tasks: tuple[str, ...]) -> Sample:
    photo = _csv_photo(line, root, row.get("path") or row.get("file") or "")
    labels = {task: text for task in tasks if (text := row[task].strip())}
    group = row.get("group", "").strip() or None
    for text in (*labels.values(), group or ""):
        if not text.isprintable():
            raise DatasetError(f"{line}: {text[:_SHOWN_CHARS]!r} holds control characters")
    split = row.get("split", "").strip().lower()
    if split and split not in _SPLIT_ALIASES:
        raise SplitError(f"{line}: split {split[:_SHOWN_CHARS]!r}; {nearest(split, SPLITS)}")
    mask = _csv_photo(line, root, row["mask"]) if row.get("mask", "").strip() else None
    return Sample(photo, labels, group, _SPLIT_ALIASES.get(split), mask)


def _csv_photo(line: str, root: Path, text: str) -> Path:
    """Where a photo lies: as written, below ``images/``, or with the slashes of Windows."""
    name = text.strip()
    shown = repr(name[:_SHOWN_CHARS])
    if not name:
        raise DatasetError(f"{line}: no file name")
    if "\0" in name or len(name) > _MAX_NAME_CHARS:
        raise DatasetError(f"{line}: {shown} cannot be a file name")
    windows = PureWindowsPath(name)
    if windows.drive or windows.root or ".." in windows.parts:
        raise DatasetError(f"{line}: {shown} leaves the CSV's folder; use relative paths inside it")
    for spelling in dict.fromkeys((text, name, windows.as_posix())):
        for base in (root, root / "images"):
            # os.path, since it answers False to names that a file system refuses.
            if os.path.exists(base / spelling):
                return base / spelling
    return root / windows.as_posix()


def _dataset(
    root: Path, samples: list[Sample], tasks: tuple[str, ...], taxonomy: Taxonomy
) -> Dataset:
    _refuse_links_outside(root, samples)
    specs = []
    for task in tasks:
        labels = {sample.labels[task] for sample in samples if task in sample.labels}
        if labels:
            specs.append(_spec(root, task, labels, taxonomy))
    if not specs:
        raise DatasetError(f"{root}: not one photo has a label for {', '.join(tasks)}")
    ordered = tuple(sorted(samples, key=lambda sample: sample.path.as_posix()))
    return Dataset(root, tuple(specs), ordered)


def _spec(root: Path, task: str, labels: set[str], taxonomy: Taxonomy) -> TaskSpec:
    alike: dict[str, str] = {}
    for label in sorted(labels):
        other = alike.setdefault(unicodedata.normalize("NFC", label).casefold(), label)
        if other != label:
            raise DatasetError(
                f"{root}: labels {other!r} and {label!r} of {task} differ in capitals only, or in "
                "how accents are stored; write them alike"
            )
    try:
        return taxonomy.spec(task, labels)
    except TaxonomyError as error:
        raise TaxonomyError(f"{root}: {error}") from error


def _refuse_links_outside(root: Path, samples: list[Sample]) -> None:
    """No photo may lie outside the folder: a data set of strangers could point anywhere."""
    real = os.path.realpath(root)
    inside: dict[Path, bool] = {}
    for path in (path for sample in samples for path in (sample.path, sample.mask) if path):
        parent = path.parent
        if parent not in inside:  # one look per folder, not per photo
            inside[parent] = _is_within(parent, real)
        if not inside[parent] or (path.is_symlink() and not _is_within(path, real)):
            raise _link_outside(path, root)


def _link_outside(path: Path, root: Path) -> DatasetError:
    return DatasetError(
        f"{path} is reached by a link that leaves {root}; copy the photos into the folder"
    )


def _is_within(path: Path, real_root: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), real_root]) == real_root
