from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.tiny import CLASSES, SIZE, paint, tiny_card, write_tiny

from beltsight.card import GoldenCard, content_hash
from beltsight.engines import onnx_runtime
from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.errors import BeltsightError, ConfigError, ModelError
from beltsight.model import Model
from beltsight.tune import BATCHES, Trial, choose, photos_per_second, tune
from beltsight.tuned import Choice, Tuning, forget_tuning, machine_key, save_tuning, store_path
from beltsight.tuned import stored_choice as stored

OTHER = "openvino-cpu"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BELTSIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m.onnx")


def tuning(file: Path, engine: str = OTHER, threads: int = 1) -> Tuning:
    return Tuning(
        model_sha256=content_hash(file.read_bytes()),
        threads=threads,
        machine=machine_key(),
        latency=Choice(engine=engine, batch_size=1, photos_per_s=10),
        throughput=Choice(engine="onnxruntime-cpu", batch_size=4, photos_per_s=20),
    )


class Clocked:
    """An engine whose every call takes a second of a clock of its own."""

    name, outputs, streams, rounding = "clocked", ("material",), 1, 0.0

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def run(self, photos: np.ndarray, outputs: object) -> dict[str, np.ndarray]:
        self.now += 1.0
        return {"material": np.zeros((len(photos), 3), np.float32)}


def test_the_rate_is_photos_over_seconds_without_the_warm_up() -> None:
    engine = Clocked()
    photos = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    # Each round of 2.5 s has calls begun at 0, 1 and 2 s: 12 photos in 3 s.
    assert photos_per_second(engine, photos, ["material"], 1, 2.5, engine.clock) == 4.0
    assert engine.now == 1 + 3 * 3


def test_a_machine_that_begins_late_has_a_rate_all_the_same() -> None:
    engine = Clocked()
    late = itertools.count(0, 100)  # each look at the clock is beyond the round's end
    photos = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    assert photos_per_second(engine, photos, ["material"], 1, 1.0, lambda: next(late)) > 0


def test_an_engine_that_fails_at_a_batch_leaves_the_others_and_its_smaller_ones(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = OnnxRuntimeEngine.run

    def small(self: OnnxRuntimeEngine, photos: Any, outputs: Any) -> Any:
        if len(photos) > 4:
            raise ModelError("out of memory")
        return run(self, photos, outputs)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", small)
    monkeypatch.setattr("beltsight.tune.available_engines", lambda: ("onnxruntime-cpu",))
    seen: list[Trial] = []
    photos = np.stack([paint((200, 40, 40))] * max(BATCHES))
    found = tune(Model.load(file, threads=1), photos, threads=1, seconds=0.001, watch=seen.append)
    assert found.throughput.batch_size <= 4
    assert (seen[-1].batch_size, seen[-1].refused) == (16, "out of memory")


def test_a_model_of_no_file_or_too_few_photos_cannot_be_tuned(file: Path) -> None:
    model = Model.load(file, threads=1)
    photos = np.stack([paint((200, 40, 40))] * max(BATCHES))
    with pytest.raises(ConfigError, match="16 photos at once, got 3"):
        tune(model, photos[:3])
    nowhere = Model(model.engine, model.card, model.hash)
    with pytest.raises(ConfigError, match="loaded from a file"):
        tune(nowhere, photos)


def test_the_fastest_that_was_not_refused_is_chosen() -> None:
    trials = [
        Trial("latency", "a", 1, 5.0),
        Trial("latency", "b", 1, None, "not here"),
        Trial("throughput", "a", 1, 9.0),
        Trial("throughput", "a", 4, 12.0),
        Trial("throughput", "c", 4, 12.0),
    ]
    assert choose(trials, "latency").engine == "a"
    best = choose(trials, "throughput")
    assert (best.engine, best.batch_size) == ("a", 4)


def test_no_engine_at_all_gives_the_reasons() -> None:
    with pytest.raises(ModelError, match="b: not here"):
        choose([Trial("latency", "b", 1, None, "not here")], "latency")
    trials = [Trial("latency", "a", 1, 5.0), Trial("throughput", "a", 1, None, "out of memory")]
    with pytest.raises(ModelError, match=r"for throughput on this machine: a: out of memory$"):
        choose(trials, "throughput")


def test_tuning_tries_each_engine_and_is_used_from_then_on(file: Path) -> None:
    model = Model.load(file, threads=1)
    photos = np.stack([paint((200, 40, 40))] * max(BATCHES))
    seen: list[Trial] = []
    found = tune(model, photos, threads=1, seconds=0.001, watch=seen.append)
    assert {"latency", "throughput"} == {t.purpose for t in seen if t.engine == "onnxruntime-cpu"}
    save_tuning(found)
    assert Model.load(file, threads=1).engine.name == found.latency.engine
    many = Model.load(file, threads=1, streams=2)
    assert many.engine.name == found.throughput.engine
    assert many.batch_size == found.throughput.batch_size


def test_an_engine_that_rounds_is_chosen_only_where_that_is_allowed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beltsight.tune.available_engines", lambda: ("onnxruntime-cpu",))
    monkeypatch.setitem(onnx_runtime._ROUNDINGS, "onnxruntime-cpu", 2.0**-8)
    model = Model.load(file, threads=1)
    photos = np.stack([paint((200, 40, 40))] * max(BATCHES))
    with pytest.raises(ModelError, match="coarser than float32; --bfloat16 allows it"):
        tune(model, photos, threads=1, seconds=0.001)
    found = tune(model, photos, threads=1, seconds=0.001, bfloat16=True)
    assert found.latency.engine == "onnxruntime-cpu"


def test_one_thread_over_many_photos_has_the_choice_for_many(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tuning(tuning(file, engine="onnxruntime-cpu"))
    sizes: list[int] = []
    run = OnnxRuntimeEngine.run

    def seen(self: OnnxRuntimeEngine, photos: Any, outputs: Any) -> Any:
        sizes.append(len(photos))
        return run(self, photos, outputs)

    many = Model.load(file, threads=1, purpose="throughput")
    assert many.batch_size == tuning(file).throughput.batch_size == 4
    photos = [paint((200, 40, 40))] * 18
    monkeypatch.setattr(OnnxRuntimeEngine, "run", seen)
    assert len(list(many.stream(photos))) == len(many.predict(photos)) == 18
    assert sizes == [4, 4, 4, 4, 2] * 2
    assert len(list(many.stream(photos, batch_size=9))) == 18
    assert sizes[10:] == [9, 9]
    # What is best for one photo at a time says nothing of batches.
    for model in (
        Model.load(file, threads=1),
        Model.load(file, threads=1, engine="onnxruntime-cpu"),
    ):
        sizes.clear()
        assert model.batch_size is None
        assert len(model.predict(photos)) == 18
        assert sizes[-2:] == [16, 2]


def test_an_engine_with_wrong_answers_takes_no_part(tmp_path: Path) -> None:
    card = tiny_card()
    wrong = GoldenCard(
        photos_png=card.golden.photos_png, logits={"material": [[9.0] * len(CLASSES)] * 2}
    )
    file = write_tiny(tmp_path / "w.onnx", tiny_card(golden=wrong))
    model = Model.load(file, threads=1, verify=False)
    photos = np.stack([paint((200, 40, 40))] * max(BATCHES))
    with pytest.raises(ModelError, match="other answers"):
        tune(model, photos, threads=1, seconds=0.001)


def test_the_stored_choice_is_for_this_file_these_threads_and_this_machine(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    save_tuning(tuning(file))
    digest = content_hash(file.read_bytes())
    assert stored(digest, 1, "latency") == tuning(file).latency
    assert stored(digest, 1, "throughput") == tuning(file).throughput
    assert stored(digest, 2, "latency") is None
    assert stored("0" * 64, 1, "latency") is None
    assert Model.load(file, threads=1).engine.name == OTHER
    assert Model.load(file, threads=1, engine="onnxruntime-cpu").engine.name == "onnxruntime-cpu"
    monkeypatch.setattr("beltsight.tuned.describe_machine", lambda: {"processor": "another"})
    assert stored(digest, 1, "latency") is None
    assert Model.load(file, threads=1).engine.name == "onnxruntime-cpu"


def damaged(path: Path) -> Iterator[bytes]:
    whole = path.read_bytes()
    yield from (b"", b"{", whole[: len(whole) // 2], b"\x00" * 100, b"[]" * 200_000)
    record = json.loads(whole)
    yield json.dumps({**record, "machine": "elsewhere"}).encode()
    yield json.dumps({**record, "threads": 7}).encode()
    yield json.dumps({**record, "latency": {"engine": 3}}).encode()
    yield json.dumps({**record, "latency": {**record["latency"], "engine": "later"}}).encode()


def test_a_damaged_choice_counts_as_none(file: Path) -> None:
    path = save_tuning(tuning(file))
    tried = count()
    for content in list(damaged(path)):
        path.write_bytes(content)
        assert stored(content_hash(file.read_bytes()), 1, "latency") is None
        next(tried)
    assert next(tried) == 9


def test_a_folder_that_cannot_be_written_names_the_remedy(file: Path, cache: Path) -> None:
    cache.write_text("a file, not a folder")
    with pytest.raises(BeltsightError, match="BELTSIGHT_CACHE"):
        save_tuning(tuning(file))


def test_forgetting_takes_all_choices_of_the_file_and_no_other(file: Path, tmp_path: Path) -> None:
    other = write_tiny(tmp_path / "other.onnx", tiny_card(name="other"))
    for threads in (1, 2):
        save_tuning(tuning(file, threads=threads))
    save_tuning(tuning(other))
    digest = content_hash(file.read_bytes())
    assert forget_tuning(digest) == 2
    assert stored(digest, 1, "latency") is None
    assert store_path(content_hash(other.read_bytes()), 1).exists()


def test_the_cache_stands_in_the_users_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BELTSIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store_path("a" * 64, 1).parent == tmp_path / "beltsight" / "tuned"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", os.fspath(tmp_path / "home"))
    assert store_path("a" * 64, 1).is_relative_to(tmp_path / "home" / ".cache")
