from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.tiny import CLASSES, paint, tiny_card, tiny_graph, tiny_training, write_tiny

from beltsight.card import (
    GoldenCard,
    PurityCard,
    TaskCard,
    content_hash,
    is_marked,
    unpack_marks,
)
from beltsight.dataset import load_dataset
from beltsight.errors import ConfigError, SplitError
from beltsight.evaluation import evaluate
from beltsight.model import Model
from beltsight.novelty import fit_novelty
from beltsight.recalibrate import recalibrate
from beltsight.threshold import set_threshold

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
    fitted = found.temperatures["material"]
    assert fitted.before == 1.0 and fitted.after == new.temperatures["material"] != 1.0
    assert fitted.n == 60
    files = sorted(photos.rglob("*.png"))
    old_answers, answers = model.predict(files), new.predict(files)
    labels = [answer.tasks["material"].label for answer in answers]
    assert labels == [answer.tasks["material"].label for answer in old_answers]
    confidences = [answer.tasks["material"].confidence for answer in answers]
    right = np.mean([file.parent.name == label for file, label in zip(files, labels, strict=True)])
    assert np.mean(confidences) == pytest.approx(right, abs=0.03)
    assert new.card.tasks[0].purity is not None
    accepted = [c >= (new.card.tasks[0].threshold or 0) for c in confidences]
    assert sum(accepted) == new.card.tasks[0].purity.accepted
    assert [bool(answer.abstain) for answer in answers] == [not each for each in accepted]


def with_tasks(path: Path, *tasks: TaskCard, **changes: Any) -> Model:
    """The tiny model with these tasks; what is not ``material`` it answers with its first class."""
    graph = tiny_graph(with_map=False)
    zeros, always = np.zeros((3, 3), np.float32), np.array([1, 0, 0], np.float32)
    for task in tasks:
        if task.name != "material":
            graph.graph.initializer.extend(
                [numpy_helper.from_array(zeros, f"{task.name} zeros"),
                 numpy_helper.from_array(always, f"{task.name} always")]
            )  # fmt: skip
            inputs = ["embedding", f"{task.name} zeros", f"{task.name} always"]
            graph.graph.node.append(helper.make_node("Gemm", inputs, [task.name]))
            graph.graph.output.append(
                helper.make_tensor_value_info(task.name, TensorProto.FLOAT, ["batch", 3])
            )
    card = tiny_card(tasks=tasks, golden=GoldenCard(), **changes)
    return Model.load(write_tiny(path, card, graph=graph))


def purity(target: float, *, certified: bool = False) -> PurityCard:
    return PurityCard(
        target=target, certified=certified, confidence=0.95, n=300, accepted=200, right=199
    )


def material(**changes: Any) -> TaskCard:
    return TaskCard(name="material", classes=CLASSES, map=False, **changes)


def levels(**changes: Any) -> TaskCard:
    classes = ("clean", "partly", "heavily")
    return TaskCard(name="contamination", classes=classes, ordered=True, map=False, **changes)


def test_the_purity_in_the_card_is_wanted_again(photos: Path, tmp_path: Path) -> None:
    model = with_tasks(tmp_path / "m.onnx", material(threshold=0.9, purity=purity(0.75)))
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all")
    asked = recalibrate(
        with_tasks(tmp_path / "plain.onnx", material()), photos, tmp_path / "asked.onnx",
        split="all", purity=0.75,
    )  # fmt: skip
    (new,), (other,) = found.card.tasks, asked.card.tasks
    assert new.threshold is not None and new.purity is not None
    assert (new.threshold, new.purity) == (other.threshold, other.purity)
    assert (found.by_card, asked.by_card) == (("material",), ())
    assert found.to_record()["purity"]["by_card"] and not asked.to_record()["purity"]["by_card"]
    stricter = recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.8)
    assert stricter.by_card == () and stricter.purities["material"].overall.target == 0.8


def test_a_purity_of_one_task_leaves_that_of_another(photos: Path, tmp_path: Path) -> None:
    rows = ["path,material,contamination"]
    for number, file in enumerate(sorted(photos.rglob("*.png"))):
        level = "partly" if number % 10 == 0 else "clean"
        rows.append(f"{file.relative_to(photos)},{file.parent.name},{level}")
    (photos / "labels.csv").write_text("\n".join(rows))
    data, out = photos / "labels.csv", tmp_path / "new.onnx"
    tasks = material(threshold=0.9, purity=purity(0.75)), levels()
    model = with_tasks(tmp_path / "m.onnx", *tasks)
    found = recalibrate(model, data, out, split="all", purity=0.8, task="contamination")
    assert list(found.purities) == ["contamination", "material"]
    assert found.by_card == ("material",)
    assert [card.purity and card.purity.target for card in found.card.tasks] == [0.75, 0.8]
    assert all(card.threshold is not None for card in found.card.tasks)
    record = found.to_record()
    assert record["purity"]["task"] == "contamination"
    assert [each["task"] for each in record["further_purities"]] == ["material"]
    with pytest.raises(ConfigError, match=r"purity of contamination .* none is given"):
        recalibrate(model, data, out, split="all", task="contamination")


def test_a_threshold_that_nobody_asked_a_purity_of_goes_and_that_is_said(
    photos: Path, tmp_path: Path
) -> None:
    model = with_tasks(tmp_path / "m.onnx", material(threshold=0.5))
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all")
    assert Model.load(tmp_path / "new.onnx").card.tasks[0].threshold is None
    assert any("material: its threshold 0.500 held for the temp" in said for said in found.doubts)
    assert found.purities == {} and found.to_record()["purity"] is None


def test_a_certificate_goes_where_other_photos_are_called_strange(
    photos: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    seen = rng.uniform(0, 1, (200, 1)) * [0.8, 0.0, -0.8] + [0.1, 0.1, 0.9]
    novelty = fit_novelty(seen, seen + rng.normal(0, 0.01, seen.shape), components=1)
    proven = levels(threshold=0.6, purity=purity(0.9, certified=True))
    tasks = material(threshold=0.9, purity=purity(0.75)), proven
    moving = with_tasks(tmp_path / "m.onnx", *tasks, novelty=novelty.to_card())
    found = recalibrate(moving, photos, tmp_path / "new.onnx", split="all")
    assert found.novelty is not None and found.novelty.after > found.novelty.before
    level = found.card.tasks[1]
    assert level.threshold == 0.6 and level.purity is not None and not level.purity.certified
    assert any("contamination: its purity is certified no more" in each for each in found.doubts)
    # Where nothing is called strange, or nothing else than before, the proof stands.
    still = recalibrate(
        with_tasks(tmp_path / "still.onnx", *tasks), photos, tmp_path / "s.onnx", split="all"
    )
    assert still.card.tasks[1] == proven and not any("certified" in one for one in still.doubts)


def test_the_tests_of_a_certificate_begin_where_no_label_says(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def noting(task: TaskCard, probabilities: Any, *rest: Any, **options: Any) -> Any:
        given.append((probabilities, options["before"]))
        return set_threshold(task, probabilities, *rest, **options)

    # Not by its path: beltsight.train is the function, too.
    monkeypatch.setattr(sys.modules[recalibrate.__module__], "set_threshold", noting)
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    files = sorted(photos.rglob("*.png"))
    for turn in range(2):
        labels = [CLASSES[(CLASSES.index(file.parent.name) + turn) % 3] for file in files]
        pairs = zip(files, labels, strict=True)
        rows = [f"{file.relative_to(photos)},{label}" for file, label in pairs]
        (photos / "labels.csv").write_text("\n".join(["path,material", *rows]))
        data, out = photos / "labels.csv", tmp_path / f"{turn}.onnx"
        recalibrate(model, data, out, split="all", purity=0.5)
    (fitted, before), (other, same) = given
    assert not np.allclose(fitted, other)  # the temperature has seen the labels
    assert before.shape == (5, 60) and (before == same).all()
    assert (np.diff(before, axis=0) < 0).all()  # ever less sure


def test_photos_that_the_model_has_learned_are_refused(photos: Path, tmp_path: Path) -> None:
    digests = [content_hash(path.read_bytes()) for path in photos.rglob("*.png")]
    card = tiny_card(training=tiny_training(train=digests))
    model = Model.load(write_tiny(tmp_path / "m.onnx", card))
    with pytest.raises(SplitError, match="trained on 60 of these 60 photos"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="all")
    assert not (tmp_path / "new.onnx").exists()


def certifiable(tmp_path: Path) -> Path:
    """80 photos that the tiny model answers rightly, and surely."""
    for number in range(80):
        label = ("red", "blue")[number % 2]
        colour = (200 + number % 8, 40, 30 + number // 8)
        path = tmp_path / "sure" / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        shown = paint(colour, 40)
        cv2.imwrite(str(path), shown[:, :, ::-1] if label == "red" else shown)
    return tmp_path / "sure"


def marked(photos: Path, tmp_path: Path, part: slice) -> Model:
    digests = [content_hash(path.read_bytes()) for path in sorted(photos.rglob("*.png"))[part]]
    other = content_hash(b"a photo of its own")
    training = tiny_training(train=[other], val=digests)
    return Model.load(write_tiny(tmp_path / f"m{part.stop}.onnx", tiny_card(training=training)))


def test_photos_that_chose_the_model_certify_nothing(tmp_path: Path) -> None:
    photos, out = certifiable(tmp_path), tmp_path / "new.onnx"
    new_to_it = recalibrate(
        marked(photos, tmp_path, slice(0)), photos, out, split="all", purity=0.9
    )
    assert new_to_it.purities["material"].overall.is_certified
    one_known = recalibrate(
        marked(photos, tmp_path, slice(1)), photos, out, split="all", purity=0.9
    )
    assert not one_known.purities["material"].overall.is_certified
    assert "calibrated on 1 of these 80 photos" in one_known.purities["material"].overall.statement
    (task,) = Model.load(out).card.tasks
    assert task.purity is not None and not task.purity.certified and task.threshold is not None
    silent = Model.load(write_tiny(tmp_path / "silent.onnx"))
    unknown = recalibrate(silent, photos, out, split="all", purity=0.9)
    assert "does not record which photos" in unknown.purities["material"].overall.statement


def test_photos_of_one_item_certify_nothing(tmp_path: Path) -> None:
    photos = certifiable(tmp_path)
    model = marked(photos, tmp_path, slice(0))
    rows = ["path,material,group"]
    for number, path in enumerate(sorted(photos.rglob("*.png"))):
        name = path.relative_to(photos).as_posix()
        rows.append(f"{name},{path.parent.name},item{number // 2}")
    (photos / "labels.csv").write_text("\n".join(rows) + "\n")
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.9)
    choice = found.purities["material"].overall
    assert not choice.is_certified
    assert "some of these photos show the same item" in choice.statement


def test_copies_of_a_photo_certify_nothing(tmp_path: Path) -> None:
    photos = certifiable(tmp_path)
    model = marked(photos, tmp_path, slice(0))
    one = min(photos.rglob("*.png"))
    one.with_name("copy.png").write_bytes(one.read_bytes())
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.9)
    choice = found.purities["material"].overall
    assert not choice.is_certified
    assert "some of these photos show the same item" in choice.statement


def test_the_new_model_knows_the_photos_and_drops_figures_of_old_temperatures(
    photos: Path, tmp_path: Path
) -> None:
    figures = {"accuracy": 0.9, "n": 5, "ece": 0.1, "calibration_error": 0.1, "temperature": 1.0}
    card = tiny_card(
        training=tiny_training(train=[content_hash(b"a")], val=[content_hash(b"b")]),
        metrics={"split": "val", "tasks": {"material": figures, "other": figures},
                 "test": {"split": "test", "tasks": {"material": figures}}, "odd": 1},
    )  # fmt: skip
    model = Model.load(write_tiny(tmp_path / "m.onnx", card))
    recalibrate(model, photos, tmp_path / "new.onnx", split="all")
    new = Model.load(tmp_path / "new.onnx")
    kept = {"accuracy": 0.9, "n": 5}
    assert new.card.metrics["tasks"] == {"material": kept, "other": figures}
    assert new.card.metrics["test"]["tasks"] == {"material": kept}
    assert new.card.metrics["odd"] == 1
    marks = unpack_marks(new.card.training.val_marks)
    assert len(marks) == 61 and is_marked(content_hash(b"b"), marks)
    found = evaluate(new, photos, "all")
    assert len(found.leak.chosen_by) == 60
    again = recalibrate(new, photos, tmp_path / "again.onnx", split="all")
    assert again.card.training == new.card.training
    assert any("calibrated on 60 of these 60" in doubt for doubt in again.doubts)


def test_test_photos_are_not_for_calibration(photos: Path, tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    with pytest.raises(SplitError, match="no test any more"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="test")
    data = load_dataset(photos)
    first, *others = data.samples
    mixed = replace(data, samples=(replace(first, split="test"), *others))
    with pytest.raises(SplitError, match="use --split val, or leave the test photos out"):
        recalibrate(model, mixed, tmp_path / "new.onnx", split="all")
    assert not (tmp_path / "new.onnx").exists()


def test_what_looks_strange_at_the_plant_is_strange_no_more(photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    seen = rng.uniform(0, 1, (200, 1)) * [0.8, 0.0, -0.8] + [0.1, 0.1, 0.9]
    novelty = fit_novelty(seen, seen + rng.normal(0, 0.01, seen.shape), components=1)
    card = tiny_card(novelty=novelty.to_card())
    model = Model.load(write_tiny(tmp_path / "m.onnx", card))
    found = recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.75)
    assert found.novelty is not None
    assert (found.novelty.called_before, found.novelty.called, found.novelty.n) == (60, 0, 60)
    new = Model.load(tmp_path / "new.onnx")
    assert not any(answer.novel for answer in new.predict(sorted(photos.rglob("*.png"))))
    assert found.purities["material"].overall.novel == 0
    assert json.loads(json.dumps(found.to_record()))["novelty"]["n"] == 60


def test_a_class_without_photos_and_too_few_photos_are_said(photos: Path, tmp_path: Path) -> None:
    shutil.rmtree(photos / "blue")
    found = recalibrate(
        Model.load(write_tiny(tmp_path / "m.onnx")), photos, tmp_path / "new.onnx", split="all"
    )
    assert "no photo of material blue: nothing is known of it" in found.doubts
    assert any("temperature of material: fitted on 40 labelled" in said for said in found.doubts)


def test_wrong_use_is_said(photos: Path, tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx"))
    with pytest.raises(ConfigError, match="another file"):
        recalibrate(model, photos, tmp_path / "m.onnx", split="all")
    with pytest.raises(ConfigError, match=r"got 97"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=97)
    with pytest.raises(ConfigError, match="no task 'dirt'"):
        recalibrate(model, photos, tmp_path / "new.onnx", split="all", purity=0.9, task="dirt")
    with pytest.raises(ConfigError, match="give a file in a folder that exists"):
        recalibrate(model, photos, tmp_path / "nowhere" / "new.onnx", split="all")
