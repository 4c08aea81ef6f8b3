"""The classical study: its features by hand, its kernels against scikit-learn, and a quick run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.svm import SVC
from studies.classical.classifiers import (
    Setting,
    answers,
    grid,
    join_sets,
    squared_distances,
    try_all,
)
from studies.classical.controls import assign_folds, outer_frame
from studies.classical.features import (
    Floats,
    Photo,
    Vocabulary,
    binary_patterns,
    colour_histogram,
    dense_sift,
    gradient_histograms,
    make_describer,
    photo_without_bars,
)
from studies.classical.run import figures, main
from studies.runner import LOOKS, note_look

import beltsight
from beltsight.metrics import wilson_interval

RED, GREEN = (255, 0, 0), (0, 255, 0)


def plain(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> Photo:
    return np.full((height, width, 3), colour, np.uint8)


def noise(seed: int, height: int = 48, width: int = 64) -> Photo:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "shape"), [((384, 512), (192, 256, 3)), ((512, 384), (256, 192, 3))]
)
def test_the_bars_are_gone_and_the_photo_is_whole(
    tmp_path: Path, size: tuple[int, int], shape: tuple[int, int, int]
) -> None:
    photo = noise(0, *size)
    # As black and as white as a fill: these must stay.
    photo[:100], photo[-100:] = 0, 255
    file = tmp_path / "photo.png"
    cv2.imwrite(str(file), photo[:, :, ::-1])
    found = photo_without_bars(file, 256)
    assert found.shape == shape
    exact = beltsight.Preparation(height=shape[0], width=shape[1])
    assert np.array_equal(found, beltsight.prepare(file, exact))


def test_a_joint_histogram_has_one_bin_per_colour() -> None:
    half = np.concatenate([plain(RED), plain(GREEN)], axis=1)
    found = colour_histogram(half, bins=(8, 4, 4))
    # Red: hue 0; green: hue 60 of 180, bin 2 of 8; both of full saturation and value.
    expected = np.zeros(8 * 4 * 4)
    expected[[0 * 16 + 15, 2 * 16 + 15]] = np.sqrt(0.5)
    assert found == pytest.approx(expected)


def test_single_histograms_and_cells() -> None:
    half = np.concatenate([plain(RED), plain(GREEN)], axis=1)
    found = colour_histogram(half, bins=(6, 2, 2), joint=False, grid=2)
    hue = found[: 5 * 6].reshape(5, 6)
    assert hue[0] == pytest.approx(np.sqrt([0.5, 0, 0.5, 0, 0, 0]))  # the whole
    for cell, only in zip(hue[1:], (0, 2, 0, 2), strict=True):  # left, right, left, right
        assert cell[only] == 1 and cell.sum() == 1
    assert len(found) == 5 * (6 + 2 + 2)


def test_a_plain_photo_has_no_edges() -> None:
    assert not gradient_histograms(plain(RED)).any()


def test_a_ramp_is_one_pattern() -> None:
    ramp = np.empty((48, 64, 3), np.uint8)
    ramp[:] = np.arange(0, 128, 2)[:, None]
    found = binary_patterns(ramp, radii_px=(1, 2)) ** 2  # back to shares
    # Of 8 neighbours 5 are at least as bright: 3 on the bright side and 2 level with the centre;
    # of 16 neighbours 9. Only the border, where there are no neighbours, has other patterns.
    assert len(found) == 10 + 18
    assert found[5] > 0.9 and found[10 + 9] > 0.8


def test_hog_sees_the_direction_of_stripes() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::8] = stripes[:, 1::8] = 255
    upright = gradient_histograms(stripes, side_px=128, cell_px=16).reshape(7, 7, 2, 2, 9)
    lying = gradient_histograms(stripes.swapaxes(0, 1).copy()).reshape(7, 7, 2, 2, 9)
    assert (upright.argmax(axis=-1) == 0).all()
    assert (lying.argmax(axis=-1) == 4).all()


def test_invariant_patterns_do_not_change_when_the_photo_turns() -> None:
    photo = noise(1, 64, 64)
    turned = np.ascontiguousarray(np.rot90(photo))
    assert binary_patterns(photo, radii_px=(1,)) == pytest.approx(
        binary_patterns(turned, radii_px=(1,)), abs=0.02
    )
    first, second = (
        binary_patterns(one, radii_px=(1,), invariant=False) for one in (photo, turned)
    )
    assert first != pytest.approx(second, abs=0.02)
    with pytest.raises(ValueError, match="radius 1 only"):
        binary_patterns(photo, radii_px=(1, 2), invariant=False)


def test_words_are_counted_at_the_nearest_centre() -> None:
    photo = noise(2)
    descriptors, points = dense_sift(photo, 12, (8, 16))
    assert descriptors.shape == (2 * 4 * 5, 128) and points.shape == (40, 2)
    assert (descriptors**2).sum(axis=1) == pytest.approx(np.ones(40), abs=1e-4)  # RootSIFT
    vocabulary = Vocabulary(descriptors[[0, 7, 19]])
    gaps = np.linalg.norm(descriptors[:, None] - vocabulary.centres, axis=2)
    counted = np.bincount(gaps.argmin(axis=1), minlength=3)
    assert vocabulary.describe(photo) == pytest.approx(np.sqrt(counted / 40))
    assert len(vocabulary.describe(photo, grid=2)) == 5 * 3


def test_a_vocabulary_comes_from_training_photos_and_the_seed() -> None:
    photos = [noise(seed) for seed in range(6)]
    first, again, other = (
        make_describer("sift", {"words": 8}, lambda: photos[:5], seed)(photos[5])
        for seed in (0, 0, 1)
    )
    assert len(first) == 8
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def two_sets() -> list[Floats]:
    generator = np.random.default_rng(3)
    small, large = generator.normal(size=(60, 3)), 50 + 9 * generator.normal(size=(60, 40))
    small[:, 2] = 4.0  # never varies
    return [small.astype(np.float32), large.astype(np.float32)]


@pytest.mark.parametrize("own", [True, False])
def test_joined_sets_weigh_the_same(own: bool) -> None:
    sets = two_sets()
    joined = join_sets(sets, sets, [own, own])
    assert squared_distances(joined, joined).mean() == pytest.approx(1, rel=1e-4)
    first = joined[:, :3]
    assert squared_distances(first, first).mean() == pytest.approx(0.5, rel=1e-3)
    # Another value where training never varied.
    sets[0] = sets[0] + np.float32(1)
    assert np.isfinite(join_sets(sets, two_sets(), [own, own])).all()


def test_our_kernels_answer_as_those_of_scikit_learn() -> None:
    joined = join_sets(two_sets(), two_sets(), [True, True])
    labels = (joined[:, 0] * joined[:, 5] > 0).astype(np.int64)
    train, asked = joined[:40], joined[40:]
    settings = [Setting("rbf", 5.0, 0.7), Setting("rbf", 50.0, 0.7), Setting("linear", 2.0)]
    theirs = [
        SVC(C=5.0, gamma=0.7), SVC(C=50.0, gamma=0.7), SVC(kernel="linear", C=2.0)
    ]  # fmt: skip
    tried = list(try_all(settings, train, labels[:40], asked, seed=0, trees=5))
    assert [setting for setting, _ in tried] == settings
    for (setting, found), machine in zip(tried, theirs, strict=True):
        expected = machine.fit(train, labels[:40]).predict(asked)
        assert 0 < expected.sum() < 20
        assert np.array_equal(found, expected)
        alone = answers(setting, train, labels[:40], asked, seed=0, trees=5)
        assert np.array_equal(alone, expected)


def test_the_grid_starts_with_the_mildest() -> None:
    study = {"widths": [0.5, 1], "penalties": [1, 9], "linear_penalties": [3], "forest_leaves": [2]}
    assert [(s.width, s.penalty) for s in grid("rbf", study)] == [
        (0.5, 1),
        (0.5, 9),
        (1, 1),
        (1, 9),
    ]
    assert grid("linear", study) == [Setting("linear", 3)]
    assert grid("forest", study) == [Setting("forest", leaf=2)]


def test_the_outer_frame_is_what_lies_outside() -> None:
    photo = plain(RED)
    photo[16:-16, 16:-16] = GREEN
    frame = outer_frame(photo, 16)
    assert frame.shape == (1, 48 * 64 - 16 * 32, 3)
    assert (frame == RED).all()


def test_folds_take_equal_parts_of_each_class() -> None:
    names = [f"{label}{number}.jpg" for label in ("glass", "metal") for number in range(10)]
    labels = np.repeat([0, 1], 10)
    # The numbers count, not the order of the files.
    order = np.random.default_rng(0).permutation(20)
    found = np.empty(20, np.int64)
    found[order] = assign_folds([names[i] for i in order], labels[order], 5, None)
    assert found.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] * 2
    drawn = assign_folds(names, labels, 5, np.random.default_rng(0))
    assert drawn.tolist() != found.tolist()
    for label in (0, 1):
        assert np.bincount(drawn[labels == label]).tolist() == [2] * 5


def test_figures_by_hand() -> None:
    found = figures(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0]), ("glass", "metal", "x"))
    assert (found["n"], found["correct"], found["accuracy"]) == (5, 3, 0.6)
    assert found["interval"] == pytest.approx(wilson_interval(3, 5))
    assert found["per_class"]["glass"] == {"correct": 2, "n": 3, "recall": 2 / 3}
    assert found["per_class"]["x"] == {"correct": 0, "n": 0, "recall": None}


def test_a_look_without_a_model_file(tmp_path: Path) -> None:
    looks = tmp_path / "looks.csv"
    for _ in range(2):
        note_look("ab" * 32, "photos", 7, "material accuracy 0.5", looks=looks)
    header, first, second = looks.read_text(encoding="utf-8").splitlines()
    assert header == LOOKS.read_text(encoding="utf-8").splitlines()[0]
    assert first == second and first.endswith(f",{'ab' * 32},photos,7,material accuracy 0.5")


def write_photos(folder: Path) -> None:
    """TrashNet's form: red glass and green metal, 8 training and 8 validation photos of each."""
    lines = ["file,material,split"]
    for label, colour in (("glass", RED), ("metal", GREEN)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(20):
            split = ("train" if number < 8 else "val") if number < 16 else "test"
            photo = noise(number, 96, 128) // 4 + plain(colour, 96, 128) // 2
            if split == "test":
                photo = photo[:, :, ::-1]  # the other class's colour
            name = f"{label}/{label}{number}.jpg"
            cv2.imwrite(str(folder / "images" / name), photo[:, :, ::-1])
            lines.append(f"{name},{label},{split}")
    (folder / "images" / "glass" / "glass3.jpg").write_bytes(b"no photo")
    (folder / "splits.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_quick_run_never_touches_the_test_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_photos(tmp_path / "data" / "trashnet")
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "data"))
    ledger = LOOKS.read_bytes()
    for _ in range(2):
        capsys.readouterr()
        main(["--quick", "--data", "trashnet", "--out", str(tmp_path / "out")])
    # The second run decoded the photos for their labels, and found all else on disk.
    said = [line[9:] for line in capsys.readouterr().err.splitlines()]
    assert len(said) == 3 and all(line.startswith("trashnet: decoding") for line in said)
    record = json.loads((tmp_path / "out" / "results" / "trashnet.json").read_text("utf-8"))
    assert record["n"] == {"train": 11, "val": 6, "test": 6}
    assert record["left_out"] == {"train": ["glass/glass3.jpg"], "val": [], "test": []}
    rows = record["rows"]
    assert list(rows) == ["colour", "hog", "lbp", "sift", "all-rbf", "all-linear", "all-forest"]
    assert rows["colour"]["test"]["accuracy"] == 1  # red is not green
    assert all(len(row["settings_sha256"]) == 64 for row in rows.values())
    assert record["controls"]["frame"]["val_accuracy"] == 1
    assert record["controls"]["folds"]["n"] == 17
    assert "all four" in (tmp_path / "out" / "results" / "accuracy.svg").read_text("utf-8")
    assert LOOKS.read_bytes() == ledger
