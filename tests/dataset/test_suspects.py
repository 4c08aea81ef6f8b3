from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from beltsight.dataset import load_dataset
from beltsight.dataset.duplicates import join
from beltsight.dataset.scan import find_duplicates, linked, scan_photos
from beltsight.dataset.suspects import (
    _assign_folds,
    confident_errors,
    embed_photos,
    find_suspects,
    out_of_fold,
)
from beltsight.errors import DatasetError, MissingExtraError
from beltsight.model import Model
from beltsight.records import Floats, TaskSpec

NAMES = ("glass", "metal", "paper")


def blobs(seed: int, per_class: int = 60) -> tuple[Floats, list[str]]:
    """Three clouds in 16 dimensions that overlap a little."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 1.2, (3, 16))
    points = [rng.normal(centre, 1, (per_class, 16)) for centre in centres]
    labels = [name for name in NAMES for _ in range(per_class)]
    return np.concatenate(points).astype(np.float32), labels


def test_confident_joint_by_hand() -> None:
    table = np.array(
        [
            [0.9, 0.1, 0.0],  # 0: fits
            [0.5, 0.1, 0.4],  # 0: under its threshold 0.5, but class 2 is under 0.55, too
            [0.1, 0.8, 0.1],  # 0: over the threshold of 1
            [0.2, 0.7, 0.1],  # 1: fits
            [0.0, 0.5, 0.5],  # 1: over no threshold
            [0.3, 0.1, 0.6],  # 2: fits
            [0.5, 0.0, 0.5],  # 2: over the threshold of 0
        ]
    )
    codes = np.array([0, 0, 0, 1, 1, 2, 2])
    # Thresholds: 0: (.9 + .5 + .1) / 3 = .5; 1: (.7 + .5) / 2 = .6; 2: (.6 + .5) / 2 = .55
    assert confident_errors(table, codes) == [(2, 1), (6, 0)]


def test_of_two_classes_over_their_thresholds_the_likelier_counts() -> None:
    table = np.array([[0.3, 0.7], [0.4, 0.6], [0.45, 0.55], [0.8, 0.2]])
    codes = np.array([0, 1, 0, 1])
    # Thresholds .375 and .4: row 2 is over both and taken for 1; row 3 for 0.
    assert confident_errors(table, codes) == [(3, 0), (0, 1), (2, 1)]


def test_out_of_fold_is_a_regression_without_the_fold() -> None:
    points, labels = blobs(0)
    codes = np.array([NAMES.index(label) for label in labels])
    got = out_of_fold(points, codes, 3, folds=4, seed=7)
    fold = _assign_folds(codes, None, 4, 7)
    expected = np.zeros((len(codes), 3))
    for held in range(4):
        peer = make_pipeline(StandardScaler(), LogisticRegression(C=12.8 / 16, max_iter=1000))
        peer.fit(points[fold != held], codes[fold != held])
        expected[fold == held] = peer.predict_proba(points[fold == held])
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_folds_keep_groups_whole_and_spread_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, 200)
    groups = rng.integers(0, 90, 200)
    fold = _assign_folds(codes, groups.tolist(), 5, seed)
    for group in np.unique(groups):
        assert len(set(fold[groups == group].tolist())) == 1
    for code in range(3):
        share = np.bincount(fold[codes == code], minlength=5)
        assert share.max() - share.min() <= 8
    other = _assign_folds(codes, groups.tolist(), 5, seed + 1)
    assert (other != fold).any()


def test_planted_errors_come_first() -> None:
    points, labels = blobs(1)
    wrong = {5: "paper", 70: "glass", 130: "metal"}
    found = find_suspects(
        points, [wrong.get(i, label) for i, label in enumerate(labels)], NAMES, seed=3
    )
    first = {suspect.position: suspect for suspect in found[:5]}
    assert wrong.keys() <= first.keys()
    for row, label in wrong.items():
        assert first[row].label == label and first[row].suggestion == labels[row]
        assert first[row].margin < 0 < first[row].probability <= 1
    assert [s.margin for s in found] == sorted(s.margin for s in found)


def test_the_twin_of_a_mislabelled_photo_does_not_confirm_it() -> None:
    points, labels = blobs(2)
    # Fifteen copies of one wrong photo would teach the classifier the error.
    points = np.concatenate([points, np.repeat(points[:1], 15, axis=0)])
    labels = [*labels, *["paper"] * 15]
    labels[0] = "paper"
    groups = [*range(180), *[0] * 15]
    kept = find_suspects(points, labels, NAMES, groups=groups)
    split = find_suspects(points, labels, NAMES)
    assert {0, *range(180, 195)} <= {s.position for s in kept}
    assert not {0, *range(180, 195)} & {s.position for s in split}


def test_a_class_without_photos_is_passed_over() -> None:
    points, labels = blobs(1)
    labels[5] = "paper"
    found = find_suspects(points, labels, ("clean", *NAMES, "wood"))
    assert found[0].position == 5 and found[0].suggestion == "glass"


def test_too_few_photos() -> None:
    points = np.eye(3, dtype=np.float32)
    with pytest.raises(DatasetError, match="too few labelled photos"):
        find_suspects(points[:2], ["glass", "paper"], NAMES)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    points, labels = blobs(0)
    with pytest.raises(MissingExtraError, match=r"beltsight\[lab\]"):
        find_suspects(points, labels, NAMES)


def flip(labels: list[str], classes: tuple[str, ...], seed: int) -> tuple[list[str], set[int]]:
    """3 % of the labels changed to another class."""
    rng = np.random.default_rng(seed)
    rows = set(rng.choice(len(labels), round(0.03 * len(labels)), replace=False).tolist())
    return [
        str(rng.choice([c for c in classes if c != label])) if row in rows else label
        for row, label in enumerate(labels)
    ], rows


def imagenet_features(paths: list[Path], weights: Path, size_px: int) -> Floats:
    """What a backbone sees that has never seen a photo of TrashNet, nor one of its labels."""
    torch = pytest.importorskip("torch")
    from beltsight.image import Preparation, prepare
    from beltsight.train.network import build_network
    from beltsight.train.settings import TrainSettings

    settings = TrainSettings(
        backbone="mobilenetv2_100",
        weights=str(weights),
        backbone_args={"pad_type": "same"},
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        image_size=size_px,
    )
    network = build_network(settings, (TaskSpec("material", ("a", "b")),)).eval()
    preparation = Preparation(size_px, size_px)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(paths), 64):
            photos = np.stack([prepare(path, preparation) for path in paths[start : start + 64]])
            parts.append(network.features(torch.from_numpy(photos))[1].numpy())
    return np.concatenate(parts)


@pytest.mark.slow
def test_half_of_trashnets_flipped_labels_are_among_twice_their_number(
    trashnet: Path, weights_dir: Path
) -> None:
    dataset = load_dataset(trashnet)
    paths = [sample.path for sample in dataset.samples]
    whole = join(len(paths), linked(*find_duplicates(list(scan_photos(paths)))))
    embeddings = imagenet_features(paths, weights_dir / "mobilenetv2_100.safetensors.xz", 128)
    truth: list[str] = [sample.labels["material"] for sample in dataset.samples]
    classes = dataset.task("material").classes
    for seed in (0, 1, 2):
        labels, flipped = flip(truth, classes, seed)
        found = find_suspects(embeddings, labels, classes, groups=whole, seed=seed)
        hits = [s for s in found[: 2 * len(flipped)] if s.position in flipped]
        right = np.mean([s.suggestion == truth[s.position] for s in hits])
        print(f"seed {seed}: {len(hits)} of {len(flipped)} found, {right:.0%} named right")
        assert len(hits) >= len(flipped) / 2, (seed, len(hits))
        assert right > 0.8


def test_embeddings_come_in_order_and_in_batches(tmp_path: Path) -> None:
    from tests.dataset.scenes import jpeg, put
    from tests.tiny import write_tiny

    model = Model.load(write_tiny(tmp_path / "tiny.onnx"))
    photos: list[NDArray[np.uint8]] = [
        np.full((40, 40, 3), (value, 255 - value, 7), np.uint8) for value in range(0, 250, 25)
    ]
    paths = [put(tmp_path / f"{i}.jpg", jpeg(photo, 100)) for i, photo in enumerate(photos)]
    calls: list[tuple[str, int, int]] = []
    got = embed_photos(model, paths, batch_size=4, progress=lambda *call: calls.append(call))
    expected = np.array([photo[0, 0] / 255 for photo in photos])
    np.testing.assert_allclose(got, expected, atol=0.02)
    assert [done for _, done, _ in calls] == [4, 8, 10]
    assert embed_photos(model, []).shape[0] == 0
