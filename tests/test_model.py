from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image
from tests.tiny import CLASSES, SIZE, expected_logits, paint, tiny_card, tiny_graph, write_tiny

import beltsight
from beltsight.calibrate import softmax
from beltsight.card import CARD_KEY, GoldenCard, TaskCard
from beltsight.errors import (
    ConfigError,
    DecodeError,
    ImageError,
    ModelError,
    ModelFileError,
    ParityError,
)
from beltsight.model import Model
from beltsight.novelty import fit_novelty
from beltsight.records import Photo, Prediction

COLOURS = {"red": (220, 30, 40), "green": (30, 210, 50), "blue": (20, 40, 230)}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("model") / "tiny.onnx")


@pytest.fixture(scope="module")
def model(file: Path) -> Model:
    return Model.load(file, threads=1)


def random_photos(count: int) -> list[Photo]:
    rng = np.random.default_rng(5)
    return [paint(tuple(rng.integers(0, 256, 3).tolist()), 40) for _ in range(count)]


def labels(predictions: list[Prediction]) -> list[str]:
    return [prediction.tasks["material"].label for prediction in predictions]


def test_answers_follow_from_the_photo(model: Model) -> None:
    got = model.predict([paint(colour) for colour in COLOURS.values()])
    assert labels(got) == list(COLOURS)
    for prediction, colour in zip(got, COLOURS.values(), strict=True):
        logits = expected_logits(model.prepare(paint(colour))[None])
        answer = prediction.tasks["material"]
        expected = softmax(logits)[0]
        assert list(answer.probabilities) == list(CLASSES)
        np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-6)
        assert answer.confidence == max(answer.probabilities.values())
        assert sum(answer.probabilities.values()) == pytest.approx(1)
        assert prediction.engine == "onnxruntime-cpu"
        assert prediction.abstain is None
        assert not prediction.maps


def test_every_form_of_one_photo_gets_the_same_answer(model: Model, tmp_path: Path) -> None:
    photo = paint(COLOURS["green"], 50)
    image, path, encoded = Image.fromarray(photo), tmp_path / "green.png", io.BytesIO()
    image.save(path)
    image.save(encoded, "PNG")
    forms: list[Any] = [
        photo,
        photo[None],
        image,
        path,
        str(path),
        encoded.getvalue(),
        [photo],
        (path,),
    ]
    answers = [model.predict(form) for form in forms]
    assert {len(answer) for answer in answers} == {1}
    assert len({answer[0].tasks["material"].confidence for answer in answers}) == 1
    assert [answer[0].path for answer in answers] == [None] * 3 + [str(path)] * 2 + [
        None, None, str(path)
    ]  # fmt: skip


def test_an_array_of_photos_is_many(model: Model) -> None:
    stack = np.stack([paint(colour) for colour in COLOURS.values()])
    assert labels(model.predict(stack)) == list(COLOURS)


def test_nothing_in_nothing_out(model: Model) -> None:
    assert model.predict([]) == []
    empty = model.outputs(np.zeros((0, SIZE, SIZE, 3), np.uint8), ["material", "embedding"])
    assert empty["material"].shape == (0, 3)
    assert empty["embedding"].shape == (0, 3)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_batch_does_not_change_the_answer(model: Model, batch_size: int) -> None:
    photos = random_photos(9)
    alone = [model.predict(photo)[0] for photo in photos]
    together = model.predict(photos, batch_size=batch_size)
    assert labels(alone) == labels(together)
    for one, other in zip(alone, together, strict=True):
        assert one.tasks["material"].confidence == pytest.approx(
            other.tasks["material"].confidence, abs=1e-6
        )


def test_a_batch_needs_a_photo(model: Model) -> None:
    with pytest.raises(ConfigError, match="batch size must be at least 1"):
        model.predict(paint((1, 2, 3)), batch_size=0)


def test_two_threads_may_use_one_model(model: Model) -> None:
    photos = random_photos(60)
    alone = [p.tasks["material"] for p in model.predict(photos)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(model.predict, photos, batch_size=size) for size in (3, 5) * 5]
        for run in runs:
            for one, other in zip(alone, run.result(), strict=True):
                assert one.label == other.tasks["material"].label
                assert one.confidence == pytest.approx(other.tasks["material"].confidence, abs=1e-6)


def test_maps_are_there_when_asked_for(model: Model) -> None:
    (prediction,) = model.predict(paint(COLOURS["red"]), explain=True)
    assert {name: array.shape for name, array in prediction.maps.items()} == {"material": (3, 4, 4)}
    assert prediction.embedding is not None
    assert not prediction.maps["material"].flags.writeable


def test_one_kept_prediction_does_not_keep_its_batch(model: Model) -> None:
    predictions = model.predict(random_photos(8), explain=True, batch_size=8)
    kept = predictions[0]
    for array in (kept.embedding, kept.maps["material"]):
        assert array is not None
        assert array.base is None or array.base.nbytes == array.nbytes


def test_streaming_reads_no_further_than_a_batch(model: Model) -> None:
    drawn = 0

    def endless() -> Iterator[Photo]:
        nonlocal drawn
        while True:
            drawn += 1
            yield paint(COLOURS["blue"])

    stream = model.stream(endless(), batch_size=4)
    assert next(stream).tasks["material"].label == "blue"
    assert drawn == 4
    for _ in range(4):
        next(stream)
    assert drawn == 8


def test_streaming_takes_constant_memory(model: Model) -> None:
    photo = paint(COLOURS["red"], 256)

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in model.stream((photo.copy() for _ in range(count)), batch_size=4):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(8)
    # 24 times the photos, which are 47 MB together: not a tenth of one photo more.
    assert peak(240) < peak(10) + photo.nbytes / 10


def test_a_bad_photo_is_raised_or_recorded(model: Model, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"this is no photo")
    sources: list[Photo | Path] = [paint(COLOURS["red"]), bad, paint(COLOURS["blue"])]
    with pytest.raises(DecodeError, match=r"bad\.jpg"):
        model.predict(sources)
    for batch_size in (1, 2, 3):
        got = list(model.stream(sources, batch_size=batch_size, on_error="record"))
        assert [p.error is None for p in got] == [True, False, True]
        assert got[1].path == str(bad)
        assert "not a photo" in str(got[1].error)
        assert not got[1].tasks
        assert labels([got[0], got[2]]) == ["red", "blue"]


def test_an_array_that_is_no_photo_is_refused(model: Model) -> None:
    with pytest.raises(ImageError, match="float64"):
        model.predict(np.zeros((8, 8, 3)))


def test_temperature_softens_the_answer(tmp_path: Path) -> None:
    task = TaskCard(name="material", classes=CLASSES, temperature=4.0)
    soft = Model.load(write_tiny(tmp_path / "soft.onnx", tiny_card(tasks=(task,))))
    photo = paint(COLOURS["red"])
    expected = softmax(expected_logits(soft.prepare(photo)[None]), 4.0)[0]
    (prediction,) = soft.predict(photo)
    np.testing.assert_allclose(
        list(prediction.tasks["material"].probabilities.values()), expected, atol=1e-6
    )


def test_a_threshold_makes_it_abstain(tmp_path: Path) -> None:
    task = TaskCard(name="material", classes=CLASSES, threshold=0.9)
    model = Model.load(write_tiny(tmp_path / "t.onnx", tiny_card(tasks=(task,))))
    sure, unsure = model.predict([paint((250, 10, 10)), paint((120, 118, 122))])
    assert (sure.abstain, unsure.abstain) == (False, True)
    assert sure.why is None and sure.novel is None and sure.novelty is None
    assert unsure.why is not None and unsure.why.startswith("unsure of material: ")
    assert unsure.why.endswith("accepted from 0.900")


def test_what_it_has_never_seen_makes_it_abstain(tmp_path: Path, model: Model) -> None:
    rng = np.random.default_rng(0)
    known = np.concatenate([rng.normal((200, 20, 20), 4, (30, 3)), rng.normal(90, 4, (30, 3))])
    photos = [paint((int(r), int(g), int(b))) for r, g, b in known.clip(0, 255)]
    embeddings = np.stack([p.embedding for p in model.predict(photos) if p.embedding is not None])
    novelty = fit_novelty(embeddings[::2], embeddings[1::2], components=1)
    path = write_tiny(tmp_path / "n.onnx", tiny_card(novelty=novelty.to_card()))
    seen, strange = Model.load(path).predict([photos[0], paint((0, 90, 255))])
    assert (seen.novel, seen.abstain, seen.why) == (False, False, None)
    assert (strange.novel, strange.abstain) == (True, True)
    assert strange.why is not None and strange.why.startswith("unlike anything seen: novelty")
    assert strange.embedding is not None
    expected = novelty.score(strange.embedding[None])[0]
    assert strange.novelty == pytest.approx(float(expected), rel=1e-6)


def test_class_statistics_of_another_width_are_refused(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(40, 7))
    card = tiny_card(novelty=fit_novelty(table, table).to_card())
    with pytest.raises(ModelFileError, match=r"'embedding' has shape .*does not fit its card"):
        Model.load(write_tiny(tmp_path / "n.onnx", card))


def test_the_hash_is_that_of_the_file(model: Model, file: Path) -> None:
    import hashlib

    assert model.hash == hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.path == file


def test_load_is_public(file: Path) -> None:
    assert beltsight.load(file).tasks[0].classes == CLASSES
    assert beltsight.load(str(file), threads=1).card.name == "tiny"


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nowhere\.onnx: no such model file; train one"):
        Model.load(tmp_path / "nowhere.onnx")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        Model.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"x" * 5000])
def test_what_is_no_onnx_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"x\.onnx: "):
        Model.load(path)


def test_mutated_files_give_a_model_or_the_projects_own_error(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    rng = np.random.default_rng(11)
    path = tmp_path / "mutated.onnx"
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), 3):
            content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content[: int(rng.integers(len(content) // 2, len(content) + 1))])
        try:
            Model.load(path, threads=1)
        except ModelError:
            refused += 1
    assert refused > 100


def test_an_onnx_file_of_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(tiny_graph().SerializeToString())
    with pytest.raises(ModelFileError, match="without a Beltsight card"):
        Model.load(path)


def test_a_damaged_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"d\.onnx: damaged card"):
        Model.load(write_tiny(tmp_path / "d.onnx", '{"schema_version": 1'))


def test_a_newer_card_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="newer than this Beltsight reads"):
        Model.load(write_tiny(tmp_path / "n.onnx", '{"schema_version": 99, "planet": "Mars"}'))


def test_outputs_that_the_graph_lacks_are_named(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "l.onnx", tiny_card(), graph=tiny_graph(with_map=False))
    with pytest.raises(ModelFileError, match="the graph lacks: material_map"):
        Model.load(path)


def test_classes_must_fit_the_graph(tmp_path: Path) -> None:
    tasks = (TaskCard(name="material", classes=("a", "b")),)
    card = tiny_card(tasks=tasks, golden=GoldenCard())
    with pytest.raises(ModelFileError, match=r"'material' has shape .* does not fit its card"):
        Model.load(write_tiny(tmp_path / "c.onnx", card))


def test_the_input_must_be_photos_of_the_cards_size(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "s.onnx", tiny_card(), graph=tiny_graph(size=64))
    with pytest.raises(ModelFileError, match=r"64, 64, 3.*not uint8 photos \(N, 32, 32, 3\)"):
        Model.load(path)


def test_the_input_must_be_bytes(tmp_path: Path) -> None:
    graph = tiny_graph()
    graph.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    path = write_tiny(tmp_path / "f.onnx", tiny_card(), graph=graph)
    with pytest.raises(ModelFileError, match=r"takes tensor\(float\)"):
        Model.load(path)


def test_a_machine_with_other_answers_is_found(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "off.onnx", tiny_card(), graph=tiny_graph(offset=0.05))
    with pytest.raises(ParityError, match=r"logits differ by 0\.05, allowed 0\.01"):
        Model.load(path)
    assert Model.load(path, verify=False).card.name == "tiny"


def test_a_damaged_golden_photo_is_refused(tmp_path: Path) -> None:
    golden = GoldenCard(photos_png=("AAAA",), logits={"material": [[0.0, 0.0, 0.0]]})
    with pytest.raises(ModelFileError, match="damaged card"):
        Model.load(write_tiny(tmp_path / "g.onnx", tiny_card(golden=golden)))


def test_an_answer_that_is_not_a_number_is_an_error(tmp_path: Path) -> None:
    graph = tiny_graph(offset=float("nan"))
    path = write_tiny(tmp_path / "nan.onnx", tiny_card(golden=GoldenCard()), graph=graph)
    with pytest.raises(ModelError, match="material is not a number"):
        Model.load(path).predict(paint((1, 2, 3)))
    with pytest.raises(ModelError, match="material is not a number"):
        Model.load(path).outputs(paint((1, 2, 3), SIZE)[None], ["material"])


def test_weights_outside_the_file_are_refused(tmp_path: Path) -> None:
    graph = tiny_graph()
    weights = next(part for part in graph.graph.initializer if part.name == "weight")
    (tmp_path / "side.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "side.bin"
    helper.set_model_props(graph, {CARD_KEY: tiny_card().model_dump_json()})
    path = tmp_path / "e.onnx"
    path.write_bytes(graph.SerializeToString())
    with pytest.raises(ModelFileError):
        Model.load(path)


@pytest.mark.parametrize("where", ["input", "output"])
def test_a_graph_for_one_photo_at_a_time_is_refused_when_it_is_opened(
    tmp_path: Path, where: str
) -> None:
    graph = tiny_graph()
    value = (graph.graph.input if where == "input" else graph.graph.output)[0]
    first = value.type.tensor_type.shape.dim[0]
    first.Clear()
    first.dim_value = 1
    path = write_tiny(tmp_path / "one.onnx", graph=graph)
    with pytest.raises(ModelFileError, match=r"exactly 1 photos at a time|one row per photo"):
        Model.load(path)
