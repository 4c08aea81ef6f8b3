from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from tests.scene.drawn import draw_scene
from tests.train.tiny_settings import tiny

from beltsight.errors import DatasetError, TrainError
from beltsight.image import Preparation, prepare
from beltsight.model import Model
from beltsight.records import Sample
from beltsight.train.balance import class_weights, confused_classes, draw_weights, with_synthesis
from beltsight.train.batches import EpochOrder
from beltsight.train.photos import PreparedPhotos
from beltsight.train.run import run_training

FILL = (128, 128, 128)


def test_balanced_weights_make_classes_equal() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 5)
    weights = class_weights(labels, 4).numpy()
    counts = np.array([6, 3, 1])
    np.testing.assert_allclose(weights[:3] * counts, 10 / 3, rtol=1e-6)
    assert weights[3] == 0


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_photos_are_drawn_as_they_are_unless_copied(balance: str) -> None:
    assert draw_weights(np.array([0, 0, 1]), balance) is None


@pytest.mark.parametrize("balance", ["copies", "synthesis"])
def test_each_class_is_drawn_equally_often(balance: str) -> None:
    weights = draw_weights(np.array([0, 0, 0, 1]), balance)
    assert weights is not None
    assert torch.allclose(weights[:3].sum(), weights[3])


@pytest.mark.parametrize("balance", ["copies", "synthesis"])
def test_photos_without_a_label_come_as_often_as_in_a_plain_draw(balance: str) -> None:
    weights = draw_weights(np.array([0] * 90 + [1] * 10 + [-1] * 300), balance)
    assert weights is not None
    assert float(weights[100:].sum() / weights.sum()) == pytest.approx(0.75)


def test_confused_classes_are_those_below_the_mean_f1() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    answers = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 5, 300))
    scores = f1_score(labels, answers, average=None)
    expected = np.flatnonzero(scores < scores.mean()).tolist()
    unlabelled = np.concatenate([labels, [-1, -1]]), np.concatenate([answers, [0, 1]])
    assert confused_classes([unlabelled[0]], [unlabelled[1]]) == [expected]


@pytest.fixture
def drawn(tmp_path: Path) -> PreparedPhotos:
    """Seven photos of class 0, four of class 1, one without a label."""
    pixels = [prepare(draw_scene(seed).photo, Preparation(128, 128)) for seed in range(12)]
    (tmp_path / "pixels").write_bytes(np.stack(pixels).tobytes())
    labels = np.array([[0, -1]] * 7 + [[1, 0]] * 4 + [[-1, 1]])
    samples = tuple(Sample(tmp_path / f"{i}.png", {}) for i in range(12))
    classes = (("glass", "metal"), ("clean", "dirty"))
    return PreparedPhotos(
        tmp_path / "pixels", (12, 128, 128, 3), labels, classes, samples, ("",) * 12, ()
    )


def test_synthesis_fills_up_rare_classes(drawn: PreparedPhotos) -> None:
    before = drawn.pixels().copy()
    seen = []
    filled = with_synthesis(drawn, 0, FILL, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert filled.labels[12:].tolist() == [[1, -1]] * 3  # what else they would be is not known
    assert len(filled) == 15 and len(filled.samples) == 12
    np.testing.assert_array_equal(filled.pixels()[:12], before)
    added = filled.pixels()[12:]
    assert len({photo.tobytes() for photo in [*before, *added]}) == 15
    assert (added[:, :8] == FILL).all()  # the bars
    order = EpochOrder(filled, tiny(balance="synthesis", batch_size=12))
    drawn_indices = set()
    for epoch in range(50):
        order.epoch = epoch
        assert len(order) == 1  # an epoch is as long as without
        drawn_indices |= {index for batch in order for _, index in batch}
    assert drawn_indices == set(range(15))


def test_equal_classes_need_no_synthesis(drawn: PreparedPhotos) -> None:
    equal = replace(drawn, labels=np.array([[0, -1]] * 6 + [[1, -1]] * 6))
    assert len(with_synthesis(equal, 0, FILL)) == 12


def test_a_class_without_usable_items_is_named(drawn: PreparedPhotos) -> None:
    pixels = drawn.pixels().copy()
    pixels[7:11] = 200
    drawn.file.write_bytes(pixels.tobytes())
    with pytest.raises(DatasetError, match="class metal: none of its 4 photos"):
        with_synthesis(drawn, 0, FILL)


def test_no_room_for_synthesised_photos_is_said(
    drawn: PreparedPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(drawn.file), "open", full)
    with pytest.raises(TrainError, match=r"synthesised photos cannot be written \(No space"):
        with_synthesis(drawn, 0, FILL)


def test_a_run_learns_from_synthesised_photos(tmp_path: Path) -> None:
    for index in range(24):
        label = "rare" if index % 4 == 0 else "common"
        path = tmp_path / "data" / label / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw_scene(index).photo[:, :, ::-1])
    stages = ({"learn": "heads", "epochs": 1, "learning_rate": 0.01, "views": 1},)
    settings = tiny(stages=stages, balance="synthesis", val_fraction=0.25)
    told: list[tuple[int, int]] = []
    run = run_training(
        tmp_path / "data", tmp_path / "run", settings,
        preparing=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    added = told[24:]  # behind what the photos themselves take
    assert added and added == [(n, len(added)) for n in range(1, len(added) + 1)]
    training = Model.load(run.model).card.training
    assert training.n_train + training.n_val == 24  # made photos are not counted as photos
