"""Which photos of a split a model knows already: a figure on them is no test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from beltsight.card import Card, TrainingCard, is_marked, pack_marks, unpack_marks
from beltsight.dataset.duplicates import hash_photos
from beltsight.dataset.index import Dataset
from beltsight.errors import SplitError
from beltsight.records import Sample

LEAK_LIMIT = 0.05
"""A split with a larger share of photos that the model knows is not a test split."""


@dataclass(frozen=True, slots=True)
class Leak:
    """Photos measured on that the model has learned from or was chosen by.

    Args:
        learned: paths of photos that the model was trained on.
        chosen_by: paths of its validation photos.
        checked: False where the model's card does not record what it was trained on.

    Photos are known by their bytes, by the marks in the model's card; a copy that was saved again
    is none of these but a twin, see :func:`beltsight.dataset.twins.find_twins`.
    """

    learned: tuple[str, ...] = ()
    chosen_by: tuple[str, ...] = ()
    checked: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them, sorted."""
        return tuple(sorted({*self.learned, *self.chosen_by}))


def find_leak(
    dataset: Dataset, samples: Sequence[Sample], card: Card, digests: Mapping[Path, str]
) -> Leak:
    """Which photos the model was trained on or chosen by, by the marks in its card.

    Args:
        dataset: gives the paths their shown form.
        samples: the photos to look at.
        card: of the model.
        digests: by :func:`beltsight.dataset.duplicates.hash_photos`.
    """
    learned_marks = unpack_marks(card.training.train_marks)
    chosen_marks = unpack_marks(card.training.val_marks)
    learned, chosen_by = [], []
    for sample in samples:
        digest = digests.get(sample.path)
        if digest is None:
            continue
        if is_marked(digest, learned_marks):
            learned.append(dataset.shown_path(sample))
        elif is_marked(digest, chosen_marks):
            chosen_by.append(dataset.shown_path(sample))
    # Photos that it was calibrated on since then do not tell which it has learned.
    return Leak(tuple(learned), tuple(chosen_by), checked=bool(learned_marks))


def with_marks(training: TrainingCard, files: Iterable[Path]) -> TrainingCard:
    """With further photos among those that the model was chosen by, so that none is a test later.

    Args:
        training: of the model's card.
        files: photos that something of the model was fitted to; one that cannot be read any more
            is passed over, and so is one that the model knows already.
    """
    chosen_marks = unpack_marks(training.val_marks)
    known = unpack_marks(training.train_marks) | chosen_marks
    digests = hash_photos(Sample(file) for file in files).values()
    new = {digest for digest in digests if not is_marked(digest, known)}
    marks = pack_marks([*(mark.hex() for mark in chosen_marks), *new])
    return training.model_copy(update={"val_marks": marks})


def refuse_known(dataset: Dataset, leak: Leak, n: int) -> None:
    """Refuse to call a split a test that the model knows too much of.

    Args:
        dataset: the split.
        leak: what the model knows of it.
        n: photos of the split.

    Raises:
        SplitError: more than :data:`LEAK_LIMIT` of them.
    """
    known = len(leak.paths)
    if known > LEAK_LIMIT * n:
        raise SplitError(
            f"{dataset.root}: split 'test' is not a test for this model: it was trained on "
            f"{len(leak.learned)} and chosen by {len(leak.chosen_by)} of these {n} photos "
            f"({known / n:.0%}; {leak.paths[0]} is one). Measure on photos that it has not seen, "
            "or name what this is: --split val, or --split all"
        )
