"""A data set of clean items with simulated dirt: photos, labels and, on request, masks.

The result is an ordinary data set: photos and a ``labels.csv`` with the columns of the source's
tasks, ``contamination`` and ``dirt``, and what was done to each photo. So training, evaluation and
checks need nothing new, and what a model learned from can be looked at.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from beltsight.card import content_hash
from beltsight.dataset.duplicates import find_exact, join
from beltsight.dataset.index import Dataset, as_cell
from beltsight.dataset.scan import linked, same_group
from beltsight.dataset.soil_checks import check_kinds, check_levels, check_names
from beltsight.dataset.soil_folder import (
    begin,
    check_folder,
    keep_row,
    kept_rows,
    write_file,
    write_labels,
)
from beltsight.errors import ConfigError, DatasetError, ImageError
from beltsight.flow import ordered_map
from beltsight.image import decode, read_photo_bytes
from beltsight.image_small import shrink
from beltsight.machine import usable_cores
from beltsight.records import CONTAMINATION, DIRT, MATERIAL, Floats, Photo, Sample, is_clean
from beltsight.scene import (
    DirtSettings,
    Varied,
    find_foreground,
    load_dirt_settings,
    vary_photo,
)

_OWN_COLUMNS = ("group", "split", "mask", "source", "share", "kinds", "harmless")
_SMALLEST_ITEM = 0.03
# Larger photos are shrunk: a network sees 256 pixels, and time goes with their area.
_LONGEST_PX = 1024
Progress = Callable[[str, int, int], None]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class SoilOptions:
    """What is made of each photo.

    Args:
        copies: photos made per photo of the source, counted by class and split: an item whose
            outline cannot be trusted is not used, and others of its class are used more often.
        originals: put the source's own photos beside them, byte for byte, with the labels that
            they have and no others. They miss what every made photo goes through (light, blur,
            noise, JPEG): called clean, they would teach a camera's traces as cleanness.
        masks: write each made photo's dirt as a grey PNG in ``masks/``, named in column ``mask``.
        kinds: kinds of dirt to draw from; those of the settings where empty.
        seed: same seed, same photos; 0 or more.
    """

    copies: int = 3
    originals: bool = False
    masks: bool = False
    kinds: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.copies <= 1000:
            raise ConfigError(f"copies must be 1 to 1000, got {self.copies}")
        if self.seed < 0:
            raise ConfigError(f"seed must be 0 or more, got {self.seed}")


@dataclass(frozen=True, slots=True)
class SoiledDataset:
    """What was written.

    Args:
        folder: holds ``labels.csv`` and ``images/``.
        n_photos: photos in it, originals included.
        levels: made photos by level.
        usable: per class and split, (items used, photos of the source).
        unreadable: messages of photos that do not decode and were left out.
    """

    folder: Path
    n_photos: int
    levels: dict[str, int]
    usable: dict[str, tuple[int, int]]
    unreadable: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "folder": str(self.folder),
            "n_photos": self.n_photos,
            "simulated": True,
            "levels": self.levels,
            "items": {key: {"used": a, "photos": b} for key, (a, b) in self.usable.items()},
            "unreadable": list(self.unreadable),
        }


@dataclass(slots=True)
class _Source:
    """A photo of the source and what is known of it."""

    sample: Sample
    name: str
    stratum: str
    is_kept: bool
    group: str = ""
    digest: str = ""
    has_item: bool = False
    error: str = ""


def soil_dataset(
    dataset: Dataset,
    out: Path,
    options: SoilOptions = SoilOptions(),
    *,
    settings: DirtSettings | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> SoiledDataset:
    """Make a data set with simulated dirt.

    Args:
        dataset: photos of clean items. Those that it labels as not clean are kept as they are,
            whatever the options: real labels go before simulated ones.
        out: a new folder, or one where the same work was interrupted: it goes on.
        options: how many, of what kinds.
        settings: of dirt; the packaged ones by default.
        progress: called with (what is done, done, in all).

    Returns:
        The summary.

    Raises:
        DatasetError: ``out`` holds something else, cannot be written, no photo shows an item
            whose outline can be trusted, a photo's name is not UTF-8, the mask of a photo that is
            kept cannot be read, or a made photo would have the name of one that is kept.
        ConfigError: an unknown kind of dirt.
        TaxonomyError: the data set has other levels of contamination than simulated dirt.
    """
    chosen = settings or load_dirt_settings()
    for task in dataset.tasks:
        if task.name == CONTAMINATION:
            check_levels(task.classes, str(dataset.root), all_needed=task.ordered)
    check_kinds(options.kinds, chosen)
    check_folder(out)
    sources = [_source(dataset, sample, options) for sample in dataset.samples]
    check_names(
        (s.name for s in sources if s.is_kept), (s.name for s in sources if is_clean(s.sample))
    )
    with _mapped(_read_digest, sources) as read:
        for done, _ in enumerate(read, 1):
            progress("reading photos", done, len(sources))
    _name_groups(sources)
    begin(out, _plan_digest(sources, options, chosen))
    with _mapped(_look_for_item, sources) as looked:
        for done, _ in enumerate(looked, 1):
            progress("finding items", done, len(sources))
    jobs = _plan(sources, options)
    rows = kept_rows(out)
    todo = [job for job in jobs if _made_name(*job) not in rows]
    with _mapped(lambda job: _make(*job, out, options, chosen), todo) as made:
        for done, row in enumerate(made, len(jobs) - len(todo) + 1):
            keep_row(out, row)
            rows[row["path"]] = row
            progress("soiling", done, len(jobs))
    originals = [_keep_original(s, out) for s in sources if s.is_kept and not s.error]
    tasks = dict.fromkeys([*(task.name for task in dataset.tasks), CONTAMINATION, DIRT])
    write_labels(out, ["path", *tasks, *_OWN_COLUMNS], [*originals, *rows.values()])
    return _summary(out, sources, rows, len(originals))


def _source(dataset: Dataset, sample: Sample, options: SoilOptions) -> _Source:
    name = as_cell(dataset.shown_path(sample))
    return _Source(
        sample, name, _stratum(dataset, sample), options.originals or not is_clean(sample)
    )


def _read_digest(source: _Source) -> None:
    try:
        source.digest = content_hash(read_photo_bytes(source.sample.path))
    except ImageError as error:
        source.error = str(error)
        return
    if source.is_kept and source.sample.mask:
        _read_mask(source, source.sample.mask)  # it is copied last: say now that it cannot be


def _read_mask(source: _Source, mask: Path) -> bytes:
    try:
        return read_photo_bytes(mask)
    except ImageError as error:
        raise DatasetError(f"mask of {source.name}: {error}") from error


def _name_groups(sources: Sequence[_Source]) -> None:
    """A photo without a group is one of its own, but byte-identical copies are one item.

    Else a copy of a training photo could be held out, and its dirt recognised with the item.
    """
    copies = find_exact([source.digest or None for source in sources])
    links = [*same_group([source.sample for source in sources]), *linked(copies)]
    for source, place in zip(sources, join(len(sources), links), strict=True):
        first = sources[place]
        source.group = first.sample.group or first.name


def _look_for_item(source: _Source) -> None:
    try:
        photo = _open_photo(source.sample.path)
    except ImageError as error:
        source.error = str(error)
        return
    with suppress(ImageError):  # too small to hold an item
        source.has_item = is_clean(source.sample) and _item_mask(photo) is not None


def _open_photo(path: Path) -> Photo:
    # From all of its pixels: made photos stay what they were, byte for byte.
    return shrink(decode(path), _LONGEST_PX)


def _item_mask(photo: Photo) -> Floats | None:
    """The item's mask, or None where its outline cannot be trusted."""
    found = find_foreground(photo)
    return found.mask if found.is_trusted and found.share >= _SMALLEST_ITEM else None


def _plan(sources: Sequence[_Source], options: SoilOptions) -> list[tuple[_Source, int]]:
    """(photo, number of its variant) for every photo to be made."""
    strata: dict[str, list[_Source]] = defaultdict(list)
    for source in sources:
        if not source.error:
            strata[source.stratum].append(source)
    jobs = []
    for members in strata.values():
        usable = [source for source in members if source.has_item]
        for number in range(len(members) * options.copies if usable else 0):
            variant, place = divmod(number, len(usable))
            jobs.append((usable[place], variant))
    if not jobs:
        raise DatasetError(
            "no photo shows a clean item whose outline can be trusted, so there is nothing to "
            "soil; items must lie on a ground that they differ from, see docs/scene.md"
        )
    return jobs


def _make(
    source: _Source, variant: int, out: Path, options: SoilOptions, settings: DirtSettings
) -> dict[str, Any]:
    """Make, write and describe one photo."""
    photo = _open_photo(source.sample.path)
    mask = _item_mask(photo)
    assert mask is not None  # _plan takes no others
    seed = (options.seed, zlib.crc32(source.name.encode()), variant)
    rng = np.random.default_rng(seed)
    made = vary_photo(photo, mask, rng, kinds=options.kinds or None, settings=settings)
    name = _made_name(source, variant)
    write_file(out / name, made.jpeg)
    if options.masks:
        write_file(out / mask_name(name), _png(made.alpha))
    return {**_made_row(name, source, made), "mask": mask_name(name) if options.masks else ""}


def _made_row(name: str, source: _Source, made: Varied) -> dict[str, Any]:
    kinds = "+".join(f"{kind}:{share:.4f}" for kind, share in made.kinds.items())
    return {
        "path": name,
        **source.sample.labels,
        **{CONTAMINATION: "", DIRT: ""},
        **made.labels,
        "group": source.group,
        "split": source.sample.split or "",
        "source": source.name,
        "share": f"{made.share:.6f}",
        "kinds": kinds,
        "harmless": "+".join(made.harmless),
    }


def mask_name(path: str, suffix: str = ".png") -> str:
    """Where the mask of a photo lies, relative to the folder; those of made photos are PNG."""
    return f"masks/{path}{suffix}"


def _made_name(source: _Source, variant: int) -> str:
    # The whole name stays: glass1.jpg and glass1.png may lie side by side.
    return f"images/{source.name}.{variant}.jpg"


def _keep_original(source: _Source, out: Path) -> dict[str, Any]:
    name, own = f"images/{source.name}", source.sample.mask
    write_file(out / name, read_photo_bytes(source.sample.path))
    mask = mask_name(name, own.suffix) if own else ""
    if own:
        write_file(out / mask, _read_mask(source, own))
    return {
        "path": name,
        **source.sample.labels,
        "group": source.group,
        "split": source.sample.split or "",
        "mask": mask,
        "source": source.name,
    }


def _stratum(dataset: Dataset, sample: Sample) -> str:
    names = [task.name for task in dataset.tasks]
    label = sample.labels.get(MATERIAL if MATERIAL in names else names[0], "without label")
    return f"{label}, {sample.split}" if sample.split else label


def _plan_digest(sources: Sequence[_Source], options: SoilOptions, settings: DirtSettings) -> str:
    """What the made photos depend on."""
    photos = [
        [s.name, s.digest, sorted(s.sample.labels.items()), s.sample.split, s.sample.group]
        for s in sources
    ]
    parts = [version("beltsight"), photos, repr(options), settings.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _png(alpha: NDArray[np.float32]) -> bytes:
    _, png = cv2.imencode(".png", np.rint(alpha * 255).astype(np.uint8))
    return png.tobytes()


def _summary(
    out: Path, sources: Sequence[_Source], rows: dict[str, dict[str, Any]], n_originals: int
) -> SoiledDataset:
    usable: dict[str, tuple[int, int]] = {}
    for source in sources:
        used, total = usable.get(source.stratum, (0, 0))
        usable[source.stratum] = (used + source.has_item, total + 1)
    levels = Counter(str(row[CONTAMINATION]) for row in rows.values())
    errors = tuple(source.error for source in sources if source.error)
    return SoiledDataset(out, len(rows) + n_originals, dict(levels), usable, errors)


def _mapped(work: Callable[[T], R], items: Sequence[T]) -> closing[Generator[R]]:
    cores = usable_cores()
    return closing(ordered_map(work, items, cores, 2 * cores))
