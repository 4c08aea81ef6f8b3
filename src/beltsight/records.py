"""The value objects that go through the house: Sample -> Prediction -> Decision.

All are frozen; a later step makes a new object instead of changing one. Arrays and
mappings inside are read-only views.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from beltsight.errors import TaxonomyError

Photo = NDArray[np.uint8]
Floats = NDArray[np.float32]

SPLITS = ("train", "val", "test")
# Tasks that the code knows by name, and what an item without dirt is called in the last two.
MATERIAL, CONTAMINATION, DIRT = "material", "contamination", "dirt"
CLEAN, NO_DIRT = "clean", "none"


V = TypeVar("V")
PHOTOS = "photos"  # the model file's input
_RESERVED = (PHOTOS, "embedding")  # and its other outputs
MAP_END, PLACES_END = "_map", "_places"  # beside each task's own
_RESERVED_ENDS = (MAP_END, PLACES_END)


def _frozen(mapping: Mapping[str, V]) -> Mapping[str, V]:
    return MappingProxyType(dict(mapping))


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written; the owner, e.g. a camera that reuses its buffer, still can."""
    view = array.view()
    view.setflags(write=False)
    return view


def _rebuild(record: Any) -> tuple[Any, ...]:
    """How a record is copied or sent to another process, which read-only mappings refuse."""
    values = (getattr(record, part.name) for part in fields(record))
    plain = (dict(value) if isinstance(value, MappingProxyType) else value for value in values)
    return type(record), tuple(plain)


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A question put to the model: its name and its possible answers, in output order.

    Args:
        name: ``material``, ``contamination``, or any name a data set gives.
        classes: at least two distinct class names; logit ``i`` belongs to ``classes[i]``.
        ordered: True where neighbours in ``classes`` are neighbours in meaning (levels).

    Raises:
        TaxonomyError: fewer than two classes, a class named twice or not at all, or a name
            that the model file needs for its input or another output.
    """

    name: str
    classes: tuple[str, ...]
    ordered: bool = False

    def __post_init__(self) -> None:
        if not self.name or self.name in _RESERVED or self.name.endswith(_RESERVED_ENDS):
            raise TaxonomyError(
                f"a task cannot be named {self.name!r}: expected a name that is not empty, is not "
                f"{' or '.join(map(repr, _RESERVED))} and does not end in "
                f"{' or '.join(map(repr, _RESERVED_ENDS))}"
            )
        if len(self.classes) < 2 or len(set(self.classes)) != len(self.classes):
            raise TaxonomyError(
                f"task {self.name!r} needs at least two distinct classes, got {list(self.classes)}"
            )
        if not all(self.classes):
            raise TaxonomyError(f"task {self.name!r} has a class without a name")


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled photo of a data set.

    Args:
        path: the photo's file.
        labels: class name per task; a task without a known label is absent.
        group: photos of one physical item or session share a group; never split apart.
        split: ``train``, ``val``, ``test`` or None.
        mask: a grey picture of the photo's size, light where the item is dirty, if there is one.
    """

    path: Path
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    group: str | None = None
    split: str | None = None
    mask: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _frozen(self.labels))

    __reduce__ = _rebuild


def is_clean(sample: Sample) -> bool:
    """Whether a photo's item has no dirt, as far as anybody said.

    Example:
        >>> is_clean(Sample(Path("a.jpg"), {MATERIAL: "glass"}))
        True
    """
    return sample.labels.get(CONTAMINATION, CLEAN) == CLEAN


@dataclass(frozen=True, slots=True)
class Answer:
    """The model's answer to one task.

    Args:
        label: the most probable class.
        confidence: its calibrated probability, 0 to 1.
        probabilities: calibrated probability of every class; they sum to 1.
    """

    label: str
    confidence: float
    probabilities: Mapping[str, float] = field(hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", _frozen(self.probabilities))

    __reduce__ = _rebuild


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the model says of one photo.

    Args:
        path: the photo's file, or None where the photo came as an array or bytes.
        tasks: one Answer per task of the model; empty where ``error`` is set.
        embedding: float32 (D,) globally averaged features, or None.
        maps: per task float32 (C, h, w) class maps in prepared-photo coordinates; empty
            unless asked for.
        abstain: whether the answer should go to a person; None where the model has no threshold.
        engine: the engine that computed the answer, e.g. ``onnxruntime-cpu``.
        error: why there is no answer, or None.
        novel: whether the item looks unlike anything seen; None where the model cannot tell.
        novelty: how unlike, larger is stranger; None where the model cannot tell.
        why: why it abstains, in words, or None.
        places: per task that learned from masks float32 (h, w), in the coordinates of ``maps``: the
            logit of how much of each place is covered; empty unless asked for.

    Two Predictions are equal where all but their arrays is.
    """

    path: str | None
    tasks: Mapping[str, Answer] = field(default_factory=dict, hash=False)
    embedding: Floats | None = field(default=None, compare=False, repr=False)
    maps: Mapping[str, Floats] = field(default_factory=dict, compare=False, repr=False)
    abstain: bool | None = None
    engine: str = ""
    error: str | None = None
    novel: bool | None = None
    novelty: float | None = None
    why: str | None = None
    places: Mapping[str, Floats] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tasks", _frozen(self.tasks))
        for name in ("maps", "places"):
            arrays = {task: _read_only(array) for task, array in getattr(self, name).items()}
            object.__setattr__(self, name, _frozen(arrays))
        if self.embedding is not None:
            object.__setattr__(self, "embedding", _read_only(self.embedding))

    __reduce__ = _rebuild


@dataclass(frozen=True, slots=True)
class Decision:
    """Where an item goes, and why.

    Args:
        prediction: what the decision rests on.
        route: the stream or bin, or ``hand-sort``.
        reason: a reason code, e.g. ``confident`` or ``abstained``.
        policy_version: the policy that decided.
        model_hash: SHA-256 of the model file, hexadecimal.
    """

    prediction: Prediction
    route: str
    reason: str
    policy_version: str
    model_hash: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One camera frame. Two Frames are equal where their times and counts are.

    Args:
        image: uint8 (H, W, 3) RGB.
        time_s: monotonic time of exposure, in seconds.
        encoder_count: belt encoder at exposure, as it gives it (it may have wrapped around), or
            None for a line without encoder.
        sequence: number that the camera gave the frame; a gap is a lost frame. None where it
            numbers none.
        exposure_s: how long the shutter was open, where the camera tells.
    """

    image: Photo = field(compare=False)
    time_s: float
    encoder_count: int | None = None
    sequence: int | None = None
    exposure_s: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "image", _read_only(self.image))


def prediction_record(
    prediction: Prediction,
    tasks: tuple[str, ...],
    decision: Decision | None = None,
    model_hash: str | None = None,
) -> dict[str, Any]:
    """What ``predict`` writes of one photo (schema: ``assets/schemas/prediction.schema.json``).

    Args:
        prediction: the answer to write.
        tasks: names of the tasks that every line has; one without an answer is null.
        decision: the decision on it, where a policy is in force.
        model_hash: SHA-256 of the model file that answered, hexadecimal; by default the decision's.

    Example:
        >>> line = prediction_record(Prediction("a.jpg", error="empty file"), ("material",))
        >>> line["tasks"], line["route"], line["error"]
        ({'material': None}, None, 'empty file')
    """
    names = dict.fromkeys((*tasks, *prediction.tasks))
    answers = {name: prediction.tasks.get(name) for name in names}
    return {
        "path": prediction.path,
        "tasks": {
            name: None
            if answer is None
            else {
                "label": answer.label,
                "confidence": round(answer.confidence, 6),
                "probabilities": {k: round(v, 6) for k, v in answer.probabilities.items()},
            }
            for name, answer in answers.items()
        },
        "abstain": prediction.abstain,
        "why": prediction.why,
        "novel": prediction.novel,
        "novelty": None if prediction.novelty is None else round(prediction.novelty, 6),
        "route": decision.route if decision else None,
        "reason": decision.reason if decision else None,
        "policy": decision.policy_version if decision else None,
        "model": model_hash or (decision.model_hash if decision else None),
        "engine": prediction.engine or None,
        "error": prediction.error,
    }
