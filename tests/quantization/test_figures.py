from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.quantization.network import network, write_network, write_photos
from tests.tiny import CLASSES, tiny_training

from beltsight.card import PurityCard, TaskCard, content_hash, is_marked, unpack_marks
from beltsight.errors import SplitError
from beltsight.evaluation import evaluate
from beltsight.leak import with_marks
from beltsight.metrics import wilson_interval
from beltsight.model import Model
from beltsight.novelty import fit_novelty
from beltsight.quantization import Bounds, QuantizeSettings, quantize

# Of 20 photos one is 5 points.
LOOSE = Bounds(min_agreement=0.8, max_accuracy_drop=0.11)
SETTINGS = QuantizeSettings(n_calibration=40, bounds=LOOSE, threads=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "data")


def relabel(data: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    with open(data / "labels.csv", encoding="utf-8") as file:
        rows = [change(row) for row in csv.DictReader(file)]
    with open(data / "labels.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def digest(path: Path) -> str:
    return content_hash(path.read_bytes())


def test_photos_that_decided_are_no_test_later(data: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "int8.onnx", write_network(tmp_path / "m.onnx")
    quantize(model, data, out, dataclasses.replace(SETTINGS, split="all"))
    relabel(data, lambda row: {**row, "split": "test"})
    assert evaluate(model, data, "test").leak.paths == ()
    with pytest.raises(SplitError, match="chosen by 60 of these 60 photos"):
        evaluate(out, data, "test")


def test_the_card_marks_what_decided_and_what_ranges_were_fitted_to(
    data: Path, tmp_path: Path
) -> None:
    other = content_hash(b"a photo of its own")
    learned = [digest(path) for path in sorted(data.glob("*.png"))[:2]]
    training = tiny_training(train=learned, val=[other])
    model = write_network(tmp_path / "m.onnx", training=training)
    card = quantize(model, data, tmp_path / "int8.onnx", SETTINGS).card
    marks = unpack_marks(card.training.val_marks)
    assert len(marks) == 59 and is_marked(other, marks)
    assert card.training.model_copy(update={"val_marks": training.val_marks}) == training
    leak = evaluate(tmp_path / "int8.onnx", data, "all").leak
    assert leak.learned == ("000.png", "001.png") and len(leak.chosen_by) == 58


def test_a_photo_that_is_gone_or_known_adds_no_mark(data: Path) -> None:
    first, second, third = sorted(data.glob("*.png"))[:3]
    known = tiny_training(train=[digest(first)], val=[digest(second)])
    third.unlink()
    assert with_marks(known, [first, second, second, third]) == known
    assert with_marks(tiny_training(), [second, second]).val_marks == known.val_marks


def test_photos_of_one_item_widen_the_interval(data: Path, tmp_path: Path) -> None:
    def grouped(row: dict[str, str]) -> dict[str, str]:
        """Every 15 photos show one item, and the first item is labelled wrong."""
        item = int(row["path"][:3]) // 15
        label = CLASSES[(CLASSES.index(row["material"]) + (item == 0)) % 3]
        return {**row, "material": label, "group": f"{row['split']} {item}"}

    model, out = write_network(tmp_path / "m.onnx"), tmp_path / "int8.onnx"
    relabel(data, grouped)
    stated = quantize(model, data, out, SETTINGS).card.metrics["tasks"]["material"]
    assert stated == evaluate(out, data, "val").tasks["material"].metrics
    assert (stated["n"], stated["n_items"]) == (20, 4)
    right = round(20 * stated["accuracy"])
    assert np.ptp(stated["interval"]) > 1.2 * np.ptp(wilson_interval(right, 20))


def test_a_threshold_is_found_among_the_photos_that_are_not_novel(
    data: Path, tmp_path: Path
) -> None:
    seen = Model.load(write_network(tmp_path / "plain.onnx"), threads=1)
    rows = [seen.outputs(seen.prepare(path)[None], ["embedding"]) for path in data.glob("*.png")]
    embeddings = np.concatenate([row["embedding"] for row in rows])
    novelty = fit_novelty(embeddings, embeddings, false_alarm=0.3).to_card()
    purity = PurityCard(target=0.8, certified=False, confidence=0.95, n=9, accepted=9, right=9)
    task = TaskCard(name="material", classes=CLASSES, threshold=0.5, purity=purity)
    model = write_network(tmp_path / "m.onnx", network(), tasks=(task,), novelty=novelty)
    found = quantize(model, data, tmp_path / "int8.onnx", SETTINGS).card.tasks[0]
    assert found.purity is not None and found.threshold is not None
    result = evaluate(tmp_path / "int8.onnx", data, "val").tasks["material"]
    assert result.novel is not None
    sure = result.probabilities.max(axis=1) >= found.threshold
    assert (sure & result.novel).any()  # which would else have been counted
    accepted = sure & ~result.novel
    right = accepted & (result.probabilities.argmax(axis=1) == result.labels)
    assert (found.purity.accepted, found.purity.right) == (accepted.sum(), right.sum())
