"""Records are frozen all the way down, can be compared, hashed, copied and sent."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beltsight.errors import TaxonomyError
from beltsight.records import (
    Answer,
    Decision,
    Frame,
    Prediction,
    Sample,
    TaskSpec,
    prediction_record,
)

GLASS = Answer("glass", 0.75, {"glass": 0.75, "metal": 0.25})


def prediction() -> Prediction:
    return Prediction(
        "a.jpg",
        {"material": GLASS},
        embedding=np.arange(4, dtype=np.float32),
        maps={"material": np.ones((2, 7, 7), np.float32)},
        engine="onnxruntime-cpu",
    )


def records() -> list[Any]:
    return [
        TaskSpec("material", ("glass", "metal")),
        Sample(Path("a.jpg"), {"material": "glass"}, "item-1", "train"),
        GLASS,
        prediction(),
        Decision(prediction(), "bin-1", "confident", "policy-1", "00ff"),
        Frame(np.zeros((2, 2, 3), np.uint8), 1.5, 100),
    ]


@pytest.mark.parametrize("record", records(), ids=lambda record: type(record).__name__)
def test_a_record_cannot_be_changed_but_copied_sent_and_compared(record: Any) -> None:
    for part in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, part.name, None)
    for twin in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert twin is not record
        assert twin == record
        assert hash(twin) == hash(record)
        assert repr(twin) == repr(record)


def test_mappings_inside_are_read_only_and_their_own() -> None:
    labels = {"material": "glass"}
    sample = Sample(Path("a.jpg"), labels)
    labels["material"] = "metal"
    assert sample.labels == {"material": "glass"}
    with pytest.raises(TypeError):
        sample.labels["material"] = "paper"  # type: ignore[index]
    with pytest.raises(TypeError):
        GLASS.probabilities["glass"] = 1.0  # type: ignore[index]
    assert dataclasses.replace(sample, split="val").labels == sample.labels


def test_arrays_inside_are_read_only_while_their_owner_may_write() -> None:
    buffer = np.zeros((2, 2, 3), np.uint8)
    frame = Frame(buffer, 0.0)
    answer = prediction()
    assert answer.embedding is not None
    for array in (frame.image, answer.embedding, answer.maps["material"]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 1
    buffer[...] = 7  # a camera fills its next frame


def test_records_differ_where_what_they_say_differs() -> None:
    assert prediction() != dataclasses.replace(prediction(), error="empty file")
    assert prediction() != dataclasses.replace(prediction(), novel=True)
    assert Sample(Path("a.jpg"), {"material": "glass"}) != Sample(Path("a.jpg"))
    assert len({Sample(Path("a.jpg")), Sample(Path("a.jpg")), Sample(Path("b.jpg"))}) == 2


@pytest.mark.parametrize(
    ("name", "classes", "said"),
    [
        ("material", ("glass",), "at least two distinct"),
        ("material", ("glass", "glass"), "at least two distinct"),
        ("material", ("glass", ""), "without a name"),
        ("", ("a", "b"), "cannot be named ''"),
        ("embedding", ("a", "b"), "cannot be named 'embedding'"),
        ("photos", ("a", "b"), "cannot be named 'photos'"),
        ("material_map", ("a", "b"), "cannot be named 'material_map'"),
        ("dirt_places", ("a", "b"), "cannot be named 'dirt_places'"),
    ],
)
def test_a_task_that_no_model_could_answer_is_refused(
    name: str, classes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TaxonomyError, match=said):
        TaskSpec(name, classes)


def test_a_line_of_predict_json_has_every_task_and_null_for_what_is_not_known() -> None:
    answer = dataclasses.replace(
        prediction(), abstain=True, novel=True, novelty=1.2345678, why="unlike anything seen"
    )
    decision = Decision(answer, "bin-1", "confident", "policy-1", "00ff")
    assert prediction_record(answer, ("material", "contamination"), decision) == {
        "path": "a.jpg",
        "tasks": {
            "material": {
                "label": "glass",
                "confidence": 0.75,
                "probabilities": {"glass": 0.75, "metal": 0.25},
            },
            "contamination": None,
        },
        "abstain": True,
        "why": "unlike anything seen",
        "novel": True,
        "novelty": 1.234568,
        "route": "bin-1",
        "reason": "confident",
        "policy": "policy-1",
        "model": "00ff",
        "engine": "onnxruntime-cpu",
        "error": None,
    }
    failed = prediction_record(Prediction("b.jpg", error="empty"), ("material",))
    assert json.loads(json.dumps(failed, allow_nan=False)) == {
        "path": "b.jpg",
        "tasks": {"material": None},
        "abstain": None,
        "why": None,
        "novel": None,
        "novelty": None,
        "route": None,
        "reason": None,
        "policy": None,
        "model": None,
        "engine": None,
        "error": "empty",
    }
