"""The study's photos, copied out of three data sets into data sets of their own.

``six`` holds P1's classes. ``source`` holds photos of dry goods and, as labels, the data set that
each comes from. Training never sees a photo that has a twin among those it is measured on.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import beltsight

SPLITS = ("train", "val", "test")
LABELS_FILE = "labels.csv"
VAL_SHARE = 0.15
SEED = 0
_OPENING = beltsight.Preparation(height=32, width=32)


@dataclass(frozen=True)
class Draw:
    """Photos of one label of a new data set.

    Args:
        label: its name there.
        source: the data set that they come from.
        kinds: labels of that data set.
        test: how many test photos are wanted; all where it has fewer.
        train: how many training photos, validation included; all where 0.
    """

    label: str
    source: str
    kinds: tuple[str, ...]
    test: int
    train: int = 0


# Test counts of P1's confusion matrix.
SIX = (
    Draw("PET", "resins", ("PET",), 199),
    Draw("HDPE", "resins", ("HDPE",), 198),
    Draw("glass", "trashnet", ("glass",), 203),
    Draw("metal", "trashnet", ("metal",), 198),
    Draw("paper", "trashnet", ("paper", "cardboard"), 193),
    Draw("organic", "organic-recyclable", ("organic",), 177, train=600),
)
# Dry goods alone: organic photos would give their source away by what they show.
SOURCE = (
    Draw("trashnet", "trashnet", ("plastic",), 120, train=400),
    Draw("resins", "resins", ("PET", "HDPE"), 120, train=400),
    Draw("organic-recyclable", "organic-recyclable", ("recyclable",), 120, train=400),
)
POOLS = {"six": SIX, "source": SOURCE}


@dataclass(frozen=True)
class Row:
    """One photo of a new data set: a line of its labels.csv.

    Args:
        path: relative to the new folder.
        material: what is learned; in ``source`` the name of a data set.
        split: ``train``, ``val`` or ``test``.
        source: the data set that it comes from.
        kind: its label there.
        original: its path there.
    """

    path: str
    material: str
    split: str
    source: str
    kind: str
    original: str


def draw_rows(dataset: beltsight.Dataset, draw: Draw, *, per_split: int = 0) -> list[Row]:
    """Draw the photos of one label by seed, by the data set's own splits.

    Args:
        dataset: with a train and a test split. Where it has no val split, 15 % of what is drawn
            of train become one.
        draw: which, and how many. Photos that do not open are passed over.
        per_split: for a slice of so many photos per split, all of them drawn from train: the test
            photos stay unseen.
    """
    rng = np.random.default_rng((SEED, zlib.crc32(draw.label.encode())))
    pools: dict[str, list[beltsight.Sample]] = {}
    for split in SPLITS:
        of_split = [s for s in dataset.samples if s.split == split]
        pool = [s for s in of_split if s.labels.get("material") in draw.kinds]
        pools[split] = [pool[place] for place in rng.permutation(len(pool))]
    if per_split:
        few = list(islice(_opening(pools["train"]), 3 * per_split))
        chosen = {split: few[place::3] for place, split in enumerate(SPLITS)}
    else:
        chosen = {
            "train": list(islice(_opening(pools["train"]), draw.train or None)),
            "val": list(_opening(pools["val"])),
            "test": list(islice(_opening(pools["test"]), draw.test)),
        }
        if not chosen["val"]:
            held = round(VAL_SHARE * len(chosen["train"]))
            chosen["val"], chosen["train"] = chosen["train"][:held], chosen["train"][held:]
    return [_row(dataset, draw, split, sample) for split in SPLITS for sample in chosen[split]]


def _opening(samples: Iterable[beltsight.Sample]) -> Iterator[beltsight.Sample]:
    for sample in samples:
        try:
            beltsight.prepare(sample.path, _OPENING)
        except beltsight.BeltsightError:
            continue
        yield sample


def _row(dataset: beltsight.Dataset, draw: Draw, split: str, sample: beltsight.Sample) -> Row:
    original, kind = dataset.shown_path(sample), sample.labels["material"]
    # Names repeat over splits in some data sets.
    path = f"images/{draw.source}/{kind}/{sample.split}-{sample.path.name}"
    return Row(path, draw.label, split, draw.source, kind, original)


def twins_to_drop(groups: Iterable[Sequence[str]], split_of: Mapping[str, str]) -> dict[str, str]:
    """Photos that go because a twin of theirs stays: test goes before val, val before train.

    Args:
        groups: paths of photos that are the same; twins of twins are twins.
        split_of: the split of each.

    Returns:
        Path -> the split of the twin that stays.

    Example:
        >>> splits = {"a": "train", "b": "val", "c": "test", "d": "train", "e": "train"}
        >>> twins_to_drop([["a", "b"], ["b", "c"], ["d", "e"]], splits)
        {'a': 'test', 'b': 'test'}
    """
    parts: dict[str, set[str]] = {}
    for group in groups:
        merged = set(group).union(*(parts.get(path, set()) for path in group))
        parts |= dict.fromkeys(merged, merged)
    dropped = {}
    for path, part in sorted(parts.items()):
        last = max((split_of[one] for one in part), key=SPLITS.index)
        if split_of[path] != last:
            dropped[path] = last
    return dropped


def find_same(folder: Path) -> list[dict[str, Any]]:
    """Exact and near duplicates of a data set, by ``beltsight check``.

    Raises:
        SystemExit: the command fails.
    """
    command = [sys.executable, "-m", "beltsight", "check", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    found = json.loads(done.stdout)
    return [*found["exact"], *found["near"]]


def build_pool(
    name: str, to: Path, sources: Mapping[str, beltsight.Dataset], *, per_split: int = 0
) -> dict[str, Any]:
    """Copy a data set's photos, without training photos that have a twin in val or test.

    Args:
        name: one of ``POOLS``.
        to: its new folder.
        sources: the data sets by name.
        per_split: a slice; see :func:`draw_rows`.

    Returns:
        What was done, for JSON.
    """
    draws = POOLS[name]
    rows = []
    for draw in draws:
        dataset = sources[draw.source]
        drawn = draw_rows(dataset, draw, per_split=per_split)
        for row in drawn:
            copied = to / row.path
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes((dataset.root / row.original).read_bytes())
        rows += drawn
    write_rows(to, rows)
    same = find_same(to)
    groups = [[photo["path"] for photo in one["photos"]] for one in same]
    dropped = twins_to_drop(groups, {row.path: row.split for row in rows})
    for path in dropped:
        (to / path).unlink()
    kept = [row for row in rows if row.path not in dropped]
    write_rows(to, kept)
    test = {row.path for row in kept if row.split == "test"}
    inside = {path for group in groups if len(test & {*group}) > 1 for path in test & {*group}}
    conflicting = [group for group, one in zip(groups, same, strict=True) if one["conflicts"]]
    return {
        "photos": count_rows(kept),
        "wanted_test": {draw.label: draw.test for draw in draws},
        "dropped": {path: f"twin in {split}" for path, split in dropped.items()},
        "test_photos_with_a_twin_in_test": len(inside),
        "same_photo_two_labels": conflicting,
    }


def count_rows(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Photos per label and split."""
    counts = Counter((row.material, row.split) for row in rows)
    labels = dict.fromkeys(label for label, _ in counts)
    return {label: {split: counts[label, split] for split in SPLITS} for label in labels}


def write_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Write labels.csv."""
    with (folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def read_rows(folder: Path) -> list[Row]:
    """The lines of labels.csv."""
    with (folder / LABELS_FILE).open(newline="", encoding="utf-8") as file:
        return [Row(**line) for line in csv.DictReader(file)]
