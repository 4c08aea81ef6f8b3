"""Do the features see the item, or the ground and the light of its session? Without test photos.

A photo's outer frame shows mostly ground; and photos with neighbouring numbers may show one item
or share a session, which a split photo by photo puts on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.classical.bench import Bench
from studies.classical.classifiers import Setting, answers, join_sets
from studies.classical.features import Floats, Photo, colour_histogram

Labels = NDArray[np.int64]


def outer_frame(photo: Photo, width_px: int) -> Photo:
    """The pixels within ``width_px`` of the photo's border, as a photo of one row."""
    outside = np.ones(photo.shape[:2], np.bool_)
    outside[width_px:-width_px, width_px:-width_px] = False
    return photo[outside][None]


def frame_accuracy(bench: Bench, width_px: int, bins: Sequence[int], setting: Setting) -> float:
    """Accuracy on validation where only the colours of the outer frame are known."""
    train, val = (
        np.stack(
            [colour_histogram(outer_frame(photo, width_px), bins=bins) for photo in bench.photos(s)]
        )
        for s in ("train", "val")
    )
    known, asked = (join_sets([rows], [train], [False]) for rows in (train, val))
    options = {"seed": bench.study["seed"], "trees": bench.study["forest_trees"]}
    answered = answers(setting, known, bench.labels("train"), asked, **options)
    return float((answered == bench.labels("val")).mean())


def fold_accuracy(
    bench: Bench,
    sets: Sequence[tuple[str, dict[str, Any], bool]],
    setting: Setting,
    folds: Labels,
) -> float:
    """Cross-validated accuracy over the photos of train and val."""
    own = [standardised for _, _, standardised in sets]
    blocks = [
        np.concatenate([bench.describe(kind, variant, part).rows for part in ("train", "val")])
        for kind, variant, _ in sets
    ]
    truth = np.concatenate([bench.labels("train"), bench.labels("val")])
    options = {"seed": bench.study["seed"], "trees": bench.study["forest_trees"]}
    hits = 0
    for fold in np.unique(folds):
        held = folds == fold
        known = [rows[~held] for rows in blocks]
        asked: Floats = join_sets([rows[held] for rows in blocks], known, own)
        train = join_sets(known, known, own)
        answered = answers(setting, train, truth[~held], asked, **options)
        hits += int((answered == truth[held]).sum())
    return hits / len(truth)


def assign_folds(
    names: Sequence[str], labels: Labels, n_folds: int, generator: np.random.Generator | None
) -> Labels:
    """A fold per photo, each class in equal parts.

    Args:
        names: of the files.
        labels: class indices.
        n_folds: how many.
        generator: draws at random; None cuts each class into runs of neighbouring numbers.
    """
    numbers = np.array([int((re.findall(r"\d+", name) or ["0"])[-1]) for name in names])
    folds = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(numbers[own], kind="stable")]
        if generator is not None:
            own = generator.permutation(own)
        folds[own] = np.arange(len(own)) * n_folds // len(own)
    return folds
