"""The six materials: the builder on tiny folders, figures by hand, and a quick run."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from studies.material_six import run
from studies.material_six.build import (
    SIX,
    Draw,
    build_pool,
    draw_rows,
    read_rows,
    twins_to_drop,
)
from studies.material_six.figures import (
    CLASSES,
    PAIRS,
    PAPER,
    in_order,
    pair_figures,
    weighted_recall,
    within_source,
)
from studies.material_six.grounds import GREY, ground_alone, item_on_grey, take_apart
from studies.material_six.parts import best_on_validation
from studies.runner import REPOSITORY
from studies.study import load_study, settings_of

import beltsight
from beltsight.metrics import wilson_interval
from beltsight.records import Photo
from beltsight.scene import find_foreground

FOLDERS = {
    "resins": {"PET": (200, 60, 60), "HDPE": (60, 60, 200)},
    "organic-recyclable": {"organic": (60, 140, 40), "recyclable": (90, 90, 90)},
}
TRASHNET = {
    "glass": (40, 160, 90),
    "metal": (120, 120, 160),
    "paper": (120, 100, 40),
    "cardboard": (150, 90, 40),
    "plastic": (220, 120, 40),
}


def scene(colour: tuple[int, int, int], rng: np.random.Generator) -> Photo:
    """An item of two shades and its own proportions, somewhere on an even bright ground."""
    photo = rng.integers(225, 235, (96, 128, 3)).astype(np.uint8)
    x, y, w, h = (int(v) for v in rng.integers((15, 12, 30, 20), (45, 30, 65, 50)))
    shade = tuple(int(v) for v in np.clip(np.array(colour) + rng.integers(-30, 30, 3), 0, 210))
    cv2.rectangle(photo, (x, y), (x + w, y + h), shade, -1)
    dark = tuple(v // 2 for v in shade)
    cv2.rectangle(photo, (x + w // 3, y + h // 4), (x + w // 2, y + h // 2), dark, -1)
    return photo


def save(path: Path, photo: Photo) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), photo[:, :, ::-1])


def write_sources(root: Path, train: int = 10, test: int = 4) -> dict[str, beltsight.Dataset]:
    """The three data sets in small, in their own forms."""
    rng = np.random.default_rng(0)
    for name, kinds in FOLDERS.items():
        for split, count in (("train", train), ("test", test)):
            for kind, colour in kinds.items():
                for n in range(count):
                    save(root / name / split / kind / f"{n:03}.png", scene(colour, rng))
    lines = ["file,material,split"]
    for kind, colour in TRASHNET.items():
        for n in range(train + 2 + test):
            split = "train" if n < train else "val" if n < train + 2 else "test"
            save(root / "trashnet" / "images" / kind / f"{kind}{n}.png", scene(colour, rng))
            lines.append(f"{kind}/{kind}{n}.png,{kind},{split}")
    (root / "trashnet" / "splits.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {
        name: beltsight.load_dataset(root / name)
        for name in ("resins", "organic-recyclable", "trashnet")
    }


def test_a_draw_keeps_to_the_splits_and_the_counts(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    (tmp_path / "resins" / "test" / "PET" / "000.png").write_bytes(b"no photo")
    rows = draw_rows(sources["resins"], Draw("PET", "resins", ("PET",), test=9))
    count = {split: sum(row.split == split for row in rows) for split in ("train", "val", "test")}
    assert count == {"train": 8, "val": 2, "test": 3}  # 15 % of 10; one of 4 does not open
    assert all(("test/" in row.original) == (row.split == "test") for row in rows)
    few = draw_rows(sources["organic-recyclable"], Draw("o", "x", ("organic",), 2, train=5))
    assert [row.split for row in few] == ["train"] * 4 + ["val"] + ["test"] * 2
    # TrashNet has a val split of its own.
    paper = draw_rows(sources["trashnet"], Draw("paper", "trashnet", ("paper", "cardboard"), 193))
    assert sum(row.split == "val" for row in paper) == 4
    assert {row.kind for row in paper if row.split == "test"} == {"paper", "cardboard"}
    assert len({row.path for row in rows + few + paper}) == len(rows + few + paper)


def test_a_slice_never_takes_a_test_photo(tmp_path: Path) -> None:
    sources = write_sources(tmp_path)
    for draw in SIX:
        rows = draw_rows(sources[draw.source], draw, per_split=3)
        originals = {sources[draw.source].root / row.original for row in rows}
        test = {s.path for s in sources[draw.source].samples if s.split != "train"}
        assert len(rows) == 9 and not originals & test


def test_twins_of_twins_go_and_test_photos_stay() -> None:
    splits = {"a": "train", "b": "train", "c": "test", "d": "val", "e": "train", "f": "train"}
    groups = [["a", "b"], ["e", "d"], ["b", "c"], ["f", "e"]]
    assert twins_to_drop(groups, splits) == {"a": "test", "b": "test", "e": "val", "f": "val"}
    assert twins_to_drop([["a", "b"]], splits) == {}


def test_a_pool_has_no_twin_of_a_test_photo_in_train(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "in")
    resins = tmp_path / "in" / "resins"
    copied = (resins / "test" / "HDPE" / "001.png").read_bytes()
    (resins / "train" / "HDPE" / "004.png").write_bytes(copied)
    relit = cv2.imread(str(resins / "test" / "PET" / "002.png"))
    assert relit is not None
    cv2.imwrite(str(resins / "train" / "PET" / "007.png"), (relit * 0.95).astype(np.uint8))
    first, second = (build_pool("six", tmp_path / name, sources) for name in ("one", "two"))
    assert first == second
    assert {
        "images/resins/HDPE/train-004.png": "twin in test",
        "images/resins/PET/train-007.png": "twin in test",
    }.items() <= first["dropped"].items()
    rows = read_rows(tmp_path / "one")
    assert rows == read_rows(tmp_path / "two")
    assert not {row.path for row in rows} & {*first["dropped"]}
    dataset = beltsight.load_dataset(tmp_path / "one")
    assert {*dataset.task("material").classes} == {*CLASSES}
    assert len(dataset.select("test").samples) == 4 * 7  # paper is two kinds
    known = {row.path: row for row in rows}
    for sample in dataset.samples:
        row = known[dataset.shown_path(sample)]
        original = tmp_path / "in" / row.source / row.original
        assert sample.path.read_bytes() == original.read_bytes()
        assert sample.labels["material"] == row.material


def test_items_and_grounds_are_alike_in_all_else(tmp_path: Path) -> None:
    photo = np.full((96, 128, 3), (230, 225, 215), np.uint8)
    photo[30:60, 40:100] = (40, 90, 160)
    mask = find_foreground(photo).mask
    item = item_on_grey(photo, mask)
    assert item.shape == (256, 256, 3)
    is_grey = (item == GREY).all(axis=2)
    rows, columns = (np.flatnonzero(~is_grey.all(axis=axis)) for axis in (1, 0))
    assert np.ptp(columns) == pytest.approx(207, abs=2)
    assert np.ptp(rows) == pytest.approx(104, abs=8)
    assert item[128, 128] == pytest.approx([40, 90, 160], abs=2)
    ground = ground_alone(photo, mask)
    assert ground.shape == (256, 256, 3)
    assert np.abs(ground.astype(int) - [230, 225, 215]).max() < 12  # nothing blue is left


def test_three_forms_of_the_same_photos(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "in")
    build_pool("six", tmp_path / "six", sources)
    names = ("whole", "items", "grounds")
    made = take_apart(tmp_path / "six", *(tmp_path / name for name in names))
    assert len(made) > 0.8 * len(read_rows(tmp_path / "six"))
    sets = [beltsight.load_dataset(tmp_path / name).samples for name in names]
    splits = [[(s.split, s.labels["material"]) for s in samples] for samples in sets]
    assert splits[0] == splits[1] == splits[2]
    assert read_rows(tmp_path / "grounds") == made


def test_pairs_of_the_paper_by_hand() -> None:
    found = {str(pair): pair_figures(PAPER, CLASSES, *pair) for pair in PAIRS}
    resin, paper, plastic = found.values()
    assert (resin["first_as_second"], resin["second_as_first"]) == (5, 7)
    assert resin["share"] == pytest.approx(12 / 397)
    assert resin["interval"] == pytest.approx(wilson_interval(12, 397))
    assert (paper["first_as_second"], paper["second_as_first"]) == (12, 15)
    assert (plastic["first_as_second"], plastic["second_as_first"]) == (2, 3)
    assert plastic["share"] == pytest.approx(5 / (199 + 198 + 177))


def test_the_papers_matrix_and_its_mixes() -> None:
    assert PAPER.sum() == 1168 and np.trace(PAPER) == 1078
    assert [draw.test for draw in SIX] == PAPER.sum(axis=1).tolist()
    assert [draw.label for draw in SIX] == [*CLASSES]
    counted = weighted_recall(PAPER, PAPER.sum(axis=1))
    assert counted.mean == pytest.approx(1078 / 1168)
    assert (counted.low, counted.high) == pytest.approx(wilson_interval(1078, 1168), abs=0.004)
    matrix = np.array([[8, 2], [0, 30]])
    assert weighted_recall(matrix, [1, 1]).mean == pytest.approx(0.9)
    assert weighted_recall(matrix, [3, 1]).mean == pytest.approx((3 * 0.8 + 1) / 4)
    assert weighted_recall(matrix, [0, 1]).high == 1.0 > weighted_recall(matrix, [0, 1]).low
    with pytest.raises(ValueError, match="no photo"):
        weighted_recall(np.array([[0, 0], [0, 3]]), [1, 1])
    assert in_order(matrix, ["a", "b"], ["b", "a"]).tolist() == [[30, 0], [2, 8]]


def test_within_a_source_the_others_classes_do_not_count() -> None:
    classes, source_of = ("a", "b", "c"), {"a": "one", "b": "one", "c": "two"}
    probabilities = np.array([[0.3, 0.2, 0.5], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]])
    found = within_source(probabilities, np.array([0, 0, 1, 2]), classes, source_of)
    # The first is called c by all three, but a by a and b alone; the second is b, and wrong.
    assert found == {
        "one": {
            "classes": ["a", "b"],
            "n": 3,
            "right": 2,
            "accuracy": 2 / 3,
            "interval": pytest.approx(wilson_interval(2, 3)),
            "outside": 1,
        }
    }


def test_every_variant_has_valid_settings() -> None:
    here = REPOSITORY / "studies" / "material_six"
    study = load_study(here / "study.toml")
    for variant in study.variants:
        settings = settings_of(study.base, variant, 3)
        assert settings.backbone in settings.weights and settings.seed == 3
    readme = (here / "README.md").read_text(encoding="utf-8")
    assert all(f"results/{name}.svg" in readme for name in ("confusion", "curves"))


def test_validation_chooses_whose_matrix_is_shown() -> None:
    results: list[dict[str, Any]] = [
        {"variant": "a", "val": {"accuracy": 0.9}, "test": {}},
        {"variant": "b", "val": {"accuracy": 0.95}, "test": {}},
        {"variant": "c", "val": {"accuracy": 0.99}},
    ]
    best = best_on_validation(results)
    assert best is not None and best["variant"] == "b"
    assert best_on_validation(results[2:]) is None


def test_a_quick_run_from_photos_to_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sources(tmp_path / "data", train=36)
    monkeypatch.setenv("BELTSIGHT_DATA", str(tmp_path / "data"))
    ledger = tmp_path / "test_looks.csv"
    monkeypatch.setattr(run, "LOOKS", ledger)
    out, steps = tmp_path / "out", ["build", "train", "measure", "table", "plot"]
    parts = ["six", "six-items", "source-grounds"]
    asked = ["--quick", "--out", os.fspath(out), "--only", "resnet18-quick", "--seeds", "0"]
    run.main([*steps, *asked, "--parts", *parts])
    result = json.loads((out / "results" / "resnet18-quick-0.json").read_text(encoding="utf-8"))
    test = result["test"]
    assert test["n"] == 6 * 12 == np.sum(test["confusion"])
    assert {source: found["n"] for source, found in test["within"].items()} == {
        "resins": 24,
        "trashnet": 36,
    }
    assert sum(result["crossed"]["plastic"].values()) > 12
    with (out / "test_looks.csv").open(encoding="utf-8") as file:
        assert [look["data"] for look in csv.DictReader(file)] == parts
    readme = (out / "README.md").read_text(encoding="utf-8")
    for said in (
        "| the paper | 92.3 %",
        "| PET and HDPE | 5 + 7 of 397 = 3.0 %",
        "the ground alone",
    ):
        assert said in readme
    assert "Ours (resnet18-quick, seed 0)" in (out / "results" / "confusion.svg").read_text("utf-8")
    assert not ledger.exists()
    capsys.readouterr()
    run.main(["build", "train", *asked, "--parts", "six"])
    assert capsys.readouterr().out.count("has its result") == 1
