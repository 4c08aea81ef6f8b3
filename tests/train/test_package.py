"""The model file of a run: what its card says of its photos, the strange, and the purity."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.tiny import tiny_card
from tests.train.tiny_settings import tiny

import beltsight
from beltsight.card import GoldenCard, TaskCard, content_hash, is_marked, unpack_marks
from beltsight.errors import DatasetError, TrainError
from beltsight.model import Model
from beltsight.train.package import About, with_purity
from beltsight.train.run import Run, run_training


def test_the_card_marks_the_photos_of_train_and_val(finished_run: Run, photoset: Path) -> None:
    training = Model.load(finished_run.model).card.training
    train, val = unpack_marks(training.train_marks), unpack_marks(training.val_marks)
    assert (len(train), len(val)) == (54, 18)
    photo = (photoset / "images" / "glass" / "3.png").read_bytes()
    assert is_marked(content_hash(photo), val) and not is_marked(content_hash(photo), train)


def test_the_card_tells_the_known_from_the_strange(finished_run: Run, photoset: Path) -> None:
    model = Model.load(finished_run.model)
    novelty = model.card.novelty
    assert novelty is not None and (novelty.n_fit, novelty.n_known) == (54, 18)
    known = [sample.path for sample in beltsight.load_dataset(photoset).select("val").samples]
    assert sum(bool(p.novel) for p in model.predict(known)) == novelty.n_above == 0
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3)).astype(np.uint8)
    assert all(p.novel and p.abstain for p in model.predict(noise))


def test_a_wanted_purity_becomes_a_threshold(photoset: Path, tmp_path: Path) -> None:
    stages = ({"learn": "all", "epochs": 2, "learning_rate": 0.01},)
    said: list[str] = []
    settings = tiny(stages=stages, purity=0.9)
    run = run_training(photoset, tmp_path / "x", settings, doubting=said.append)
    assert len(said) == 1 and "fitted on 18 labelled photos only" in said[0]
    model = Model.load(run.model)
    (task,) = model.card.tasks
    assert task.purity is not None and task.threshold is not None
    assert task.purity.target == 0.9 and not task.purity.certified  # 18 photos prove nothing
    evaluation = beltsight.evaluate(model, photoset, "val")
    probabilities = evaluation.tasks["material"].probabilities
    accepted = probabilities.max(axis=1) >= task.threshold
    novel = evaluation.tasks["material"].novel
    assert novel is not None
    accepted &= ~novel
    right = probabilities.argmax(axis=1) == evaluation.tasks["material"].labels
    assert (accepted.sum(), right[accepted].sum()) == (task.purity.accepted, task.purity.right)
    assert task.purity.accepted == 0 or task.purity.right / task.purity.accepted >= 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_text_stand_in_the_card_with_escapes(
    photoset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    shutil.copytree(photoset, tmp_path / f"data-{odd}")
    (tmp_path / f"run-{odd}").mkdir()
    monkeypatch.chdir(tmp_path / f"run-{odd}")
    stages = ({"learn": "heads", "epochs": 1, "learning_rate": 0.01},)
    about = About(notice=odd)
    run = run_training(tmp_path / f"data-{odd}", ".", tiny(stages=stages), about=about)
    card = Model.load(run.model).card
    assert (card.name, card.notice) == (r"run-caf\udce9", r"caf\udce9")
    assert card.training.data == r"data-caf\udce9"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_run_folder_whose_path_is_no_text_is_refused_before_training(
    photoset: Path, tmp_path: Path
) -> None:
    out = tmp_path / os.fsdecode(b"caf\xe9") / "x"
    with pytest.raises(TrainError, match=r"caf\\udce9/x: this path is not UTF-8.*--out"):
        run_training(photoset, out, tiny())
    assert not out.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_class_whose_name_is_no_text_is_refused_before_training(
    photoset: Path, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    shutil.copytree(photoset / "images", tmp_path / "data")
    (tmp_path / "data" / "metal").rename(tmp_path / "data" / odd)
    with pytest.raises(DatasetError, match=r"class caf\\udce9 is not UTF-8.*rename"):
        run_training(tmp_path / "data", tmp_path / "x", tiny())
    assert not (tmp_path / "x").exists()


def test_photos_that_chose_the_epoch_certify_nothing_and_columns_have_no_say() -> None:
    dirt = TaskCard(name="dirt", classes=("none", "dust"))
    material = TaskCard(name="material", classes=("glass", "metal"))
    outputs = {
        "material": np.tile([[6.0, 0.0]], (400, 1)).astype(np.float32),
        "dirt": np.zeros((400, 2), np.float32),
    }
    labels = np.zeros((400, 2), np.int64)
    first, second = with_purity(
        tiny_card(tasks=(dirt, material), golden=GoldenCard()), outputs, labels, 0.97
    ).tasks
    assert first.purity is None and first.threshold is None
    assert second.purity is not None and second.threshold == 0.0
    assert (second.purity.accepted, second.purity.certified) == (400, False)
