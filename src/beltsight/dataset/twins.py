"""Photos of one split that another split holds, too: their answers measure memory, not vision."""

from __future__ import annotations

from collections import defaultdict

from beltsight.dataset.duplicates import join
from beltsight.dataset.index import Dataset
from beltsight.dataset.scan import Progress, find_duplicates, linked, scan_photos


def find_twins(
    dataset: Dataset, split: str, *, progress: Progress | None = None
) -> dict[str, str] | None:
    """Which photos of a split have a twin in another split, byte for byte or near.

    Every photo that belongs to a split is read once. What counts as the same photo is what
    ``beltsight split`` keeps together: twins of twins are twins.

    Args:
        dataset: all of it, not the selected split alone.
        split: the one that is measured on.
        progress: called with (what is done, photos done, photos in all).

    Returns:
        The path of each such photo, and of a twin of it in another split; both relative to the
        data set, sorted. None where there is no other split to look in.
    """
    samples = [sample for sample in dataset.samples if sample.split is not None]
    if split == "all" or not any(sample.split != split for sample in samples):
        return None
    paths = [sample.path for sample in samples]
    scans = list(scan_photos(paths, progress=progress))
    members = defaultdict(list)
    parts = join(len(samples), linked(*find_duplicates(scans)))
    for sample, part in zip(samples, parts, strict=True):
        members[part].append(sample)
    twins = {}
    for same in members.values():
        others = [sample for sample in same if sample.split != split]
        if others:
            other = dataset.shown_path(others[0])
            twins.update({dataset.shown_path(s): other for s in same if s.split == split})
    return dict(sorted(twins.items()))
