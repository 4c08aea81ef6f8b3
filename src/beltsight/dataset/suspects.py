"""Find photos that are probably mislabelled, by confident learning.

A classifier that never saw a photo says what it takes it for; where it is surer of another class
than it usually is of that class's own photos, the label is suspect. The method finds label errors
and photos that are truly hard; a person looks at the list and decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import DatasetError, MissingExtraError
from beltsight.flow import ordered_map
from beltsight.machine import usable_cores
from beltsight.records import Floats

if TYPE_CHECKING:
    from beltsight.dataset.scan import Progress
    from beltsight.model import Model

# Strength of the classifier's regularisation: scikit-learn's C is this over the number of features,
# so that a photo's score varies as much whatever the backbone. Chosen on TrashNet's train and val
# photos and frozen MobileNetV2 features (C = 0.01) by the out-of-fold log loss; a factor of three
# either way makes it 4 to 6 % worse.
_SCORE_VARIANCE = 12.8
_MAX_ITERATIONS = 1000


@dataclass(frozen=True, slots=True)
class Suspect:
    """One photo whose label is doubtful.

    Args:
        position: its place among the photos given.
        label: the label it has.
        suggestion: the label it probably should have.
        probability: out-of-fold probability of ``suggestion``, 0 to 1.
        margin: probability of ``label`` less that of ``suggestion``, -1 to 1; the lower,
            the more doubtful.
    """

    position: int
    label: str
    suggestion: str
    probability: float
    margin: float


def find_suspects(
    embeddings: Floats,
    labels: Sequence[str],
    classes: Sequence[str],
    *,
    groups: Sequence[int] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> tuple[Suspect, ...]:
    """Rank the photos whose label a classifier on all other photos contradicts.

    Args:
        embeddings: float32 (N, D), one row per photo.
        labels: N class names.
        classes: the task's classes; one without any label is passed over.
        groups: N numbers; photos with the same number (copies of one photo, one item) are
            never in and out of the fold at once, or a copy would confirm its twin's error.
        folds: parts to predict from the others, at least 2.
        seed: of the folds.

    Returns:
        Suspects, the most doubtful first.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        DatasetError: fewer than two classes have photos in two folds or more.
    """
    present = [name for name in classes if name in set(labels)]
    codes = np.array([present.index(label) for label in labels])
    probabilities = out_of_fold(
        embeddings, codes, len(present), groups=groups, folds=folds, seed=seed
    )
    found = confident_errors(probabilities, codes)
    return tuple(
        Suspect(
            position=int(row),
            label=present[codes[row]],
            suggestion=present[other],
            probability=float(probabilities[row, other]),
            margin=float(probabilities[row, codes[row]] - probabilities[row, other]),
        )
        for row, other in found
    )


def embed_photos(
    model: Model,
    paths: Sequence[Path],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Floats:
    """The model's embedding of every photo; only a batch of photos is held, and a few ahead.

    Args:
        model: any model file; its own answers are not used.
        paths: N photos that decode.
        batch_size: photos per call of the model.
        progress: called after every batch.

    Returns:
        float32 (N, D).

    Raises:
        ImageError: a photo cannot be used.
    """
    parts: list[Floats] = []
    done, cores = 0, usable_cores()
    with closing(ordered_map(model.prepare, paths, cores, 2 * cores)) as prepared:
        while photos := list(islice(prepared, batch_size)):
            parts.append(model.outputs(np.stack(photos), ["embedding"], batch_size)["embedding"])
            done += len(photos)
            if progress is not None:
                progress("Embedding photos", done, len(paths))
    return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


def out_of_fold(
    embeddings: Floats,
    codes: NDArray[np.int_],
    n_classes: int,
    *,
    groups: Sequence[int] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Class probabilities of every photo by a logistic regression that did not see it.

    Args:
        embeddings: float32 (N, D).
        codes: int (N,) class of each photo, 0 to ``n_classes`` - 1.
        n_classes: number of classes.
        groups: as for :func:`find_suspects`.
        folds: at least 2.
        seed: of the folds.

    Returns:
        float64 (N, n_classes); rows sum to 1.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        DatasetError: as for :func:`find_suspects`.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError("looking for mislabelled photos", "lab") from error
    fold = _assign_folds(codes, groups, folds, seed)
    probabilities = np.zeros((len(codes), n_classes))
    for held in range(folds):
        inside, outside = fold != held, fold == held
        if not outside.any():
            continue
        if len(np.unique(codes[inside])) < 2:
            raise DatasetError(
                "too few labelled photos to look for mislabelled ones: "
                f"{len(codes)} photos of {n_classes} classes; expected some ten per class"
            )
        classifier = make_pipeline(
            StandardScaler(),
            LogisticRegression(C=_SCORE_VARIANCE / embeddings.shape[1], max_iter=_MAX_ITERATIONS),
        )
        classifier.fit(embeddings[inside], codes[inside])
        known = classifier[-1].classes_
        probabilities[np.ix_(outside, known)] = classifier.predict_proba(embeddings[outside])
    return probabilities


def confident_errors(
    probabilities: NDArray[np.float64], codes: NDArray[np.int_]
) -> list[tuple[int, int]]:
    """The off-diagonal of the confident joint, ranked by normalised margin.

    Args:
        probabilities: float64 (N, C) out-of-fold.
        codes: int (N,) the labels given.

    Returns:
        (row, the class it probably is), the most doubtful first.

    Source:
        C. Northcutt, L. Jiang, I. Chuang, Confident Learning: Estimating Uncertainty in Dataset
        Labels, JAIR 70 (2021), equations (1) and (2): a photo with label i counts as class j
        where j is the most probable of all classes whose probability reaches their threshold,
        the mean probability of j over photos labelled j; section 3.2: normalised margin.

    Example:
        >>> table = np.array([[.9, .1], [.8, .2], [.3, .7], [.2, .8], [.95, .05]])
        >>> confident_errors(table, np.array([0, 0, 1, 1, 1]))
        [(4, 0)]
    """
    n_classes = probabilities.shape[1]
    # A class without photos has no threshold, and nothing counts as it.
    thresholds = np.full(n_classes, np.inf)
    for code in np.unique(codes):
        thresholds[code] = probabilities[codes == code, code].mean()
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    taken_for = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) >= 0) & (taken_for != codes))
    margin = probabilities[rows, codes[rows]] - probabilities[rows, taken_for[rows]]
    ranked = rows[np.argsort(margin, kind="stable")]
    return [(int(row), int(taken_for[row])) for row in ranked]


def _assign_folds(
    codes: NDArray[np.int_], groups: Sequence[int] | None, folds: int, seed: int
) -> NDArray[np.int_]:
    """A fold per photo: groups whole, classes spread evenly."""
    whole = np.arange(len(codes)) if groups is None else np.unique(groups, return_inverse=True)[1]
    generator = np.random.default_rng(seed)
    members: dict[int, list[int]] = {}
    for row in generator.permutation(len(codes)).tolist():
        members.setdefault(int(whole[row]), []).append(row)
    fold = np.zeros(len(codes), int)
    held = np.zeros((folds, int(codes.max(initial=0)) + 1))
    # Large groups first, while there is room; each goes where its first class is scarcest.
    for rows in sorted(members.values(), key=len, reverse=True):
        chosen = int(np.lexsort((held.sum(axis=1), held[:, codes[rows[0]]]))[0])
        fold[rows] = chosen
        np.add.at(held[chosen], codes[rows], 1)
    return fold
