from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import CLASSES, tiny_card, tiny_graph, write_tiny

import beltsight
from beltsight.card import GoldenCard, TaskCard
from beltsight.errors import BeltsightError, ConfigError, DatasetError, SplitError
from beltsight.metrics import wilson_interval
from beltsight.model import Model
from beltsight.records import Sample
from beltsight.robustness import CHANGES, find_others, measure_robustness
from beltsight.scene import CutOut

COLOURS = {"blue": (30, 40, 190), "green": (30, 150, 50), "red": (190, 40, 30)}
PER_CLASS = 3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Coloured ellipses on a bright ground, named for their colour."""
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        folder = tmp_path / "photos" / label
        folder.mkdir(parents=True)
        for number in range(PER_CLASS):
            photo = np.full((96, 128, 3), 225, np.uint8)
            middle = (int(rng.integers(50, 78)), int(rng.integers(40, 56)))
            cv2.ellipse(photo, middle, (40, 28), float(rng.uniform(0, 180)), 0, 360, colour, -1)
            photo = np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), photo[:, :, ::-1])
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model.load(write_tiny(tmp_path / "m.onnx"), threads=1)


def test_each_severity_has_its_figures(photos: Path, model: Model) -> None:
    changes = {"contrast": [0.5, 0.0], "blur": [2.0]}
    record = measure_robustness(model, photos, "all", changes=changes)
    assert (record["n"], record["split"]) == (9, "all")
    assert list(record["changes"]) == ["contrast", "blur"]
    contrast = record["changes"]["contrast"]
    assert (contrast["amounts"], contrast["unit"]) == ([1, 0.5, 0.0], "of the contrast")
    rows = contrast["tasks"]["material"]["severities"]
    # Without any contrast all channels are equal, and the first class, blue, is the answer.
    assert [row["right"] for row in rows] == [9, 9, 3]
    assert rows[2]["accuracy"] == pytest.approx(1 / 3)
    assert tuple(rows[2]["interval"]) == wilson_interval(3, 9)
    assert contrast["tasks"]["material"]["mean"] == pytest.approx((1 + 1 / 3) / 2)
    json.dumps(record)


def test_the_plain_photos_are_answered_as_evaluate_answers_them(photos: Path) -> None:
    packaged = beltsight.load(threads=1)
    demo = Path(beltsight.__file__).parent / "assets" / "demo"
    plain = beltsight.evaluate(packaged, demo, "all").tasks["material"]
    right = int((plain.probabilities.argmax(axis=1) == plain.labels).sum())
    record = measure_robustness(packaged, demo, "all", changes={"blur": [40.0]})
    rows = record["changes"]["blur"]["tasks"]["material"]["severities"]
    assert (rows[0]["right"], rows[0]["n"]) == (right, 36)
    assert rows[1]["accuracy"] < 0.7


def test_changes_that_need_an_item_pass_over_photos_without(photos: Path, model: Model) -> None:
    flat = np.random.default_rng(1).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    cv2.imwrite(str(photos / "blue" / "nothing.png"), flat)
    record = measure_robustness(model, photos, "all", changes={"occlusion": [0.5]})
    rows = record["changes"]["occlusion"]["tasks"]["material"]["severities"]
    assert record["n"] == 10 and [row["n"] for row in rows] == [9, 9]
    assert rows[0]["right"] == 9 > rows[1]["right"]


def test_items_of_all_classes_are_laid_over_others(photos: Path) -> None:
    samples = beltsight.load_dataset(photos).samples
    found = find_others(samples, 0)
    assert sorted(sample.labels["material"] for sample, _ in found) == sorted([*COLOURS] * 3)
    middle = found[0][1].rgb[found[0][1].size[1] // 2, found[0][1].size[0] // 2]
    colour = COLOURS[found[0][0].labels["material"]]
    assert np.abs(middle.astype(int) - colour).max() < 12


def two_tasks(path: Path) -> Model:
    """The tiny model, which takes everything for clean besides."""
    levels = ("clean", "partly", "heavily")
    return also_answering(
        path, TaskCard(name="contamination", classes=levels, ordered=True, map=False)
    )


def answers_dirt(path: Path) -> Model:
    """The tiny model, which sees no dirt anywhere."""
    return also_answering(
        path, TaskCard(name="dirt", classes=("none", "dust", "organic"), map=False)
    )


def also_answering(path: Path, second: TaskCard) -> Model:
    """The tiny model with another task, whose first class it always gives."""
    graph = tiny_graph(with_map=False)
    constants = {"zeros": np.zeros((3, 3)), "always": np.array([1.0, 0.0, 0.0])}
    graph.graph.initializer.extend(
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()
    )
    graph.graph.node.append(
        helper.make_node("Gemm", ["embedding", "zeros", "always"], [second.name])
    )
    graph.graph.output.append(
        helper.make_tensor_value_info(second.name, TensorProto.FLOAT, ["batch", 3])
    )
    tasks = (TaskCard(name="material", classes=CLASSES, map=False), second)
    card = tiny_card(tasks=tasks, golden=GoldenCard())
    return Model.load(write_tiny(path, card, graph=graph), threads=1)


def test_dirt_changes_the_truth_of_contamination(photos: Path, tmp_path: Path) -> None:
    model = two_tasks(tmp_path / "two.onnx")
    changes = {"dirt": [0.02, 0.2], "blur": [1.0]}
    record = measure_robustness(model, photos, "all", changes=changes)
    dirt = record["changes"]["dirt"]["tasks"]
    # 2 % of dirt still counts as clean, 20 % is partly; unlabelled items count as clean.
    assert [row["right"] for row in dirt["contamination"]["severities"]] == [9, 9, 0]
    assert [row["n"] for row in dirt["contamination"]["severities"]] == [9, 9, 9]
    assert dirt["material"]["severities"][0]["right"] == 9
    assert list(record["changes"]["blur"]["tasks"]) == ["material"]  # nobody said what is clean


def test_wet_items_are_not_asked_for_the_dirt_that_they_had(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [str(file.relative_to(photos)) for file in sorted(photos.rglob("*.png"))]
    rows = [f"{name},{name.split('/')[0]},clean,none\n" for name in files]
    rows[0] = rows[0].replace("none", "dust")  # a task has two classes
    (photos / "labels.csv").write_text("path,material,contamination,dirt\n" + "".join(rows))
    monkeypatch.setattr("beltsight.scene.damage.KINDS", ("wet",))
    model = answers_dirt(tmp_path / "m.onnx")
    data = photos / "labels.csv"
    record = measure_robustness(model, data, "all", changes={"dirt": [0.02, 0.2], "blur": [1.0]})
    dirt = record["changes"]["dirt"]["tasks"]["dirt"]["severities"]
    # Clean, clean with specks, and wet: a level, and no class of dirt to be right about.
    assert [row["n"] for row in dirt] == [9, 9, 0]
    assert record["changes"]["blur"]["tasks"]["dirt"]["severities"][1]["n"] == 9


def test_only_clean_items_are_laid_over_others(
    photos: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(photos.rglob("*.png"))
    rows = [
        f"{file.relative_to(photos)},{file.parent.name},{('clean', 'heavily')[n % 2]}\n"
        for n, file in enumerate(files)
    ]
    (photos / "labels.csv").write_text("path,material,contamination\n" + "".join(rows))
    asked: list[str] = []

    def noting(samples: Sequence[Sample], seed: int) -> list[tuple[Sample, CutOut]]:
        asked.extend(sample.labels["contamination"] for sample in samples)
        return find_others(samples, seed)

    monkeypatch.setattr("beltsight.robustness.find_others", noting)
    measure_robustness(model, photos / "labels.csv", "all", changes={"occlusion": [0.3]})
    assert asked == ["clean"] * 5


def dirty_photos(photos: Path, columns: str) -> Path:
    """A CSV with these columns: every second photo is called heavily contaminated."""
    rows = []
    for number, file in enumerate(sorted(photos.rglob("*.png"))):
        cells = {
            "path": str(file.relative_to(photos)),
            "material": file.parent.name,
            "contamination": ("clean", "heavily")[number % 2],
        }
        rows.append(",".join(cells[name] for name in columns.split(",")))
    (photos / "labels.csv").write_text("\n".join([columns, *rows]))
    return photos / "labels.csv"


def test_the_order_of_columns_changes_nothing(photos: Path, tmp_path: Path) -> None:
    model, found = two_tasks(tmp_path / "two.onnx"), []
    for columns in ("path,material,contamination", "path,contamination,material"):
        data = dirty_photos(photos, columns)
        record = measure_robustness(model, data, "all", changes={"occlusion": [0.5]})
        found.append(record["changes"]["occlusion"]["tasks"])
    assert found[0]["material"]["severities"][1]["n"] == 9
    assert found[0] == found[1]


def test_dirt_that_another_item_may_hide_is_not_asked_for(photos: Path, tmp_path: Path) -> None:
    data = dirty_photos(photos, "path,material,contamination")
    model = two_tasks(tmp_path / "two.onnx")
    changes = {"occlusion": [0.3, 0.5], "blur": [1.0]}
    record = measure_robustness(model, data, "all", changes=changes)
    tasks = record["changes"]["occlusion"]["tasks"]
    # The five clean items, laid under clean ones, stay clean; all nine keep their material.
    assert [row["n"] for row in tasks["contamination"]["severities"]] == [5, 5, 5]
    assert [row["right"] for row in tasks["contamination"]["severities"]] == [5, 5, 5]
    assert [row["n"] for row in tasks["material"]["severities"]] == [9, 9, 9]
    blurred = record["changes"]["blur"]["tasks"]["contamination"]["severities"]
    assert [(row["n"], row["right"]) for row in blurred] == [(9, 5), (9, 5)]


def test_a_change_that_no_photo_allows_is_named(photos: Path, model: Model) -> None:
    for label in ("green", "red"):
        for file in (photos / label).iterdir():
            file.unlink()
    rows = [f"{file.relative_to(photos)},blue" for file in photos.rglob("*.png")]
    flat = np.random.default_rng(1).integers(0, 255, (96, 128, 3)).astype(np.uint8)
    cv2.imwrite(str(photos / "red" / "nothing.png"), flat)  # a class whose items cannot be cut out
    lines = ["path,material", *rows, "red/nothing.png,red"]
    (photos / "labels.csv").write_text("\n".join(lines))
    changes = {"occlusion": [0.3], "blur": [1.0]}
    record = measure_robustness(model, photos / "labels.csv", "all", changes=changes)
    assert record["left_out"] == ["occlusion"]
    assert record["changes"]["occlusion"]["tasks"] == {}


def test_an_interrupted_call_goes_on(photos: Path, model: Model, tmp_path: Path) -> None:
    keep, asked = tmp_path / "keep", []
    changes = {"noise": [30.0], "blur": [2.0]}

    def stop(change: str, done: int, total: int) -> None:
        asked.append(change)
        if change == "blur" and len(set(asked)) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_robustness(model, photos, "all", changes=changes, keep=keep, progress=stop)
    asked.clear()
    whole = measure_robustness(
        model, photos, "all", changes=changes, keep=keep, progress=lambda c, a, b: asked.append(c)
    )
    assert set(asked) == {"blur"}
    assert whole == measure_robustness(model, photos, "all", changes=changes)
    asked.clear()
    other = {"blur": [3.0]}
    measure_robustness(
        model, photos, "all", changes=other, keep=keep, progress=lambda c, a, b: asked.append(c)
    )
    assert set(asked) == {"blur"}


def test_kept_answers_are_those_to_the_same_bytes_and_version(
    photos: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, changes = tmp_path / "keep", {"contrast": [0.5]}
    measure_robustness(model, photos, "all", changes=changes, keep=keep)
    first = photos / "blue" / "0.png"
    first.write_bytes((photos / "red" / "0.png").read_bytes())
    record = measure_robustness(model, photos, "all", changes=changes, keep=keep)
    rows = record["changes"]["contrast"]["tasks"]["material"]["severities"]
    assert [row["right"] for row in rows] == [8, 8]
    assert len(list(keep.iterdir())) == 4
    monkeypatch.setattr("beltsight.robustness.version", lambda name: "0.0.0")
    measure_robustness(model, photos, "all", changes=changes, keep=keep)
    assert len(list(keep.iterdir())) == 6


def test_damaged_answers_are_asked_for_again(photos: Path, model: Model, tmp_path: Path) -> None:
    keep, changes = tmp_path / "keep", {"contrast": [0.5]}
    whole = measure_robustness(model, photos, "all", changes=changes, keep=keep)
    for size in (0, 100):
        for file in keep.iterdir():
            file.write_bytes(file.read_bytes()[:size])
        assert measure_robustness(model, photos, "all", changes=changes, keep=keep) == whole


def test_a_folder_that_cannot_be_written_is_said_before_the_work(
    photos: Path, model: Model, tmp_path: Path
) -> None:
    asked: list[str] = []
    (tmp_path / "file").touch()
    with pytest.raises(BeltsightError, match=r"file.keep: cannot be written"):
        measure_robustness(
            model, photos, "all", keep=tmp_path / "file" / "keep",
            progress=lambda change, done, total: asked.append(change),
        )  # fmt: skip
    assert not asked


def test_photos_of_one_item_widen_the_intervals(photos: Path, model: Model) -> None:
    rows = [f"{file.relative_to(photos)},{file.parent.name}" for file in photos.rglob("*.png")]
    lines = ["path,material,group", *(f"{row},{row.split(',')[1]}" for row in rows)]
    (photos / "labels.csv").write_text("\n".join(lines))
    record = measure_robustness(model, photos / "labels.csv", "all", changes={"contrast": [0.0]})
    row = record["changes"]["contrast"]["tasks"]["material"]["severities"][1]
    # Three items of three photos each, and one of the items is told: as one of three.
    assert (row["right"], row["n"]) == (3, 9)
    assert row["interval"][0] < wilson_interval(1, 3)[0] < wilson_interval(3, 9)[0]


def test_unreadable_photos_are_not_counted(photos: Path, model: Model) -> None:
    (photos / "red" / "0.png").write_bytes(b"no photo")
    record = measure_robustness(model, photos, "all", changes={"blur": [1.0]})
    rows = record["changes"]["blur"]["tasks"]["material"]["severities"]
    assert [row["n"] for row in rows] == [8, 8]
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no photo")
    with pytest.raises(DatasetError, match="none of 9 photos"):
        measure_robustness(model, photos, "all", changes={"blur": [1.0]})


def test_what_cannot_be_measured_is_said(photos: Path, model: Model, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'noise'"):
        measure_robustness(model, photos, "all", changes={"noize": [1.0]})
    with pytest.raises(ConfigError, match="jpeg must lie in 1 to 100"):
        measure_robustness(model, photos, "all", changes={"jpeg": [0]})
    with pytest.raises(SplitError):
        measure_robustness(model, photos, "test")
    (photos / "red").rename(photos / "rouge")
    with pytest.raises(DatasetError, match="'rouge' is not a class"):
        measure_robustness(model, photos, "all", changes={"blur": [1.0]})
    assert all(change.title and change.unit for change in CHANGES.values())


def test_a_photo_too_thin_for_a_change_is_passed_over(photos: Path, model: Model) -> None:
    # Shrunk to 512 x 7 pixels it can be answered, and neither changed nor searched for an item.
    cv2.imwrite(str(photos / "blue" / "thin.png"), np.full((16, 1200, 3), 90, np.uint8))
    changes = {"contrast": [0.5], "occlusion": [0.5], "dirt": [0.2]}
    record = measure_robustness(model, photos, "all", changes=changes)
    assert record["n"] == 10
    for change in changes:
        rows = record["changes"][change]["tasks"]["material"]["severities"]
        assert {row["n"] for row in rows} == {9}


def test_a_name_that_is_not_utf_8_is_no_obstacle(photos: Path, model: Model) -> None:
    try:
        os.rename(photos / "red/0.png", os.fsencode(photos) + b"/red/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    record = measure_robustness(model, photos, "all", changes={"noise": [8.0]})
    rows = record["changes"]["noise"]["tasks"]["material"]["severities"]
    assert [row["n"] for row in rows] == [9, 9]


def test_a_change_without_an_amount_is_refused(photos: Path, model: Model) -> None:
    with pytest.raises(ConfigError, match="blur: expected at least one amount"):
        measure_robustness(model, photos, "all", changes={"blur": ()})


def test_batches_are_those_asked_for_else_as_tuned(
    photos: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Model.outputs

    def noting(self: Model, stacked: Any, names: Any, batch_size: int) -> Any:
        sizes.append(batch_size)
        assert len(stacked) <= batch_size
        return real(self, stacked, names, batch_size)

    monkeypatch.setattr(Model, "outputs", noting)
    for tuned, asked, used in ((None, None, 16), (5, None, 5), (5, 2, 2)):
        model.batch_size = tuned
        sizes.clear()
        changes = {"contrast": [0.5]}
        measure_robustness(model, photos, "all", changes=changes, batch_size=asked)
        assert set(sizes) == {used}
