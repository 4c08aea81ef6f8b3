from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from tests.quantization.network import LAYERS, network, some_photos, write_network, write_photos
from tests.tiny import tiny_training

from beltsight.card import ParityCard, PurityCard, TaskCard, content_hash
from beltsight.dataset import load_dataset
from beltsight.errors import (
    ConfigError,
    DatasetError,
    ModelError,
    ModelFileError,
    ParityError,
    SplitError,
)
from beltsight.evaluation import evaluate
from beltsight.model import Model
from beltsight.novelty import fit_novelty
from beltsight.quantization import Bounds, QuantizeSettings, quantize
from beltsight.quantization.calibration import choose_samples
from beltsight.quantization.figures import measure_tasks

# Of 20 photos one is 5 points.
LOOSE = Bounds(min_agreement=0.8, max_accuracy_drop=0.11)
SETTINGS = QuantizeSettings(n_calibration=40, bounds=LOOSE, threads=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_network(tmp_path / "float.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "data")


def test_the_file_stands_alone_and_its_card_tells_the_truth(
    model: Path, data: Path, tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    out = tmp_path / "int8.onnx"
    done = quantize(model, data, out, SETTINGS, lambda *step: steps.append(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "float.onnx", "int8.onnx"]
    onnx.checker.check_model(onnx.load(out), full_check=True)
    before, after = Model.load(model, threads=1), Model.load(out, threads=1)
    part = after.card.quantization
    assert part is not None and after.card == done.card
    assert part.float_sha256 == before.hash == content_hash(model.read_bytes())
    assert (part.data, part.calibration_split, part.split) == ("data", "train", "val")
    assert (part.n_calibration, part.weight_bits, part.tried) == (40, 7, 1)
    assert part.float_layers == () and done.layers == len(LAYERS)
    old, new = evaluate(before, data, "val"), evaluate(after, data, "val")
    labels = [
        r.probabilities.argmax(axis=1) for r in (old.tasks["material"], new.tasks["material"])
    ]
    parity = part.parity["material"]
    assert parity.n == 20 and parity.changed == (labels[0] != labels[1]).sum()
    assert parity.float_accuracy == old.tasks["material"].metrics["accuracy"]
    # The figures are those of the file as it is, with its own temperature.
    assert after.card.metrics == {
        "split": "val",
        "n": 20,
        "tasks": {"material": new.tasks["material"].metrics},
    }
    gaps = new.tasks["material"].probabilities - old.tasks["material"].probabilities
    assert parity.probability_change == pytest.approx(np.abs(gaps).max())
    assert after.temperatures["material"] != before.temperatures["material"]
    assert [what for what, done, total in steps if done == total] == [
        "Measuring float", "Calibrating", "Measuring int8, 0 of 3 layers in float",
    ]  # fmt: skip


def test_golden_answers_are_those_of_int8(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    quantize(model, data, out, SETTINGS)
    before, after = Model.load(model, threads=1), Model.load(out, threads=1)
    assert after.card.golden.photos_png == before.card.golden.photos_png
    assert after.card.golden.logits != before.card.golden.logits
    assert 0.05 <= after.card.golden.tolerance < 5.0


def test_every_engine_gives_the_same_answers(model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    out = tmp_path / "int8.onnx"
    source = write_network(tmp_path / "gathering.onnx", network(gather=True))
    quantize(source, data, out, SETTINGS)
    photos = some_photos(12, seed=9)
    names = ["material", "embedding", "material_map"]
    one, other = (
        Model.load(out, threads=1, engine=name).outputs(photos, names)
        for name in ("onnxruntime-cpu", "openvino-cpu")
    )
    for name in names:
        assert np.abs(one[name] - other[name]).max() < 0.05 * np.abs(one[name]).max()


def test_the_same_photos_give_the_same_file(model: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        quantize(model, data, tmp_path / name, SETTINGS)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_layers_are_kept_until_the_answers_hold(data: Path, tmp_path: Path) -> None:
    graph = network(edge=1000.0)
    model, out = write_network(tmp_path / "m.onnx", graph), tmp_path / "int8.onnx"
    photos = write_photos(tmp_path / "edges", graph)
    settings = dataclasses.replace(SETTINGS, bounds=Bounds(0.96, 0.11))
    done = quantize(model, photos, out, settings)
    part = done.card.quantization
    assert part is not None
    assert part.float_layers == ("depth",) and part.tried == 2
    first, second = done.trials
    assert first.parity["material"].agreement < 0.98 <= second.parity["material"].agreement
    record = done.to_record()
    assert [len(trial["float_layers"]) for trial in record["trials"]] == [0, 1]
    assert record["bytes"] == out.stat().st_size


def test_a_form_within_the_bounds_goes_before_one_that_agrees_more(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is well within them, so all forms are tried and the best is taken."""
    found = iter([(0.95, -0.10), (0.91, 0.0), (0.93, 0.0), (0.92, 0.05)])
    real = measure_tasks

    def measured(*arguments: Any) -> dict[str, ParityCard]:
        agreement, change = next(found)
        update = {"agreement": agreement, "accuracy_change": change}
        return {task: card.model_copy(update=update) for task, card in real(*arguments).items()}

    monkeypatch.setattr("beltsight.quantization.run.measure_tasks", measured)
    settings = dataclasses.replace(SETTINGS, bounds=Bounds(0.90, 0.05))
    done = quantize(model, data, tmp_path / "int8.onnx", settings)
    assert done.card.quantization is not None
    assert done.card.quantization.parity["material"].agreement == 0.93
    assert len(done.trials) == 4


def test_asked_for_layers_stay_float(model: Path, data: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, keep=("stem",), keep_count=1)
    done = quantize(model, data, tmp_path / "int8.onnx", settings)
    part = done.card.quantization
    assert part is not None and len(done.trials) == 1
    assert part.float_layers[0] == "stem" and len(part.float_layers) == 2


def test_too_much_change_writes_nothing(model: Path, data: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, bounds=Bounds(max_probability_change=0.0))
    with pytest.raises(ParityError, match="a probability changes by"):
        quantize(model, data, tmp_path / "int8.onnx", settings)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "float.onnx"]


def test_a_purity_is_asked_for_again(data: Path, tmp_path: Path) -> None:
    purity = PurityCard(target=0.8, certified=True, confidence=0.95, n=9, accepted=9, right=9)
    classes = ("blue", "green", "red")
    task = TaskCard(name="material", classes=classes, threshold=0.123, purity=purity)
    model = write_network(tmp_path / "m.onnx", tasks=(task,))
    found = quantize(model, data, tmp_path / "a.onnx", SETTINGS).card.tasks[0]
    assert found.purity is not None and found.purity.target == 0.8 and found.purity.n == 20
    assert found.threshold != 0.123
    assert not found.purity.certified  # these photos chose the form, too
    # A threshold that nobody can find again held for other confidences.
    task = TaskCard(name="material", classes=classes, threshold=0.123)
    model = write_network(tmp_path / "m.onnx", tasks=(task,))
    assert quantize(model, data, tmp_path / "b.onnx", SETTINGS).card.tasks[0].threshold is None


def test_the_border_of_the_novel_moves_with_the_embeddings(tmp_path: Path, data: Path) -> None:
    chance = np.random.default_rng(0)
    novelty = fit_novelty(chance.normal(1, 1, (200, 8)), chance.normal(1, 1, (300, 8)))
    model = write_network(tmp_path / "m.onnx", novelty=novelty.to_card())
    card = quantize(model, data, tmp_path / "int8.onnx", SETTINGS).card
    assert card.novelty is not None and card.novelty.n_known == 20
    assert card.novelty.basis == novelty.to_card().basis


def test_photos_of_each_class_alike(data: Path) -> None:
    dataset = load_dataset(data)
    chosen = choose_samples(dataset, 9, 0)
    counts = [
        sum(s.labels["material"] == name for s in chosen) for name in dataset.tasks[0].classes
    ]
    assert len(set(chosen)) == 9 and max(counts) - min(counts) <= 1
    assert choose_samples(dataset, 9, 0) == chosen != choose_samples(dataset, 9, 1)
    assert len(choose_samples(dataset, 1000, 0)) == 60


def test_a_photo_that_cannot_be_read_is_passed_over(
    model: Path, data: Path, tmp_path: Path
) -> None:
    (data / "000.png").write_bytes(b"\x89PNG broken")
    done = quantize(model, data, tmp_path / "int8.onnx", SETTINGS)
    assert done.card.quantization is not None and done.card.quantization.n_calibration == 39
    for path in data.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="could be read"):
        quantize(model, data, tmp_path / "other.onnx", SETTINGS)


def test_an_int8_model_is_refused(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "int8.onnx"
    quantize(model, data, out, SETTINGS)
    with pytest.raises(ModelError, match="int8 already; give the float file"):
        quantize(out, data, tmp_path / "again.onnx", SETTINGS)


def test_photos_that_the_model_has_learned_do_not_decide(data: Path, tmp_path: Path) -> None:
    digests = [content_hash(path.read_bytes()) for path in data.glob("*.png")]
    model = write_network(tmp_path / "m.onnx", training=tiny_training(train=digests))
    with pytest.raises(SplitError, match=r"trained on 20 of the 20 photos of split 'val'"):
        quantize(model, data, tmp_path / "int8.onnx", SETTINGS)


def test_every_task_needs_labels(data: Path, tmp_path: Path) -> None:
    graph = network()
    for kind in ("Gemm", "Conv"):
        twin = onnx.NodeProto()
        twin.CopyFrom([node for node in graph.graph.node if node.op_type == kind][-1])
        twin.output[0] = twin.output[0].replace("material", "dirt")
        graph.graph.node.append(twin)
    for output in list(graph.graph.output):
        if "material" in output.name:
            info = onnx.ValueInfoProto()
            info.CopyFrom(output)
            info.name = output.name.replace("material", "dirt")
            graph.graph.output.append(info)
    tasks = tuple(TaskCard(name=n, classes=("blue", "green", "red")) for n in ("material", "dirt"))
    from beltsight.card import GoldenCard

    model = write_network(tmp_path / "m.onnx", graph, tasks=tasks, golden=GoldenCard())
    with pytest.raises(DatasetError, match="has a label for dirt"):
        quantize(model, data, tmp_path / "int8.onnx", SETTINGS)


def test_wrong_use_is_said_before_any_work(model: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another file"):
        quantize(model, data, model, SETTINGS)
    with pytest.raises(ConfigError, match="a folder that exists"):
        quantize(model, data, tmp_path / "no" / "int8.onnx", SETTINGS)
    with pytest.raises(ConfigError, match="no layer is called 'neck'"):
        quantize(model, data, tmp_path / "a.onnx", dataclasses.replace(SETTINGS, keep=("neck",)))
    told: list[str] = []
    with pytest.raises(ConfigError, match="3 layers cannot stay float: the model has 3, of which"):
        settings = dataclasses.replace(SETTINGS, keep=("stem", "stem"), keep_count=3)
        quantize(model, data, tmp_path / "a.onnx", settings, lambda what, *_: told.append(what))
    assert not told
    for wrong in ({"split": "test"}, {"calibration_split": "test"}):
        with pytest.raises(SplitError, match="are no test any more"):
            QuantizeSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="1 to 10,000"):
        QuantizeSettings(n_calibration=0)
    with pytest.raises(ConfigError, match="7 or 8 bits"):
        QuantizeSettings(weight_bits=4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="0 or more"):
        QuantizeSettings(keep_count=-1)
    with pytest.raises(ModelFileError, match="no such model file"):
        quantize(tmp_path / "none.onnx", data, tmp_path / "a.onnx", SETTINGS)


def test_a_data_set_without_splits_says_what_to_do(model: Path, data: Path, tmp_path: Path) -> None:
    with open(data / "labels.csv", encoding="utf-8") as file:
        rows = [row[:2] for row in csv.reader(file)]
    with open(data / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(SplitError, match="no photo is in split 'val'"):
        quantize(model, data, tmp_path / "int8.onnx", SETTINGS)
    settings = dataclasses.replace(SETTINGS, split="all")
    part = quantize(model, data, tmp_path / "int8.onnx", settings).card.quantization
    assert part is not None and (part.calibration_split, part.split) == ("all", "all")


def test_all_photos_are_refused_where_some_are_for_the_test(
    model: Path, data: Path, tmp_path: Path
) -> None:
    found = load_dataset(data)
    first, *others = found.samples
    mixed = dataclasses.replace(found, samples=(dataclasses.replace(first, split="test"), *others))
    for splits in ({"split": "all"}, {"calibration_split": "all"}):
        settings = dataclasses.replace(SETTINGS, **splits)  # type: ignore[arg-type]
        with pytest.raises(SplitError, match="leave the test photos out"):
            quantize(model, mixed, tmp_path / "int8.onnx", settings)
    assert not (tmp_path / "int8.onnx").exists()
