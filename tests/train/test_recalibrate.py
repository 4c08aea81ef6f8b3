from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.tiny import paint, tiny_card, tiny_training, write_tiny

from beltsight.card import content_hash
from beltsight.errors import ConfigError, SplitError
from beltsight.model import Model
from beltsight.train.recalibrate import recalibrate

COLOURS = {"red": (150, 120, 118), "green": (118, 150, 120), "blue": (120, 118, 150)}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of weak colours; one in five lies in the folder of another class."""
    rng = np.random.default_rng(0)
    names = list(COLOURS)
    for number in range(60):
        name = names[number % 3]
        label = names[(number + 1) % 3] if number % 5 == 0 else name
        colour = tuple(int(v) for v in np.array(COLOURS[name]) + rng.integers(-6, 7, 3))
        path = tmp_path / "data" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), paint(colour, 40)[:, :, ::-1])  # type: ignore[arg-type]
    return tmp_path / "data"


def test_answers_stay_and_confidence_follows_the_photos(photos: Path, tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.75)
    new = Model.load(tmp_path / "new.onnx")
    before, after = found.temperatures["material"]
    assert before == 1.0 and after == new.temperatures["material"] != 1.0
    files = sorted(photos.rglob("*.png"))
    old_answers, answers = model.predict(files), new.predict(files)
    labels = [answer.tasks["material"].label for answer in answers]
    assert labels == [answer.tasks["material"].label for answer in old_answers]
    confidences = [answer.tasks["material"].confidence for answer in answers]
    right = np.mean([file.parent.name == label for file, label in zip(files, labels, strict=True)])
    assert np.mean(confidences) == pytest.approx(right, abs=0.03)
    assert found.purity is not None and new.card.tasks[0].purity is not None
    accepted = [c >= (new.card.tasks[0].threshold or 0) for c in confidences]
    assert sum(accepted) == new.card.tasks[0].purity.accepted
    assert [bool(answer.abstain) for answer in answers] == [not each for each in accepted]


def test_without_a_purity_an_old_threshold_goes(photos: Path, tmp_path: Path) -> None:
    card = tiny_card()
    task = card.tasks[0].model_copy(update={"threshold": 0.5})
    path = write_tiny(tmp_path / "m.onnx", card.model_copy(update={"tasks": (task,)}))
    recalibrate(Model.load(path), photos, tmp_path / "new.onnx", split="all")
    assert Model.load(tmp_path / "new.onnx").card.tasks[0].threshold is None


def test_photos_that_the_model_has_learned_are_refused(photos: Path, tmp_path: Path) -> None:
    digests = [content_hash(path.read_bytes()) for path in photos.rglob("*.png")]
    card = tiny_card(training=tiny_training(train=digests))
    model = Model.load(write_tiny(tmp_path / "m.onnx", card))
    with pytest.raises(SplitError, match="trained on 60 of these 60 photos"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="all")
    assert not (tmp_path / "new.onnx").exists()


def test_wrong_use_is_said(photos: Path, tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    with pytest.raises(ConfigError, match="another file"):
        recalibrate(model, photos, tmp_path / "m.onnx", split="all")
    with pytest.raises(ConfigError, match=r"got 97"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=97)
