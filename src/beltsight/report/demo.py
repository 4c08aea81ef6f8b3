"""The demo: the packaged model on the packaged photos, as a record and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beltsight.config import ASSETS
from beltsight.dataset.index import Dataset, load_dataset
from beltsight.decide import Decider, Reason, bind
from beltsight.errors import DatasetError, PolicyError
from beltsight.explain import explain, overlay
from beltsight.image import decode
from beltsight.image_small import shrink
from beltsight.metrics import wilson_interval
from beltsight.model import Model
from beltsight.policy import load_policy
from beltsight.records import (
    CLEAN,
    CONTAMINATION,
    DIRT,
    MATERIAL,
    NO_DIRT,
    Answer,
    Decision,
    Prediction,
    prediction_record,
)
from beltsight.report.about import Figure, card_facts, card_figures
from beltsight.report.render import photo_uri, render
from beltsight.scene import find_foreground, vary_photo
from beltsight.taxonomy import load_taxonomy

DEMO_PHOTOS = ASSETS / "demo"
_PHOTO_SIDE = 360
# Two items of each class get dirt, little and much; the kinds take turns.
_SHARES = (0.16, 0.5)
_KINDS = ("grease", "mud", "liquid", "food", "dust")
# In short; docs/policy.md tells more of each.
_REASONS = {
    Reason.CONFIDENT: "the most probable answers lead there, and nowhere costs less; how sure one "
    "of them is does not matter where its others lead to the same place",
    Reason.LEAST_COST: "the most probable answers lead elsewhere, but here a mistake costs less",
    Reason.HAND_SORT_CHEAPER: "in every stream a mistake would cost more than a hand",
    Reason.PURITY: "the cheapest stream asks for more certainty",
    Reason.ABSTAINED: "the model is less sure of an answer than it must be to give it",
    Reason.NOVEL: "unlike anything that the model has seen",
    Reason.NO_ANSWER: "the photo could not be answered",
}


@dataclass(frozen=True, slots=True)
class DemoPhoto:
    """One photo of the demo with its answers.

    Args:
        file: path relative to the demo's photos.
        truths: its label by task.
        prediction: what the model said.
        decision: where the item goes; None where the policy cannot be bound to the model.
        photo: data URI of the photo.
        heats: by task, data URI of the photo with the heat of the answer.
        simulated: what simulated dirt was laid on, e.g. ``mud on 16 %``; empty for none.
    """

    file: str
    truths: Mapping[str, str]
    prediction: Prediction
    decision: Decision | None
    photo: str
    heats: Mapping[str, str]
    simulated: str = ""

    @property
    def truth(self) -> str:
        """The material's label."""
        return self.truths[MATERIAL]

    @property
    def answer(self) -> Answer:
        """What the model said of the material."""
        return self.prediction.tasks[MATERIAL]

    @property
    def level(self) -> Answer | None:
        """What the model said of the contamination, where it knows that task."""
        return self.prediction.tasks.get(CONTAMINATION)

    @property
    def right(self) -> bool:
        """Whether that is the truth."""
        return self.answer.label == self.truth

    @property
    def all_right(self) -> bool:
        """Whether that of the contamination is the truth, too, where there is one."""
        level = self.level
        return self.right and (level is None or level.label == self.truths.get(CONTAMINATION))


@dataclass(frozen=True, slots=True)
class _Shown:
    """A photo to answer for, as a file's bytes."""

    file: str
    content: bytes
    truths: Mapping[str, str]
    simulated: str = ""


def run_demo(model: Model, dataset: Dataset | None = None) -> list[DemoPhoto]:
    """Answer for the demo's photos, and for some of them with simulated dirt.

    Args:
        model: answers the task ``material``; dirt is laid on where it answers ``contamination``.
        dataset: labelled photos of clean items; the packaged ones by default.

    Raises:
        DatasetError: the model has no task ``material``.
    """
    dataset = dataset or load_dataset(DEMO_PHOTOS)
    tasks = {task.name for task in model.tasks}
    if MATERIAL not in tasks:
        raise DatasetError(f"the demo's photos are labelled for {MATERIAL}, which this model lacks")
    shown = list(_clean(dataset))
    if CONTAMINATION in tasks:
        shown += list(_soiled(shown))  # of the clean ones alone
    decider = _bound(model)
    predictions = model.stream((each.content for each in shown), explain=True)
    return [
        _demo_photo(each, prediction, model, decider)
        for each, prediction in zip(shown, predictions, strict=True)
    ]


def stated_test_figure(model: Model) -> Figure | None:
    """The test accuracy that the model's card states, or None."""
    figures = card_figures(model.card)
    return next((f for f in figures if (f.split, f.task) == ("test", MATERIAL)), None)


def demo_record(photos: Sequence[DemoPhoto], page: str) -> dict[str, Any]:
    """What ``beltsight demo --json`` prints; counts are of the photos as they are."""
    plain = [photo for photo in photos if not photo.simulated]
    return {
        "n": len(plain),
        "right": sum(photo.right for photo in plain),
        "page": page,
        "photos": [_photo_record(photo) for photo in photos],
    }


def demo_page(photos: Sequence[DemoPhoto], model: Model) -> str:
    """The self-contained page of a demo."""
    taxonomy = load_taxonomy()
    plain = [photo for photo in photos if not photo.simulated]
    right = sum(photo.right for photo in plain)
    labels = {
        (task, label)
        for photo in photos
        for task, answer in photo.prediction.tasks.items()
        for label in (*answer.probabilities, photo.truths.get(task, answer.label))
    }
    given = {photo.decision.reason for photo in photos if photo.decision}
    decided = next((photo.decision for photo in photos if photo.decision), None)
    return render(
        "demo.html.j2",
        title="What is it, how sure, and why",
        subtitle=f"{len(plain)} photos of waste, sorted by the packaged model on this machine",
        groups=[
            (truth, [photo for photo in plain if photo.truth == truth])
            for truth in sorted({photo.truth for photo in plain})
        ],
        soiled=[photo for photo in photos if photo.simulated],
        placed=any(CONTAMINATION in photo.prediction.places for photo in photos),
        shown={pair: taxonomy.show(*pair) for pair in labels},
        streams=load_policy().streams,
        reasons=[(reason, text) for reason, text in _REASONS.items() if reason in given],
        policy_version=decided.policy_version if decided else None,
        right=right,
        n=len(plain),
        interval=wilson_interval(right, len(plain)),
        test=stated_test_figure(model),
        figures=card_figures(model.card),
        model=model,
        facts=card_facts(model.card),
    )


def _clean(dataset: Dataset) -> Iterator[_Shown]:
    for sample in dataset.samples:
        truths = {CONTAMINATION: CLEAN, DIRT: NO_DIRT} | dict(sample.labels)
        yield _Shown(dataset.shown_path(sample), sample.path.read_bytes(), truths)


def _soiled(clean: Sequence[_Shown]) -> Iterator[_Shown]:
    """The first items of each class whose outline is trusted, with dirt by a fixed seed."""
    made: dict[str, int] = {}
    for each in clean:
        count = made.get(each.truths[MATERIAL], 0)
        if count == len(_SHARES):
            continue
        photo = decode(each.content)
        found = find_foreground(photo)
        if not found.is_trusted:
            continue
        number = sum(made.values())
        kind = _KINDS[number % len(_KINDS)]
        dirty = vary_photo(photo, found.mask, number, share=_SHARES[count], kinds=[kind])
        truths = dict(each.truths) | dict(dirty.labels)
        what = f"{kind} on {round(100 * dirty.share)} %"
        yield _Shown(each.file, dirty.jpeg, truths, what)
        made[each.truths[MATERIAL]] = count + 1


def _bound(model: Model) -> Decider | None:
    """The default policy for this model; None where the model cannot serve it."""
    try:
        return bind(load_policy(), model.tasks, model.hash)
    except PolicyError:
        return None


def _demo_photo(
    each: _Shown, prediction: Prediction, model: Model, decider: Decider | None
) -> DemoPhoto:
    photo = shrink(decode(each.content, enough=(2 * _PHOTO_SIDE,) * 2), _PHOTO_SIDE)
    heats = {
        task: photo_uri(overlay(photo, explain(model, photo, prediction, task)), _PHOTO_SIDE)
        for task in (MATERIAL, CONTAMINATION)
        if task in prediction.tasks
    }
    return DemoPhoto(
        each.file,
        each.truths,
        prediction,
        decider.decide(prediction) if decider else None,
        photo_uri(photo, _PHOTO_SIDE),
        heats,
        each.simulated,
    )


def _photo_record(photo: DemoPhoto) -> dict[str, Any]:
    line = prediction_record(photo.prediction, tuple(photo.prediction.tasks), photo.decision)
    return {
        "file": photo.file,
        "simulated": photo.simulated or None,
        "truth": photo.truth,
        "answer": photo.answer.label,
        "confidence": round(photo.answer.confidence, 6),
        **{key: line[key] for key in ("tasks", "abstain", "why", "route", "reason")},
    }
