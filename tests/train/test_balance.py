from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from beltsight.errors import TrainError
from beltsight.train.balance import class_weights, confused_classes, draw_weights, with_synthesis
from beltsight.train.photos import PreparedPhotos


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


def test_confused_classes_are_those_below_the_mean_f1() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    answers = np.where(rng.random(300) < 0.6, labels, rng.integers(0, 5, 300))
    scores = f1_score(labels, answers, average=None)
    expected = np.flatnonzero(scores < scores.mean()).tolist()
    unlabelled = np.concatenate([labels, [-1, -1]]), np.concatenate([answers, [0, 1]])
    assert confused_classes([unlabelled[0]], [unlabelled[1]]) == [expected]


def test_synthesis_fills_up_rare_classes(prepared: PreparedPhotos) -> None:
    rare = prepared.labels[:, 0] == 1
    kept = np.flatnonzero(~rare | (np.cumsum(rare) <= 5))  # five of class 1 stay
    before = prepared.pixels()[kept].copy()
    prepared.file.write_bytes(before.tobytes())
    photos = replace(
        prepared,
        shape=(len(kept), *prepared.shape[1:]),
        labels=prepared.labels[kept],
        samples=tuple(prepared.samples[i] for i in kept),
        hashes=tuple(prepared.hashes[i] for i in kept),
    )
    filled = with_synthesis(photos, 0, (128, 128, 128))
    assert np.bincount(filled.labels[:, 0]).tolist() == [18, 18, 18]
    assert len(filled) == 54 and len(filled.samples) == len(kept)
    np.testing.assert_array_equal(filled.pixels()[: len(kept)], before)
    added = filled.pixels()[len(kept) :]
    assert all(photo.std() > 5 for photo in added)
    assert len({photo.tobytes() for photo in added}) == len(added)


def test_no_room_for_synthesised_photos_is_said(
    prepared: PreparedPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = prepared.labels.copy()
    labels[:10, 0] = 2
    gone = replace(prepared, labels=labels, file=prepared.file)
    monkeypatch.setattr(type(prepared.file), "open", _full)
    with pytest.raises(TrainError, match=r"synthesised photos cannot be written \(No space"):
        with_synthesis(gone, 0, (128, 128, 128))


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")
