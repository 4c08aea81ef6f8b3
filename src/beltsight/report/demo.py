"""The demo: the packaged model on the packaged photos, as a record and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beltsight.config import ASSETS
from beltsight.dataset.index import Dataset, load_dataset
from beltsight.errors import DatasetError
from beltsight.explain import explain, overlay, shrink
from beltsight.image import decode
from beltsight.metrics import wilson_interval
from beltsight.model import Model
from beltsight.records import Answer
from beltsight.report.about import Figure, card_facts, card_figures
from beltsight.report.render import photo_uri, render
from beltsight.taxonomy import load_taxonomy

DEMO_PHOTOS = ASSETS / "demo"
_TASK = "material"
_PHOTO_SIDE = 360


@dataclass(frozen=True, slots=True)
class DemoPhoto:
    """One photo of the demo with its answer.

    Args:
        file: path relative to the demo's photos.
        truth: its label.
        answer: what the model said.
        photo: data URI of the photo.
        heat: data URI of the photo with the heat of the answer.
    """

    file: str
    truth: str
    answer: Answer
    photo: str
    heat: str

    @property
    def right(self) -> bool:
        """Whether the answer is the truth."""
        return self.answer.label == self.truth


def run_demo(model: Model, dataset: Dataset | None = None) -> list[DemoPhoto]:
    """Answer for the demo's photos.

    Args:
        model: answers the task ``material``.
        dataset: labelled photos; the packaged ones by default.

    Raises:
        DatasetError: the model has no task ``material``.
    """
    dataset = dataset or load_dataset(DEMO_PHOTOS)
    if _TASK not in {task.name for task in model.tasks}:
        raise DatasetError(f"the demo's photos are labelled for {_TASK}, which this model lacks")
    answered = []
    predictions = model.stream((sample.path for sample in dataset.samples), explain=True)
    for sample, prediction in zip(dataset.samples, predictions, strict=True):
        photo = shrink(decode(sample.path, enough=(2 * _PHOTO_SIDE,) * 2), _PHOTO_SIDE)
        heat = overlay(photo, explain(model, photo, prediction, _TASK))
        answered.append(
            DemoPhoto(
                dataset.shown_path(sample),
                sample.labels[_TASK],
                prediction.tasks[_TASK],
                photo_uri(photo, _PHOTO_SIDE),
                photo_uri(heat, _PHOTO_SIDE),
            )
        )
    return answered


def stated_test_figure(model: Model) -> Figure | None:
    """The test accuracy that the model's card states, or None."""
    figures = card_figures(model.card)
    return next((f for f in figures if (f.split, f.task) == ("test", _TASK)), None)


def demo_record(photos: Sequence[DemoPhoto], page: str) -> dict[str, Any]:
    """What ``beltsight demo --json`` prints."""
    return {
        "n": len(photos),
        "right": sum(photo.right for photo in photos),
        "page": page,
        "photos": [
            {
                "file": photo.file,
                "truth": photo.truth,
                "answer": photo.answer.label,
                "confidence": round(photo.answer.confidence, 6),
            }
            for photo in photos
        ],
    }


def demo_page(photos: Sequence[DemoPhoto], model: Model) -> str:
    """The self-contained page of a demo."""
    taxonomy = load_taxonomy()
    labels = {photo.truth for photo in photos} | {photo.answer.label for photo in photos}
    labels |= {label for photo in photos for label in photo.answer.probabilities}
    right = sum(photo.right for photo in photos)
    return render(
        "demo.html.j2",
        title="What is it, how sure, and why",
        subtitle=f"{len(photos)} photos of waste, sorted by the packaged model on this machine",
        groups=[
            (truth, [photo for photo in photos if photo.truth == truth])
            for truth in sorted({photo.truth for photo in photos})
        ],
        shown={label: taxonomy.show(_TASK, label) for label in labels},
        right=right,
        n=len(photos),
        interval=wilson_interval(right, len(photos)),
        test=stated_test_figure(model),
        figures=card_figures(model.card),
        model=model,
        facts=card_facts(model.card),
    )
