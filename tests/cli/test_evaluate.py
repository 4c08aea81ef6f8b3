from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from tests.cli.program import beltsight
from tests.tiny import CLASSES, paint, tiny_card, tiny_training, write_tiny

from beltsight.card import TaskCard, content_hash
from beltsight.config import ASSETS
from beltsight.errors import DatasetError
from beltsight.image import decode
from beltsight.novelty import fit_novelty
from beltsight.robustness import measure_robustness
from beltsight.stream import stream_outputs
from beltsight.tuned import Choice, Tuning, forget_tuning, machine_key, save_tuning

COLOURS = {"red": (220, 30, 40), "green": (30, 210, 50), "blue": (20, 40, 230)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four test photos and two validation photos per class; one test photo is labelled wrongly."""
    root = tmp_path / "data"
    for label, colour in COLOURS.items():
        for number in range(6):
            shown = (20, 40, 231) if (label, number) == ("red", 0) else colour
            varied = (shown[0], shown[1], shown[2] - number)
            path = root / ("val" if number > 3 else "test") / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), paint(varied, 40)[:, :, ::-1])
    return root


def test_the_table_names_split_interval_and_n(model: Path, data: Path) -> None:
    result = beltsight("evaluate", model, data)
    assert result.status == 0
    first, head = result.out.splitlines()[:2]
    assert first == "No photo has a twin in another split."
    assert head.startswith(
        "material, test split: accuracy 91.7 % (95 % interval 64.6 % to 98.5 %, n = 12)"
    )
    assert "n = 12" in head
    table = " ".join(result.out.split())
    assert re.search(r"calibration error \d+\.\d % debiased \(chance alone gives up to ", table)
    assert "blue (1)" in result.out
    assert "does not record its photos" in result.err


def test_batches_are_those_that_suit_the_machine(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BELTSIGHT_CACHE", str(tmp_path / "cache"))
    one, many = (
        Choice(engine="onnxruntime-cpu", batch_size=size, photos_per_s=10) for size in (1, 5)
    )
    save_tuning(
        Tuning(
            model_sha256=content_hash(model.read_bytes()), threads=1, machine=machine_key(),
            latency=one, throughput=many,
        )
    )  # fmt: skip
    sizes = []

    def noting(*arguments: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        return stream_outputs(*arguments, batch_size=batch_size, **options)

    monkeypatch.setattr("beltsight.model.stream_outputs", noting)
    call = ("evaluate", model, data, "--threads", 1)
    assert beltsight(*call).status == 0
    assert beltsight(*call, "--batch-size", 2).status == 0
    forget_tuning(content_hash(model.read_bytes()))
    assert beltsight(*call).status == 0
    assert sizes == [5, 2, 16]


def test_json_follows_the_schema_and_is_the_only_output(model: Path, data: Path) -> None:
    result = beltsight("evaluate", model, data, "--json")
    schema = json.loads((ASSETS / "schemas" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(result.json)
    assert result.json["tasks"]["material"]["confusion"] == [[4, 0, 0], [0, 4, 0], [1, 0, 3]]


def test_out_has_three_files_that_agree(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a" / "report"
    result = beltsight("evaluate", model, data, "--out", out, "--json")
    assert result.status == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html", "metrics.json", "predictions.csv"
    ]  # fmt: skip
    assert json.loads((out / "metrics.json").read_text()) == result.json
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    right = sum(row["material_truth"] == row["material_answer"] for row in rows)
    assert right == 11
    for row in rows:
        shares = [float(row[f"material:{name}"]) for name in CLASSES]
        assert sum(shares) == pytest.approx(1, abs=1e-5)
        assert max(shares) == float(row["material_confidence"])


def test_a_validation_split_is_named_in_plain_words(
    model: Path, data: Path, tmp_path: Path
) -> None:
    result = beltsight("evaluate", model, data, "--split", "val", "--out", tmp_path / "out")
    assert "validation split" in result.out
    assert "no test figure" in result.err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "They are not test figures" in page
    assert "on the validation split" in page
    assert "test split" not in page


def test_learned_photos_of_a_validation_split_are_said(data: Path, tmp_path: Path) -> None:
    photo = next(iter(sorted((data / "val").rglob("*.png"))))
    card = tiny_card(training=tiny_training(train=[content_hash(photo.read_bytes())]))
    model = write_tiny(tmp_path / "k.onnx", card)
    result = beltsight("evaluate", model, data, "--split", "val", "--out", tmp_path / "out")
    n = len(list((data / "val").rglob("*.png")))
    assert f"the model has learned 1 of these photos, e.g. val/{photo.parent.name}/" in result.err
    assert f"even trained on 1 of these {n}" in (tmp_path / "out" / "index.html").read_text()


def test_validation_called_test_is_refused(data: Path, tmp_path: Path) -> None:
    digests = [content_hash(path.read_bytes()) for path in sorted((data / "test").rglob("*.png"))]
    card = tiny_card(training=tiny_training(val=digests))
    result = beltsight("evaluate", write_tiny(tmp_path / "k.onnx", card), data)
    assert result.status == 1
    assert result.out == ""
    assert "split 'test' is not a test for this model" in result.err
    assert "chosen by 12 of these 12 photos" in result.err


def test_a_known_photo_is_named(data: Path, tmp_path: Path) -> None:
    # One of 12 is over five per cent; of all 18 photos, nothing is refused.
    digest = content_hash((data / "test" / "blue" / "1.png").read_bytes())
    card = tiny_card(training=tiny_training(train=[digest]))
    model = write_tiny(tmp_path / "k.onnx", card)
    assert beltsight("evaluate", model, data).status == 1
    result = beltsight("evaluate", model, data, "--split", "all", "--out", tmp_path / "out")
    assert result.status == 0
    assert "the model knows 1 of these photos" in result.err
    assert "knows 1 of them already" in (tmp_path / "out" / "index.html").read_text()


def test_without_splits_the_remedy_is_named(model: Path, data: Path) -> None:
    result = beltsight("evaluate", model, data / "test")
    assert result.status == 1
    assert "--split all" in result.err
    assert beltsight("evaluate", model, data / "test", "--split", "all").status == 0


def test_a_label_of_others_is_named(model: Path, data: Path) -> None:
    (data / "test" / "red").rename(data / "test" / "ruby")
    result = beltsight("evaluate", model, data)
    assert result.status == 1
    assert "'ruby' is not a class of this model" in result.err


def test_a_photo_that_cannot_be_read_is_shown(model: Path, data: Path, tmp_path: Path) -> None:
    (data / "test" / "green" / "2.png").write_bytes(b"no photo")
    result = beltsight("evaluate", model, data, "--out", tmp_path / "out")
    assert result.status == 0
    assert "1 photos could not be read" in result.err
    page = (tmp_path / "out" / "index.html").read_text()
    assert "1 photo could not be read" in page
    assert "not a photo; expected JPEG" in page


def test_a_column_of_another_name_is_taken_with_task(model: Path, data: Path) -> None:
    rows = "file,colour,split\ntest/red/1.png,red,test\ntest/blue/1.png,blue,test\n"
    (data / "labels.csv").write_text(rows)
    result = beltsight("evaluate", model, data, "--task", "colour")
    assert result.status == 1
    assert "labels colour" in result.err


def test_twins_in_other_splits_are_reported_before_the_accuracy(
    model: Path, data: Path, tmp_path: Path
) -> None:
    # Byte for byte; and the wrongly labelled one saved again, 40 pixels to 80.
    shutil.copyfile(data / "test" / "blue" / "1.png", data / "val" / "blue" / "9.png")
    photo = decode(data / "test" / "red" / "0.png")
    scaled = cv2.resize(photo, (80, 80), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(data / "val" / "red" / "9.png"), scaled[:, :, ::-1])
    result = beltsight("evaluate", model, data, "--out", tmp_path / "out")
    lines = result.out.splitlines()
    assert lines[0].startswith("2 of 12 photos have a twin in another split; without: material ")
    assert "accuracy 100.0 %" in lines[0]
    assert "n = 10" in lines[0]
    assert lines[1].startswith("material, test split: accuracy 91.7 %")
    assert "2 of these photos have a twin in another split" in result.err
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["twins"]["paths"] == ["test/blue/1.png", "test/red/0.png"]
    assert record["twins"]["n"] == 2
    without = record["twins"]["accuracy_without"]["material"]
    assert (without["accuracy"], without["n"]) == (1, 10)
    schema = json.loads((ASSETS / "schemas" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(record)
    page = (tmp_path / "out" / "index.html").read_text()
    assert 0 < page.index("2 of these 12 photos have twins in another split") < page.index("91.7")
    assert "val/red/9.png" in page
    left_out = beltsight("evaluate", model, data, "--no-duplicates", "--json")
    assert left_out.json["twins"] is None
    assert "twin" not in left_out.err


def test_doubts_come_before_the_figures(model: Path, data: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "beltsight", "evaluate", model, data],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
    )  # fmt: skip
    assert 0 <= run.stdout.index("does not record its photos") < run.stdout.index("accuracy")


def test_a_taxonomy_names_the_classes_on_the_page(model: Path, data: Path, tmp_path: Path) -> None:
    taxonomy = tmp_path / "mine.toml"
    taxonomy.write_text(
        "[tasks.material]\nopen = true\n"
        '[tasks.material.classes]\nred = { name = "Brick red", colour = "#aa3311" }\n'
    )
    out = tmp_path / "out"
    assert beltsight("evaluate", model, data, "--taxonomy", taxonomy, "--out", out).status == 0
    assert "Brick red" in (out / "index.html").read_text()
    assert beltsight("evaluate", model, data, "--taxonomy", tmp_path / "no.toml").status == 2


def test_a_class_without_photos_is_said(model: Path, data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data / "test" / "green")
    result = beltsight("evaluate", model, data, "--out", tmp_path / "out")
    assert "no photo of material green: nothing is known of it" in result.err
    assert "nothing is known of it" in (tmp_path / "out" / "index.html").read_text()
    other = beltsight("evaluate", model, data, "--split", "val")
    assert (other.status, "nothing is known" in other.err) == (0, False)


def test_what_is_accepted_leaves_out_the_novel(data: Path, tmp_path: Path) -> None:
    # The embedding is the mean colour: only a plane through red and blue is known.
    rng = np.random.default_rng(0)
    seen = rng.uniform(0, 1, (200, 1)) * [0.8, 0.0, -0.8] + [0.1, 0.15, 0.9]
    novelty = fit_novelty(seen, seen + rng.normal(0, 0.02, seen.shape), components=1)
    task = TaskCard(name="material", classes=CLASSES, threshold=0.5)
    model = write_tiny(tmp_path / "n.onnx", tiny_card(novelty=novelty.to_card(), tasks=(task,)))
    result = beltsight("evaluate", model, data, "--json")
    accepted = result.json["confidence"]["material"]["accepted"]
    assert (accepted["novel"], accepted["n"], accepted["right"]) == (4, 8, 7)  # all green ones
    text = beltsight("evaluate", model, data, "--out", tmp_path / "out").out
    assert "accepted (confidence from 0.500; 4 unlike anything seen left out): 8 photos" in text
    page = (tmp_path / "out" / "index.html").read_text()
    assert "By its threshold 0.500 and leaving to people 4 photos unlike anything seen, " in page
    assert "the model accepts 8 of 12 (the dot)" in page


@pytest.mark.parametrize("split", ["dev", "", "TESTS"])
def test_an_unknown_split_is_wrong_use(model: Path, data: Path, split: str) -> None:
    assert beltsight("evaluate", model, data, "--split", split).status == 2


def test_an_out_that_cannot_be_written_is_said_before_measuring(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured first")

    monkeypatch.setattr("beltsight.evaluation.evaluate", measured)
    for out, said in ((model, "a folder is needed here, and this is a file"),
                      (model / "in", "Not a directory; a folder is needed")):  # fmt: skip
        result = beltsight("evaluate", model, data, "--out", out)
        assert result.status == 1
        assert "cannot be written" in result.err and said in result.err


def test_no_model_no_data(model: Path, data: Path, tmp_path: Path) -> None:
    assert beltsight("evaluate", tmp_path / "none.onnx", data).status == 1
    assert beltsight("evaluate", model, tmp_path / "nothing").status == 1


def test_robustness_on_request(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = beltsight("evaluate", model, data, "--robustness", "--out", out)
    assert result.status == 0, result.err
    assert "material, photos changed" in result.out
    record = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    schema = json.loads((ASSETS / "schemas" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(record)
    turned = record["robustness"]["angle"]["tasks"]["material"]["severities"]
    # The tiny model sees the strongest channel alone: a turn changes nothing.
    assert [row["right"] for row in turned] == [11] * len(turned)
    missing = [name for name, change in record["robustness"].items() if not change["tasks"]]
    assert (f"not measured: {', '.join(missing)}, since" in " ".join(result.out.split())) is bool(
        missing
    )
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "How it holds when photos get worse" in page
    assert list((out / "robustness").glob("*.npz"))
    plain = beltsight("evaluate", model, data, "--json").json
    assert plain["robustness"] is None


def test_the_report_is_there_where_robustness_fails(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise DatasetError("the disk went away")

    monkeypatch.setattr("beltsight.robustness.measure_robustness", failing)
    out = tmp_path / "out"
    result = beltsight("evaluate", model, data, "--robustness", "--out", out)
    assert result.status == 1 and "the disk went away" in result.err
    record = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert record["robustness"] is None and record["n"] == 12
    assert (out / "index.html").is_file()


def test_robustness_is_asked_in_the_batches_asked_for(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def noting(*arguments: Any, batch_size: int, **options: Any) -> Any:
        sizes.append(batch_size)
        options |= {"changes": {"contrast": [0.5]}, "batch_size": batch_size}
        return measure_robustness(*arguments, **options)

    monkeypatch.setattr("beltsight.robustness.measure_robustness", noting)
    result = beltsight("evaluate", model, data, "--robustness", "--batch-size", 3)
    assert result.status == 0, result.err
    assert sizes == [3]
