"""What every engine must keep; each that this machine has takes the whole of it."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper
from PIL import Image
from tests.tiny import SIZE, expected_logits, paint, tiny_graph

from beltsight.engines import ENGINES, available_engines, open_engine
from beltsight.engines.onnx_runtime import PROVIDERS
from beltsight.engines.openvino import _only_core
from beltsight.errors import BeltsightError, ConfigError, ModelError, ModelFileError

COLOURS = ((200, 40, 40), (20, 90, 160), (90, 200, 10), (128, 128, 128))
HERE = available_engines()

# Python's handlers run on the signal stack that faulthandler set, or on what an engine put there.
GIVEN_UP_ELSEWHERE = """
import faulthandler, gc, pathlib, signal, sys, threading
from beltsight.engines import open_engine
faulthandler.enable()
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
held = [open_engine(sys.argv[1], pathlib.Path(sys.argv[2]).read_bytes(), threads=1)]
thread = threading.Thread(target=lambda: (held.clear(), gc.collect()))
thread.start()
thread.join()
signal.raise_signal(signal.SIGUSR1)
print(len(seen))
"""


# Asked for by name, as a user does; what runs on in the background has its time.
ALONE = """
import sys, time
from beltsight.model import Model
(found,) = Model.load(engine=sys.argv[1], threads=1, verify=False).predict(sys.argv[2])
time.sleep(0.5)
print(found.engine)
"""
# Processes of the engine that may compute, the caller's own thread counted in.
THREADS = """
import os, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from beltsight.engines import open_engine
before = len(os.listdir("/proc/self/task"))
threads, streams = int(sys.argv[2]), int(sys.argv[3])
engine = open_engine("onnxruntime-cpu", pathlib.Path(sys.argv[1]).read_bytes(), threads, streams)
engine.run(np.zeros((1, 32, 32, 3), np.uint8), ["material"])
print(len(os.listdir("/proc/self/task")) - before + streams)
"""


@pytest.fixture
def graph() -> bytes:
    return bytes(tiny_graph().SerializeToString())


def photos(n: int = 4) -> NDArray[np.uint8]:
    return np.stack([paint(COLOURS[i % len(COLOURS)], SIZE) for i in range(n)])


def test_the_default_is_always_there() -> None:
    assert HERE[0] == "onnxruntime-cpu"
    assert set(HERE) <= set(ENGINES)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("streams", [1, 2])
def test_answers_follow_from_the_graph(name: str, streams: int, graph: bytes) -> None:
    engine = open_engine(name, graph, threads=2, streams=streams)
    assert (engine.name, engine.streams) == (name, streams)
    assert {"material", "embedding", "material_map"} == set(engine.outputs)
    got = engine.run(photos(), ["material", "embedding"])
    assert list(got) == ["material", "embedding"]
    assert got["material"].dtype == np.float32
    # One operation rounds by engine.rounding; here there are a handful.
    room = 1e-4 + 4 * engine.rounding * 4.0
    np.testing.assert_allclose(got["material"], expected_logits(photos()), atol=room)


@pytest.mark.parametrize("name", HERE)
def test_an_output_that_passes_another_tensor_on_has_its_name(name: str) -> None:
    model = tiny_graph()
    place = next(n for n, node in enumerate(model.graph.node) if "embedding" in node.output)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["before" if each == "embedding" else each for each in names]
    passing = helper.make_node("Identity", ["before"], ["embedding"])
    model.graph.node.insert(place + 1, passing)
    engine = open_engine(name, bytes(model.SerializeToString()), threads=1)
    assert engine.run(photos(2), ["embedding"])["embedding"].shape == (2, 3)
    assert "embedding" in engine.outputs


@pytest.mark.parametrize("name", HERE)
def test_any_number_of_photos_and_answers_that_stay(name: str, graph: bytes) -> None:
    engine = open_engine(name, graph, threads=1)
    first = engine.run(photos(3), ["material"])["material"]
    kept = first.copy()
    for n in (1, 4, 2):
        assert engine.run(photos(n)[::-1].copy(), ["material"])["material"].shape == (n, 3)
    np.testing.assert_array_equal(first, kept)  # no engine hands out a buffer it uses again


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("streams", [1, 3])
def test_threads_may_call_at_once(name: str, streams: int, graph: bytes) -> None:
    engine = open_engine(name, graph, threads=2, streams=streams)
    batch = photos()
    alone = [engine.run(batch[i : i + 1], ["material"])["material"] for i in range(4)]

    def call(i: int) -> NDArray[np.float32]:
        return engine.run(batch[i % 4 : i % 4 + 1], ["material"])["material"]

    with ThreadPoolExecutor(8) as pool:
        for i, answer in enumerate(pool.map(call, range(64))):
            np.testing.assert_array_equal(answer, alone[i % 4])


@pytest.mark.parametrize("name", HERE)
def test_signals_arrive_after_another_thread_gave_the_engine_up(
    name: str, graph: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.onnx"
    file.write_bytes(graph)
    command = [sys.executable, "-c", GIVEN_UP_ELSEWHERE, name, str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


@pytest.mark.parametrize("name", HERE)
def test_an_engine_that_failed_goes_on(name: str, graph: bytes) -> None:
    engine = open_engine(name, graph, threads=1)
    for wrong in (photos()[:, :, :, :2], photos().astype(np.float32), photos()[:, :8]):
        with pytest.raises(ModelError, match=name):
            engine.run(np.ascontiguousarray(wrong), ["material"])
    assert engine.run(photos(), ["material"])["material"].shape == (4, 3)


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x09\x12" * 40])
def test_a_foreign_file_is_one_clear_error(name: str, content: bytes) -> None:
    with pytest.raises(ModelFileError) as caught:
        open_engine(name, content)
    assert len(str(caught.value).splitlines()) == 1
    assert "copy the file again from its source, or write it anew" in str(caught.value)


@pytest.mark.parametrize("name", HERE)
def test_a_truncated_file_is_refused(name: str, graph: bytes) -> None:
    with pytest.raises(ModelFileError):
        open_engine(name, graph[: len(graph) // 2])


def test_a_library_that_is_there_and_cannot_be_loaded_counts_as_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Broken(importlib.abc.Loader, importlib.abc.MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
            return importlib.machinery.ModuleSpec(name, self) if name == "openvino" else None

        def exec_module(self, module: ModuleType) -> None:
            raise ImportError("libopenvino.so: cannot open shared object file")

    for name in [name for name in sys.modules if name.partition(".")[0] == "openvino"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    monkeypatch.setattr("beltsight.engines.openvino._only_core", _only_core.__wrapped__)
    assert not [name for name in available_engines() if "openvino" in name]


@pytest.mark.parametrize("name", HERE)
def test_a_prediction_leaves_nothing_in_the_users_folder(name: str, tmp_path: Path) -> None:
    """Libraries that tell their makers of their use mark the machine there."""
    home, photo = tmp_path / "home", tmp_path / "red.png"
    home.mkdir()
    Image.fromarray(paint(COLOURS[0])).save(photo)
    env = {k: v for k, v in os.environ.items() if "TELEMETRY" not in k and "XDG" not in k}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, name, str(photo)],
        env={**env, "HOME": str(home)}, check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip()) == (0, name), done.stderr
    assert [str(path) for path in home.rglob("*")] == []


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize(("threads", "streams"), [(1, 1), (4, 1), (4, 2), (5, 3), (4, 4)])
def test_onnx_runtime_computes_in_the_threads_asked_for(
    threads: int, streams: int, graph: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "tiny.onnx"
    file.write_bytes(graph)
    command = [sys.executable, "-c", THREADS, str(file), str(threads), str(streams)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, str(threads)), done.stderr


class Dumb:
    """An OpenVINO without its part for processors."""

    def get_property(self, *_: str) -> str:
        raise RuntimeError("Exception from src/x.cpp:1:\nDevice with CPU name is not registered")


def test_an_openvino_that_cannot_tell_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beltsight.engines.openvino._only_core", Dumb)
    assert "openvino-cpu-bf16" not in available_engines()


def test_an_openvino_that_cannot_start_stops_no_other_engine(
    monkeypatch: pytest.MonkeyPatch, graph: bytes
) -> None:
    def broken() -> None:
        raise RuntimeError("Cannot load plugins.xml")

    monkeypatch.setattr("beltsight.engines.openvino._only_core", broken)
    assert not [name for name in available_engines() if "openvino" in name]
    with pytest.raises(ModelError, match=r"OpenVINO cannot start \(Cannot load.*install it anew"):
        open_engine("openvino-cpu", graph)


@pytest.mark.parametrize(
    ("name", "provider", "options", "rounding"),
    [
        ("onnxruntime-cpu", "CPUExecutionProvider", {}, 0.0),
        ("onnxruntime-cuda", "CUDAExecutionProvider", {"use_tf32": "0"}, 0.0),
        ("onnxruntime-tensorrt", "TensorrtExecutionProvider", {}, 2.0**-11),
    ],
)
def test_float32_is_asked_of_a_gpu_and_what_rounds_more_says_so(
    name: str,
    provider: str,
    options: dict[str, str],
    rounding: float,
    graph: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On GPUs that are not here: a session of the processor calls itself by what was asked for."""
    real = onnxruntime.InferenceSession
    given: list[tuple[str, dict[str, str]]] = []

    def session(model: bytes, settings: object, providers: Any) -> Any:
        given.extend(providers)
        made = real(model, settings, providers=providers[-1:])
        monkeypatch.setattr(made, "get_providers", lambda: [each for each, _ in providers])
        return made

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*PROVIDERS.values()])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    engine = open_engine(name, graph, threads=1)
    assert given[0] == (provider, options) and given[-1] == ("CPUExecutionProvider", {})
    assert len(given) == len({each for each, _ in given}) == 1 + (name != "onnxruntime-cpu")
    assert (engine.name, engine.rounding) == (name, rounding)
    got = engine.run(photos(), ["material"])["material"]
    np.testing.assert_allclose(got, expected_logits(photos()), atol=1e-4)


def test_an_unknown_engine_names_those_there_are(graph: bytes) -> None:
    with pytest.raises(ConfigError, match="openvino-cpu-bf16"):
        open_engine("tensorflow", graph)


@pytest.mark.parametrize(("threads", "streams"), [(-1, 1), (1, 0)])
def test_impossible_counts_are_refused(threads: int, streams: int, graph: bytes) -> None:
    with pytest.raises(ConfigError, match="threads"):
        open_engine("onnxruntime-cpu", graph, threads, streams)


@pytest.mark.parametrize("name", [name for name in ENGINES if name not in HERE])
def test_an_engine_that_is_not_there_says_so(name: str, graph: bytes) -> None:
    with pytest.raises(BeltsightError, match=name):
        open_engine(name, graph)
