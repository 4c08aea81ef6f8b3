from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest
from sklearn import metrics as reference
from tests.tiny import CLASSES, expected_logits, paint, tiny_card, tiny_training, write_tiny

import beltsight
from beltsight.calibrate import softmax
from beltsight.card import GoldenCard, TaskCard, content_hash
from beltsight.config import ASSETS
from beltsight.dataset import load_dataset
from beltsight.dataset.duplicates import hash_photos
from beltsight.errors import DatasetError, ModelFileError, SplitError
from beltsight.evaluation import Evaluation, evaluate, with_twins
from beltsight.leak import find_leak
from beltsight.metrics import share_interval
from beltsight.model import Model
from beltsight.records import Sample

Row = tuple[str, str, str]


def write_photo(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(paint(colour), cv2.COLOR_RGB2BGR))


def write_index(folder: Path, rows: Iterable[Sequence[str]], header: Sequence[str]) -> None:
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten train, ten validation and thirty test photos, a fifth of them labelled wrongly."""
    folder = tmp_path / "data"
    rng = np.random.default_rng(2)
    rows = []
    for number in range(50):
        split = "train" if number < 10 else "val" if number < 20 else "test"
        label = CLASSES[number % 3]
        colour = rng.integers(40, 140, 3)
        strong = CLASSES[(number + (number % 5 == 0)) % 3]
        colour[{"red": 0, "green": 1, "blue": 2}[strong]] += 90
        write_photo(folder / f"{number:02}.png", tuple(colour.tolist()))
        rows.append((f"{number:02}.png", label, split))
    write_index(folder, rows, ("path", "material", "split"))
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model.load(write_tiny(tmp_path / "m.onnx"), threads=1)


def knowing(
    tmp_path: Path, data: Path, train: Sequence[str] = (), val: Sequence[str] = ()
) -> Model:
    """A model whose card says that it has learned and was chosen by these photos."""

    def digests(names: Sequence[str]) -> list[str]:
        return [content_hash((data / name).read_bytes()) for name in names]

    card = tiny_card(training=tiny_training(digests(train), digests(val)))
    return Model.load(write_tiny(tmp_path / "knowing.onnx", card), threads=1)


def validate(evaluation: Evaluation) -> dict[str, object]:
    record = json.loads(json.dumps(evaluation.to_record(), allow_nan=False))
    schema = json.loads((ASSETS / "schemas" / "metrics.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(record)
    return dict(record)


def test_figures_agree_with_sklearn(model: Model, data: Path) -> None:
    evaluation = evaluate(model, data)
    samples = load_dataset(data).select("test").samples
    prepared = np.stack([model.prepare(sample.path) for sample in samples])
    scores = softmax(expected_logits(prepared))
    truth = np.array([CLASSES.index(sample.labels["material"]) for sample in samples])
    answers = scores.argmax(axis=1)
    ours = evaluation.tasks["material"].metrics
    assert 0.5 < ours["accuracy"] < 1
    assert ours["accuracy"] == pytest.approx(reference.accuracy_score(truth, answers))
    assert ours["macro_f1"] == pytest.approx(reference.f1_score(truth, answers, average="macro"))
    np.testing.assert_array_equal(ours["confusion"], reference.confusion_matrix(truth, answers))
    np.testing.assert_allclose(evaluation.tasks["material"].probabilities, scores, atol=1e-5)
    assert (evaluation.n, ours["n"], evaluation.split) == (30, 30, "test")


def test_the_record_follows_its_schema(model: Model, data: Path) -> None:
    record = validate(evaluate(model, data))
    assert {"split", "n", "tasks"} <= set(record)
    assert record["split"] == "test"


def test_photos_of_one_group_widen_the_intervals(model: Model, data: Path) -> None:
    with (data / "labels.csv").open(encoding="utf-8") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    plain = validate(evaluate(model, data, "test"))["tasks"]["material"]  # type: ignore[index]
    # Mistakes and right answers each come in items of three photos.
    order = {
        path: n // 3 for n, (path, *_) in enumerate(sorted(rows, key=lambda r: int(r[0][:2]) % 5))
    }
    grouped = [(*row, f"item{order[row[0]]}") for row in rows]
    write_index(data, grouped, ("path", "material", "split", "group"))
    evaluation = evaluate(model, data, "test")
    found = validate(evaluation)["tasks"]["material"]  # type: ignore[index]
    assert "n_items" not in plain and found["n_items"] < found["n"] == plain["n"] == 30
    assert found["interval"][0] < plain["interval"][0]
    assert found["accuracy"] == plain["accuracy"]
    result = evaluation.tasks["material"]
    correct = result.logits.argmax(axis=1) == result.labels
    assert tuple(found["interval"]) == share_interval(correct, result.items)
    kept = [path not in {"20.png", "21.png"} for path in result.paths]
    assert result.items is not None
    without = result.accuracy_without({"20.png", "21.png"})["interval"]
    assert tuple(without) == share_interval(correct[kept], result.items[kept])


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_batch_does_not_change_the_figures(model: Model, data: Path, batch_size: int) -> None:
    one = evaluate(model, data).to_record()
    other = evaluate(model, data, batch_size=batch_size).to_record()
    assert one["tasks"]["material"]["confusion"] == other["tasks"]["material"]["confusion"]


@pytest.mark.parametrize(("tuned", "largest"), [(None, 16), (7, 7)])
def test_the_batch_is_the_tuned_one_else_16(
    model: Model, data: Path, tuned: int | None, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    run = model.engine.run

    def counted(photos: Any, names: Any) -> Any:
        asked.append(len(photos))
        return run(photos, names)

    monkeypatch.setattr(model.engine, "run", counted)
    model.batch_size = tuned
    assert evaluate(model, data).n == sum(asked) == 30
    assert max(asked) == largest


def test_paths_serve_and_the_public_name_is_the_function(tmp_path: Path, data: Path) -> None:
    file = write_tiny(tmp_path / "m.onnx")
    assert beltsight.evaluate(str(file), str(data), "val").n == 10
    assert beltsight.evaluate is evaluate


def test_mistakes_are_ordered(model: Model, data: Path) -> None:
    result = evaluate(model, data).tasks["material"]
    confidences = [mistake.confidence for mistake in result.mistakes]
    assert len(confidences) == 30 - int(np.trace(result.metrics["confusion"])) > 3
    assert confidences == sorted(confidences, reverse=True)
    worst = [mistake.truth_probability for mistake in result.worst(3)]
    assert worst == sorted(m.truth_probability for m in result.mistakes)[:3]
    for mistake in result.mistakes:
        assert mistake.truth != mistake.answer
        assert mistake.file == data / mistake.path


def test_progress_wraps_the_samples(model: Model, data: Path) -> None:
    seen: list[Sample] = []

    def progress(samples: Sequence[Sample]) -> Iterable[Sample]:
        assert len(samples) == 30
        for sample in samples:
            seen.append(sample)
            yield sample

    evaluate(model, data, progress=progress)
    assert len(seen) == 30


def test_validation_called_test_is_refused(tmp_path: Path, data: Path) -> None:
    names = [f"{number:02}.png" for number in range(20, 30)]
    model = knowing(tmp_path, data, train=names[:4], val=names[4:])
    with pytest.raises(SplitError) as caught:
        evaluate(model, data, "test")
    message = str(caught.value)
    assert "trained on 4 and chosen by 6 of these 30 photos (33%" in message
    assert "--split val" in message


def test_an_honest_name_is_not_refused_and_reports_what_is_known(
    tmp_path: Path, data: Path
) -> None:
    names = [f"{number:02}.png" for number in range(10, 20)]
    model = knowing(tmp_path, data, val=names)
    evaluation = evaluate(model, data, "val")
    assert evaluation.leak.chosen_by == tuple(names)
    assert not evaluation.leak.learned
    everything = evaluate(model, data, "all")
    assert (everything.n, len(everything.leak.paths)) == (50, 10)
    validate(everything)


def test_one_known_photo_is_reported_and_not_refused(tmp_path: Path, data: Path) -> None:
    # A copy of a train photo under a test photo's name, as in TrashNet itself.
    shutil.copyfile(data / "03.png", data / "45.png")
    evaluation = evaluate(knowing(tmp_path, data, train=["03.png"]), data, "test")
    assert evaluation.leak.paths == ("45.png",)
    assert validate(evaluation)["leaked"] == {
        "checked": True, "n": 1, "learned": 1, "chosen_by": 0, "paths": ["45.png"],
    }  # fmt: skip


def test_the_refusal_begins_above_five_percent(tmp_path: Path, data: Path) -> None:
    rows = [(f"{n:02}.png", CLASSES[n % 3], "test") for n in range(40)]
    write_index(data, rows, ("path", "material", "split"))
    assert len(evaluate(knowing(tmp_path, data, ["01.png", "02.png"]), data).leak.paths) == 2
    with pytest.raises(SplitError, match="not a test for this model"):
        evaluate(knowing(tmp_path, data, ["01.png", "02.png", "03.png"]), data)


def test_a_card_without_marks_cannot_be_checked_and_says_so(model: Model, data: Path) -> None:
    assert not evaluate(model, data).leak.checked


def test_photos_calibrated_on_do_not_tell_which_were_learned(tmp_path: Path, data: Path) -> None:
    leak = evaluate(knowing(tmp_path, data, val=["20.png"]), data).leak
    assert not leak.checked and leak.chosen_by == ("20.png",)


def test_a_data_set_without_splits_is_measured_when_all_is_asked_for(
    model: Model, tmp_path: Path
) -> None:
    for label, colour in {"red": (200, 9, 9), "blue": (9, 9, 200), "green": (9, 200, 9)}.items():
        write_photo(tmp_path / "flat" / label / "1.png", colour)
    with pytest.raises(SplitError, match=r"it has no splits.*--split all"):
        evaluate(model, tmp_path / "flat")
    evaluation = evaluate(model, tmp_path / "flat", "all")
    assert evaluation.tasks["material"].metrics["accuracy"] == 1


def test_a_photo_that_cannot_be_read_is_named_and_not_counted(model: Model, data: Path) -> None:
    (data / "21.png").write_bytes((data / "21.png").read_bytes()[:300])
    (data / "33.png").write_bytes(b"")
    (data / "34.png").unlink()
    evaluation = evaluate(model, data, batch_size=4)
    assert [path for path, _ in evaluation.unreadable] == ["21.png", "33.png", "34.png"]
    assert "empty" in evaluation.unreadable[1][1]
    assert evaluation.n == 27
    assert "33.png" not in evaluation.tasks["material"].paths
    validate(evaluation)


def test_no_readable_photo_is_an_error(model: Model, tmp_path: Path) -> None:
    for label in ("red", "blue"):
        (tmp_path / "bad" / label).mkdir(parents=True)
        (tmp_path / "bad" / label / "1.png").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match="none of 2 photos could be read"):
        evaluate(model, tmp_path / "bad", "all")


def test_a_label_that_the_model_cannot_answer_is_named(model: Model, data: Path) -> None:
    rows = [("20.png", "red", "test"), ("21.png", "greem", "test")]
    write_index(data, rows, ("path", "material", "split"))
    with pytest.raises(DatasetError) as caught:
        evaluate(model, data)
    assert str(caught.value).startswith("21.png: material 'greem' is not a class of this model")
    assert "did you mean 'green'?" in str(caught.value)


def test_a_task_that_nobody_labelled_is_an_error(model: Model, data: Path) -> None:
    rows = [("20.png", "clean", "test"), ("21.png", "partly", "test")]
    write_index(data, rows, ("path", "contamination", "split"))
    with pytest.raises(DatasetError, match=r"label for material.*labels contamination"):
        evaluate(model, data)


def two_tasks(tmp_path: Path) -> Model:
    """The tiny model answering a second task with the same graph."""
    from onnx import helper
    from tests.tiny import tiny_graph

    graph = tiny_graph(with_map=False)
    graph.graph.node.append(helper.make_node("Neg", ["material"], ["contamination"]))
    graph.graph.output.append(helper.make_tensor_value_info("contamination", 1, ["batch", 3]))
    tasks = (
        TaskCard(name="material", classes=CLASSES, map=False),
        TaskCard(
            name="contamination", classes=("clean", "partly", "heavily"), ordered=True, map=False
        ),
    )
    card = tiny_card(tasks=tasks, golden=GoldenCard())
    return Model.load(write_tiny(tmp_path / "two.onnx", card, graph=graph))


def test_missing_labels_count_for_no_task(tmp_path: Path, data: Path) -> None:
    rows = [
        ("20.png", "blue", "", "test"),
        ("21.png", "red", "clean", "test"),
        ("22.png", "", "partly", "test"),
        ("23.png", "green", "heavily", "test"),
        ("24.png", "", "", "test"),
    ]
    write_index(data, rows, ("path", "material", "contamination", "split"))
    evaluation = evaluate(two_tasks(tmp_path), data)
    assert evaluation.n == 4
    assert evaluation.unlabelled == 1
    assert evaluation.tasks["material"].paths == ("20.png", "21.png", "23.png")
    assert evaluation.tasks["contamination"].paths == ("21.png", "22.png", "23.png")
    assert evaluation.tasks["contamination"].labels.tolist() == [0, 1, 2]
    validate(evaluation)


def test_a_task_without_labels_has_no_figures(tmp_path: Path, data: Path) -> None:
    assert list(evaluate(two_tasks(tmp_path), data).tasks) == ["material"]


def test_a_class_missing_from_the_data_is_in_the_matrix(model: Model, data: Path) -> None:
    rows = [(f"{n}.png", CLASSES[n % 3], "test") for n in range(20, 50) if n % 3]
    write_index(data, rows, ("path", "material", "split"))
    ours = evaluate(model, data).tasks["material"].metrics
    assert ours["classes"] == list(CLASSES)
    assert ours["per_class"]["blue"]["recall"] is None
    assert ours["per_class"]["blue"]["support"] == 0


def test_a_missing_model_is_a_model_error(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        evaluate(tmp_path / "none.onnx", data)


def test_trashnets_own_leak_is_found(tmp_path: Path, trashnet: Path) -> None:
    # plastic152 in test is glass176 in train, byte for byte, as the data's README says.
    data = load_dataset(trashnet)
    learned = [content_hash(sample.path.read_bytes()) for sample in data.select("train").samples]
    card = tiny_card(training=tiny_training(learned))
    test = data.select("test")
    leak = find_leak(test, test.samples, card, hash_photos(test.samples))
    assert [Path(path).name for path in leak.paths] == ["plastic152.jpg"]


def test_a_pipe_among_the_photos_blocks_nothing(tmp_path: Path, data: Path) -> None:
    os.mkfifo(data / "pipe.png")
    rows = [("20.png", "blue", "test"), ("pipe.png", "red", "test")]
    write_index(data, rows, ("path", "material", "split"))
    evaluation = evaluate(knowing(tmp_path, data, ["00.png"]), data)
    assert evaluation.unreadable[0][0] == "pipe.png"


def test_accuracy_without_twins_by_hand(model: Model, data: Path) -> None:
    evaluation = evaluate(model, data)
    assert evaluation.to_record()["twins"] is None
    result = evaluation.tasks["material"]
    wrong = [mistake.path for mistake in result.mistakes]
    right = [path for path in result.paths if path not in wrong]
    # A twin that was not measured on does not count.
    twins = dict.fromkeys([*right[:5], wrong[0], "unreadable.png"], "00.png")
    record = validate(with_twins(evaluation, twins))["twins"]
    assert isinstance(record, dict)
    assert record["n"] == 6
    assert record["paths"] == [*right[:5], wrong[0]]
    without = record["accuracy_without"]["material"]
    assert without["n"] == 24
    assert without["accuracy"] == (len(right) - 5) / 24
    assert without["interval"][0] < without["accuracy"] < without["interval"][1]


def test_all_photos_are_twins(model: Model, data: Path) -> None:
    evaluation = evaluate(model, data)
    twins = dict.fromkeys(evaluation.tasks["material"].paths, "00.png")
    record = validate(with_twins(evaluation, twins))["twins"]
    assert isinstance(record, dict)
    assert record["accuracy_without"]["material"] == {"accuracy": None, "interval": None, "n": 0}
