"""A model's card as facts that a person can read; used by pages and by ``beltsight card``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beltsight.card import Card, QuantizationCard, TaskCard, unpack_marks
from beltsight.records import SPLITS
from beltsight.report.render import percent

SPLIT_WORDS = {
    "train": "training split",
    "val": "validation split",
    "test": "test split",
    "all": "all photos",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One accuracy that a card states.

    Args:
        split: where it was measured.
        task: of which task.
        accuracy: 0 to 1.
        interval: low and high, or None where the card has none.
        n: number of photos, or None.
    """

    split: str
    task: str
    accuracy: float
    interval: tuple[float, float] | None
    n: int | None

    def __str__(self) -> str:
        """Such as ``86.5 % (82.9 to 89.4 %) of 431 photos of the test split``."""
        between = ""
        if self.interval:
            between = f" ({100 * self.interval[0]:.1f} to {percent(self.interval[1])})"
        many = f"{self.n:,} photos of the " if self.n is not None else "the "
        return f"{percent(self.accuracy)}{between} of {many}{SPLIT_WORDS.get(self.split, '')}"


def card_figures(card: Card) -> list[Figure]:
    """The accuracies in a card: of the split its ``metrics`` name, and of ``metrics[SPLIT]``.

    What is not a figure is passed over: a card may come from strangers.
    """
    records: list[tuple[str, Any]] = [(str(card.metrics.get("split", "")), card.metrics)]
    records += [(split, card.metrics.get(split)) for split in SPLITS]
    figures = []
    for split, record in records:
        tasks = record.get("tasks") if isinstance(record, Mapping) else None
        if split in SPLITS and isinstance(tasks, Mapping):
            found = [_figure(split, task, values) for task, values in tasks.items()]
            figures += [figure for figure in found if figure]
    return figures


def card_facts(card: Card) -> list[tuple[str, str]]:
    """(what, value) in the order a reader asks; marks and golden photos are shortened to counts."""
    training, size = card.training, card.preparation
    facts = [("Name", f"{card.name}, version {card.version}")]
    for task in card.tasks:
        classes = (" < " if task.ordered else ", ").join(task.classes)
        facts.append((f"Answers {task.name}", classes))
        facts.append((f"Calibration of {task.name}", f"temperature {task.temperature:.3f}"))
        if task.threshold is not None:
            facts.append((f"Abstains on {task.name}", threshold_fact(task)))
    facts += [(f"Measured {figure.task}", str(figure)) for figure in card_figures(card)]
    if card.quantization is not None:
        facts += quantization_facts(card.quantization)
    learned, chosen = (len(unpack_marks(m)) for m in (training.train_marks, training.val_marks))
    facts += [
        ("Input", f"{size.width} x {size.height} pixels, {size.fit}, fill {_rgb(size.fill)}"),
        ("Scaling", size.interpolation),
        ("Backbone", training.backbone),
        ("Training data", f"{training.data or 'not named'}, fingerprint {training.fingerprint}"),
        ("Trained on", f"{training.n_train:,} photos, seed {training.seed}"),
        ("Chosen by", f"{training.n_val:,} validation photos"),
        ("Knows by mark", f"{learned:,} training and {chosen:,} validation or calibration photos"),
        ("Golden photos", f"{len(card.golden.photos_png)}, tolerance {card.golden.tolerance:g}"),
        ("Licence", card.licence or "none stated"),
        ("Notice", card.notice or "none"),
        ("Written by", f"Beltsight {card.beltsight_version or 'unknown'}"),
    ]
    return facts


def quantization_facts(found: QuantizationCard) -> list[tuple[str, str]]:
    """How the graph became int8, and how its answers differ from those of the float model."""
    floats = ", ".join(found.float_layers) or "none beside the heads"
    measured = SPLIT_WORDS.get(found.split, found.split)
    return [
        ("Numbers", f"{found.scheme}; weights of {found.weight_bits} bits; float: {floats}"),
        ("Ranges fitted to", f"{found.n_calibration:,} photos of split {found.calibration_split}"),
        *(
            (
                f"Kept labels of {task}",
                f"{percent(kept.agreement)} of {kept.n:,} photos of the {measured}; accuracy "
                f"{percent(kept.float_accuracy)} in float, {percent(kept.accuracy)} in int8",
            )
            for task, kept in found.parity.items()
        ),
    ]


def threshold_fact(task: TaskCard) -> str:
    """From where on a task's answers are accepted, and what is known of their purity.

    Such as ``below 79.2 %, for a purity of 97 %: an estimate, 291 of 300 accepted were right``.
    """
    if task.threshold is None:
        return "never"
    below = "always" if task.threshold > 1 else f"below {percent(task.threshold)}"
    if task.purity is None:
        return below
    found = task.purity
    proof = f"certified with {100 * found.confidence:g} % confidence"
    return (
        f"{below}, for a purity of {100 * found.target:g} %: "
        f"{proof if found.certified else 'an estimate'}, {found.right} of {found.accepted} "
        f"accepted were right, of {found.n} photos in all"
    )


def _figure(split: str, task: str, values: object) -> Figure | None:
    if not isinstance(values, Mapping):
        return None
    accuracy, n, ends = values.get("accuracy"), values.get("n"), values.get("interval")
    if accuracy is None or not _is_share(accuracy):
        return None
    pair = isinstance(ends, list | tuple) and len(ends) == 2 and all(map(_is_share, ends))
    interval = (float(ends[0]), float(ends[1])) if pair and ends else None
    whole = n if isinstance(n, int) and not isinstance(n, bool) else None
    return Figure(split, str(task), float(accuracy), interval, whole)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _rgb(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{channel:02x}" for channel in colour)
