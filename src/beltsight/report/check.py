"""A data set's findings as a page: what is wrong, with the photos side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from beltsight.dataset.health import (
    FEW_PHOTOS,
    IMBALANCE,
    NO_SPLIT,
    Duplicate,
    Finding,
    HealthReport,
    PartedGroup,
    PhotoRef,
    SuspectPhoto,
    TaskHealth,
)
from beltsight.dataset.index import Dataset
from beltsight.errors import ImageError
from beltsight.image import decode
from beltsight.records import SPLITS
from beltsight.report.render import photo_uri, render, write_page
from beltsight.taxonomy import Taxonomy, load_taxonomy

# Of each kind; a page with thousands of photos opens on no machine. --json has all.
MOST_PHOTOS = 60
MOST_ROWS = 200
_THUMBNAIL_PX = 320

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Shown:
    """One photo on the page."""

    path: str
    folder: str
    name: str
    labels: tuple[str, ...]
    split: str | None
    uri: str | None


@dataclass(frozen=True, slots=True)
class ShownClass:
    """One bar of the class counts."""

    name: str
    shown: str
    colour: str
    counts: tuple[int, ...]
    total: int
    width_percent: float
    few: bool


@dataclass(frozen=True, slots=True)
class ShownTask:
    """The class counts of one task."""

    name: str
    columns: tuple[str, ...]
    classes: tuple[ShownClass, ...]
    imbalance: float
    imbalanced: bool
    unlabelled: tuple[str, ...]
    n_unlabelled: int


def write_check_page(
    report: HealthReport, dataset: Dataset, out: Path, *, taxonomy: Taxonomy | None = None
) -> None:
    """Write the page of ``beltsight check --html``: one file that needs no other.

    Args:
        report: the findings.
        dataset: the data set they are about; its photos are shown.
        out: the page; its folder is made where it is missing.
        taxonomy: display names and colours of classes; the packaged one by default.

    Raises:
        BeltsightError: the page cannot be written.
    """
    write_page(out, check_page(report, dataset, taxonomy=taxonomy))


def check_page(report: HealthReport, dataset: Dataset, *, taxonomy: Taxonomy | None = None) -> str:
    """The page as text; see :func:`write_check_page`."""
    taxonomy = taxonomy or load_taxonomy()
    paths = {dataset.shown_path(sample): sample.path for sample in dataset.samples}
    conflicting = _duplicates(report.conflicting, paths)
    leaking = _duplicates([d for d in report.leaking if not d.conflicts], paths)
    others = [d for d in (*report.exact, *report.near) if not d.conflicts and not d.splits]
    return render(
        "check.html.j2",
        title=f"Health of {dataset.root.resolve().name or dataset.root}",
        subtitle=_subtitle(report),
        report=report,
        verdict=_verdict(report),
        tasks=[_task(task, taxonomy) for task in report.tasks],
        conflicting=conflicting,
        leaking=leaking,
        parted=_parted(report.parted_groups, paths),
        n_leaking=sum(1 for d in report.leaking if not d.conflicts),
        others=_duplicates(others, paths),
        n_others=len(others),
        suspects=_suspects(report.suspects, paths),
        odd=[(_shown(f.photo, paths), f.problem) for f in report.odd_sizes[:MOST_PHOTOS]],
        files=[
            ("Corrupt files", "corrupt", _first(report.corrupt), len(report.corrupt)),
            (
                "Not what the name says",
                "wrong-suffix",
                _first(report.wrong_suffix),
                len(report.wrong_suffix),
            ),
        ],
        few_photos=FEW_PHOTOS,
        most_rows=MOST_ROWS,
        most_photos=MOST_PHOTOS,
    )


def _first(findings: Sequence[Finding]) -> Sequence[Finding]:
    return findings[:MOST_ROWS]


def _subtitle(report: HealthReport) -> str:
    known = [split for split in (*SPLITS, NO_SPLIT) if split in report.splits]
    names = [f"{report.splits[split]:,} {_split_name(split)}" for split in known]
    return f"{report.n_photos:,} photos: {', '.join(names)}."


def _split_name(split: str) -> str:
    return "without a split" if split == NO_SPLIT else split


def _verdict(report: HealthReport) -> list[str]:
    """What to do, gravest first; empty where nothing was found."""
    said = []
    if report.leaking:
        said.append(
            f"{len(report.leaking)} duplicates lie across splits: a test figure counts photos "
            "that the model may have learned by heart. Split again with 'beltsight split'."
        )
    if report.parted_groups:
        said.append(
            f"{len(report.parted_groups)} groups lie across splits: a test figure counts photos of "
            "items that the model learned from. Split again with 'beltsight split'."
        )
    if report.conflicting:
        said.append(
            f"{len(report.conflicting)} duplicates have different labels: at least one of each "
            "is wrong. Correct it, or take both out."
        )
    if report.corrupt:
        said.append(f"{len(report.corrupt)} files cannot be read. Copy them again or remove them.")
    for task in report.tasks:
        if task.few:
            said.append(
                f"{task.name}: fewer than {FEW_PHOTOS} photos of {', '.join(task.few)}; "
                "no figure about these means anything."
            )
        if task.imbalance > IMBALANCE:
            said.append(
                f"{task.name}: the largest class has {task.imbalance:.0f} times the photos of "
                "the smallest. Read the recall per class, not the accuracy."
            )
    return said


def _task(task: TaskHealth, taxonomy: Taxonomy) -> ShownTask:
    present = {split for row in task.counts.values() for split in row}
    columns = tuple(split for split in (*SPLITS, NO_SPLIT) if split in present)
    totals = {name: sum(row.values()) for name, row in task.counts.items()}
    largest = max(totals.values())
    classes = []
    for place, (name, row) in enumerate(task.counts.items()):
        look = taxonomy.show(task.name, name, place)
        counts = tuple(row.get(split, 0) for split in columns)
        width = 100 * totals[name] / largest
        few = name in task.few
        classes.append(ShownClass(name, look.name, look.colour, counts, totals[name], width, few))
    return ShownTask(
        name=task.name,
        columns=tuple("no split" if split == NO_SPLIT else split for split in columns),
        classes=tuple(classes),
        imbalance=task.imbalance,
        imbalanced=task.imbalance > IMBALANCE,
        unlabelled=tuple(ref.path for ref in task.unlabelled[:MOST_ROWS]),
        n_unlabelled=len(task.unlabelled),
    )


def _duplicates(
    found: Sequence[Duplicate], paths: dict[str, Path]
) -> list[tuple[Duplicate, list[Shown]]]:
    """With the first two photos of each; a third byte-identical copy shows nothing new."""
    return [(d, [_shown(photo, paths) for photo in d.photos[:2]]) for d in found[:MOST_PHOTOS]]


def _parted(
    found: Sequence[PartedGroup], paths: dict[str, Path]
) -> list[tuple[PartedGroup, list[Shown]]]:
    """With a photo of the first split and one of the last: train and test, where it is in both."""
    return [
        (group, [_shown(photo, paths) for photo in (group.photos[0], group.photos[-1])])
        for group in found[:MOST_PHOTOS]
    ]


def _suspects(
    suspects: Sequence[SuspectPhoto] | None, paths: dict[str, Path]
) -> list[tuple[SuspectPhoto, Shown]] | None:
    if suspects is None:
        return None
    return [(suspect, _shown(suspect.photo, paths)) for suspect in suspects[:MOST_PHOTOS]]


def _shown(ref: PhotoRef, paths: dict[str, Path]) -> Shown:
    folder, _, name = ref.path.rpartition("/")
    try:
        photo = decode(paths[ref.path], enough=(_THUMBNAIL_PX, _THUMBNAIL_PX))
        uri = photo_uri(photo, _THUMBNAIL_PX, quality=78)
    except ImageError:
        uri = None
    return Shown(ref.path, folder, name, tuple(ref.labels.values()), ref.split, uri)
