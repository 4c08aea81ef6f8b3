"""Crops are answered in the background; nothing that goes wrong stops the threads."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.tiny import paint, write_tiny

from beltsight.errors import ModelError
from beltsight.image import Source
from beltsight.line.inference import Inference
from beltsight.model import Model
from beltsight.records import Photo, Prediction

COLOURS = ((220, 30, 40), (30, 210, 50), (20, 40, 230))


class Answers:
    """Collects what comes back."""

    def __init__(self) -> None:
        self.found: dict[int, Prediction] = {}
        self.order: list[int] = []

    def __call__(self, key: int, prediction: Prediction) -> None:
        self.found[key] = prediction
        self.order.append(key)


class Slow:
    """A model that answers when it is allowed to, and fails when told."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[int] = []
        self.failing = False

    def prepare(self, source: Source) -> Photo:
        assert isinstance(source, np.ndarray)
        return np.asarray(source, np.uint8)

    def answer(self, photos: NDArray[np.uint8]) -> list[Prediction]:
        assert self.go.wait(10)
        self.batches.append(len(photos))
        if self.failing:
            raise RuntimeError("first line\nsecond line")
        return [Prediction(str(int(photo.max()))) for photo in photos]


def test_answers_are_those_of_predict(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"), threads=2, streams=2)
    crops = [paint(COLOURS[i % 3], 40 + i) for i in range(12)]
    expected = model.predict(crops)
    answers = Answers()
    inference = Inference(model, answers, threads=2)
    assert all(inference.submit(i, crop) for i, crop in enumerate(crops))
    assert inference.close()
    assert sorted(answers.found) == list(range(12))
    for i, prediction in enumerate(expected):
        assert answers.found[i].tasks["material"].label == prediction.tasks["material"].label
        assert answers.found[i].tasks["material"].confidence == pytest.approx(
            prediction.tasks["material"].confidence, abs=1e-5
        )


def test_what_waits_is_answered_together_and_more_than_the_room_is_refused() -> None:
    model, answers = Slow(), Answers()
    inference = Inference(model, answers, room=5, at_once=4)
    crops = [np.full((4, 4, 3), i, np.uint8) for i in range(8)]
    assert inference.submit(0, crops[0])
    while inference.waiting:  # the thread has taken it, and waits for the model
        time.sleep(0.001)
    taken = [inference.submit(i, crop) for i, crop in enumerate(crops) if i]
    assert taken == [True] * 5 + [False] * 2
    assert (inference.refused, inference.waiting) == (2, 5)
    model.go.set()
    assert inference.close()
    assert answers.order == [0, 1, 2, 3, 4, 5]
    assert model.batches == [1, 4, 1]
    assert [answers.found[i].path for i in range(6)] == ["0", "1", "2", "3", "4", "5"]


def test_a_crop_that_cannot_be_used_does_not_spoil_the_others(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    answers = Answers()
    inference = Inference(model, answers, at_once=3)
    inference.submit(0, paint(COLOURS[0], 40))
    inference.submit(1, np.zeros((4, 4), np.float32))
    inference.submit(2, paint(COLOURS[1], 40))
    assert inference.close()
    assert answers.found[1].error and "uint8" in answers.found[1].error
    assert answers.found[0].error is None and answers.found[2].error is None


def test_an_engine_that_fails_is_an_answer_too() -> None:
    model, answers = Slow(), Answers()
    model.go.set()
    model.failing = True
    inference = Inference(model, answers)
    inference.submit(7, np.zeros((4, 4, 3), np.uint8))
    while 7 not in answers.found:
        time.sleep(0.001)
    assert answers.found[7].error == "first line"
    model.failing = False
    inference.submit(8, np.zeros((4, 4, 3), np.uint8))
    assert inference.close()
    assert answers.found[8].error is None


def test_a_thread_that_hangs_is_said() -> None:
    model = Slow()
    inference = Inference(model, Answers(), room=1)
    inference.submit(1, np.zeros((4, 4, 3), np.uint8))
    assert not inference.close(timeout_s=0.05)
    model.go.set()
    assert inference.close()


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))

    def run(photos: object, outputs: list[str]) -> dict[str, object]:
        return {name: np.full((1, 3), np.nan, np.float32) for name in outputs}

    model.engine.run = run  # type: ignore[method-assign, assignment]
    with pytest.raises(ModelError, match="not a number"):
        model.answer(paint(COLOURS[0], 32)[None])
