from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.tiny import tiny_card, tiny_graph, write_tiny

from beltsight.bench import (
    RESOLUTIONS,
    Timing,
    camera_frames,
    conditions_line,
    describe_conditions,
    encode_jpeg,
    ratio_of_medians,
    resident_mb,
    summarise,
    take_turns,
    time_calls,
    time_stream,
)
from beltsight.bench.camera import tile
from beltsight.bench.contest import precision_of, run_grid
from beltsight.bench.grid import Contestant, GridSettings, Work
from beltsight.bench.summary import mean_of_inverses
from beltsight.engines.onnx_runtime import OnnxRuntimeEngine
from beltsight.errors import BeltsightError, ConfigError, ModelError, ModelFileError
from beltsight.model import Model


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def timing(times_s: list[float], frames: int = 0, **changes: Any) -> Timing:
    parts = {
        "times_s": np.array(times_s), "frames": frames or len(times_s), "wall_s": sum(times_s),
        "cpu_s": 0.0, "growth_mb": 0.0,
    }  # fmt: skip
    return Timing(**{**parts, **changes})


def test_calls_are_timed_one_by_one_without_the_warm_up() -> None:
    clock, cpu = Hand(), Hand()
    seen: list[str] = []

    def work(frame: str) -> None:
        seen.append(frame)
        clock.now_s += 10.0 if len(seen) <= 2 else 0.5
        cpu.now_s += 0.25

    found = time_calls(
        work, ["a", "b", "c"], frames_per_call=4, warm_up=2, least_calls=3, least_s=2.0,
        clock=clock, cpu_clock=cpu,
    )  # fmt: skip
    assert seen == ["a", "b", "c", "a", "b", "c"]
    assert found.times_s.tolist() == [0.5, 0.5, 0.5, 0.5]  # three calls are only 1.5 s
    assert (found.frames, found.wall_s, found.cpu_s) == (16, 2.0, 1.0)
    assert found.frames_per_s == 8.0


def test_what_lies_between_calls_counts_for_frames_per_second_alone() -> None:
    clock = Hand()

    class Slow(list[int]):
        """Frames that must be waited for."""

        def __iter__(self) -> Iterator[int]:
            for frame in super().__iter__():
                clock.now_s += 3.0
                yield frame

    def work(frame: int) -> None:
        clock.now_s += 1.0

    found = time_calls(
        work, Slow([1, 2]), warm_up=0, least_calls=2, least_s=0, clock=clock, cpu_clock=Hand()
    )
    assert found.times_s.tolist() == [1.0, 1.0]
    assert found.wall_s == 8.0


def test_a_function_that_fails_is_not_measured() -> None:
    def fails(frame: int) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        time_calls(fails, [1])


@pytest.mark.parametrize(
    ("frames", "settings"),
    [
        ([], {}),
        ([1], {"frames_per_call": 0}),
        ([1], {"least_calls": 0}),
        ([1], {"warm_up": -1}),
        ([1], {"least_s": float("nan")}),
        ([1], {"least_s": float("inf")}),
    ],
)
def test_what_cannot_be_measured_is_said(frames: list[int], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least"):
        time_calls(abs, frames, **settings)


def test_a_stream_is_timed_from_answer_to_answer() -> None:
    clock, cpu = Hand(), Hand()

    def flow(frames: Iterable[int]) -> Iterator[int]:
        for frame in frames:
            clock.now_s += frame
            cpu.now_s += 2.0
            yield -frame

    found = time_stream(flow, [7, 7, 1, 2, 3], warm_up=2, clock=clock, cpu_clock=cpu)
    assert found.times_s.tolist() == [1.0, 2.0, 3.0]
    assert (found.frames, found.wall_s, found.cpu_s) == (3, 6.0, 6.0)
    with pytest.raises(ConfigError, match="send more frames"):
        time_stream(flow, [1, 2], warm_up=2, clock=clock)


def test_turns_go_forth_and_back() -> None:
    seen: list[str] = []
    told: list[tuple[int, int]] = []
    turns = {name: lambda name=name: seen.append(name) for name in ("a", "b", "c")}
    found = take_turns(turns, 3, lambda done, total: told.append((done, total)))
    assert "".join(seen) == "abccbaabc"
    assert list(found) == ["a", "b", "c"]
    assert [len(each) for each in found.values()] == [3, 3, 3]
    assert told == [(done, 9) for done in range(1, 10)]
    with pytest.raises(ConfigError, match="at least one round"):
        take_turns(turns, 0)


def test_a_summary_by_hand() -> None:
    first = timing([0.1, 0.2, 0.3, 0.4], 8, wall_s=2.0, cpu_s=3.0, growth_mb=5.0)
    second = timing([0.5], 2, wall_s=0.5, cpu_s=0.5, growth_mb=1.0)
    found = summarise([first, second], cores=2)
    assert (found.calls, found.frames, found.rounds) == (5, 10, 2)
    assert found.mean_ms == pytest.approx(300)
    assert found.p50_ms == pytest.approx(300)
    # Linear between ranks: 0.9 * 4 = 3.6 and 0.99 * 4 = 3.96 steps from the least.
    assert found.p90_ms == pytest.approx(400 + 0.6 * 100)
    assert found.p99_ms == pytest.approx(400 + 0.96 * 100)
    assert [found.least_ms, found.most_ms] == pytest.approx([100, 500])
    assert found.frames_per_s == pytest.approx(10 / 2.5)
    # Two frames a call: (2/0.1 + 2/0.2 + 2/0.3 + 2/0.4 + 2/0.5) / 5.
    assert found.mean_inverse_per_s == pytest.approx((20 + 10 + 20 / 3 + 5 + 4) / 5)
    assert found.cpu_share == pytest.approx(3.5 / (2.5 * 2))
    assert found.growth_mb == 5.0


def test_the_literatures_frames_per_second_flatter() -> None:
    uneven = timing([0.01, 0.19])
    found = summarise([uneven], cores=1)
    assert found.frames_per_s == pytest.approx(10)
    assert found.mean_inverse_per_s == pytest.approx((100 + 1 / 0.19) / 2)


def test_a_clock_that_stands_gives_no_rate() -> None:
    still = summarise([timing([0.0, 0.0], wall_s=0.0)], cores=1)
    assert (still.frames_per_s, still.mean_inverse_per_s, still.cpu_share) == (None, None, None)
    assert mean_of_inverses([0.0, 0.5]) == 2.0
    assert json.loads(json.dumps(still.to_record(), allow_nan=False))["frames_per_s"] is None


def test_no_turns_have_no_summary() -> None:
    with pytest.raises(ConfigError, match="no turns"):
        summarise([])


def test_a_ratio_is_of_medians_with_the_rounds_as_its_spread() -> None:
    found = ratio_of_medians([[8, 9, 10], [12, 12, 30]], [[3, 3, 3], [2, 2, 2]])
    # Medians of all: 11 and 2.5; of the rounds: 9 / 3 and 12 / 2.
    assert (found.value, found.low, found.high) == (11 / 2.5, 3.0, 6.0)
    assert found.to_record() == {"value": 4.4, "low": 3.0, "high": 6.0}
    with pytest.raises(ConfigError, match="as many rounds"):
        ratio_of_medians([[1.0]], [[1.0], [2.0]])


def test_memory_held_for_a_moment_is_seen() -> None:
    # A process of its own: other tests leave freed memory that a block could be taken from.
    code = """
import numpy as np
from beltsight.bench.memory import PeakMemory
memory = PeakMemory()
block = np.ones(96 * 2**20, np.uint8)
del block
print(memory.growth_mb(), PeakMemory().growth_mb())
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    grown, anew = map(float, done.stdout.split())
    assert 90 < grown < 160
    assert anew < 40  # what was given back is not the next one's own


def test_memory_of_another_process() -> None:
    code = "block = bytearray(64 * 2**20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin and other.stdout
        other.stdout.readline()
        assert 64 < resident_mb(other.pid) < 128
        other.stdin.write(b"\n")
    with pytest.raises(BeltsightError, match="it has ended"):
        resident_mb(other.pid)


def test_the_machine_is_named() -> None:
    found = describe_conditions()
    assert found["cores"] >= 1
    assert found["libraries"]["numpy"] == np.__version__
    line = conditions_line(found)
    assert found["processor"] in line
    assert f"onnxruntime {found['libraries']['onnxruntime']}" in line
    assert "\n" not in line


def test_camera_frames_have_the_detail_of_photos() -> None:
    for name, (height, width) in RESOLUTIONS.items():
        first, second = camera_frames(name, 2)
        assert first.shape == second.shape == (height, width, 3)
        assert not np.array_equal(first, second)
        jpeg = encode_jpeg(first)
        assert Image.open(io.BytesIO(jpeg)).size == (width, height)
        # A camera's JPEG has over half a bit a pixel; an enlarged photo would have a tenth.
        assert 8 * len(jpeg) / (height * width) > 0.5
    with pytest.raises(ConfigError, match="1080p, 720p, 480p"):
        camera_frames("4k")


def test_tiles_start_again_where_photos_run_out() -> None:
    photos = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    assert tile(photos, 4, 6)[::2, ::3, 0].tolist() == [[1, 2], [3, 1]]
    assert tile(photos, 3, 5).shape == (3, 5, 3)


class Doubled:
    """A peer that does nothing much."""

    contestant = Contestant("tiny", "tiny", "PyTorch, contiguous", "float32")
    input_size = (32, 32)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def prepare(self, photos: Any) -> Any:
        self.shapes.append(photos.shape)
        return photos

    def run(self, prepared: Any) -> object:
        return prepared.mean()


def test_a_grid_measures_each_work_and_compares_like_with_like(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "m.onnx")
    peer = Doubled()
    settings = GridSettings(
        ("onnxruntime-cpu",), ("prepared", "480p"), (1, 2), threads=1, rounds=2, turn_s=0
    )
    grid = run_grid({"a": model, "b": model}, settings, [peer])
    works = list(dict.fromkeys(row.work for row in grid.rows))
    assert works == [
        Work("network", "prepared", 1), Work("frame", "480p", 1), Work("jpeg", "480p", 1),
        Work("network", "prepared", 2), Work("frame", "480p", 2), Work("jpeg", "480p", 2),
    ]  # fmt: skip
    assert peer.shapes[0] == (1, 32, 32, 3)
    assert peer.shapes[-1] == (2, 32, 32, 3)
    for work in works:
        rows = [row for row in grid.rows if row.work == work]
        names = [row.contestant.model for row in rows]
        assert names == (["a", "b", "tiny"] if work.kind == "network" else ["a", "b"])
        base = "tiny in PyTorch" if work.kind == "network" else "a in onnxruntime-cpu"
        assert all(row.base.startswith(base) for row in rows)
        assert [row.ratio is None for row in rows].count(True) == 1
        assert all(row.summary.frames == work.batch * row.summary.calls for row in rows)
        assert all(row.summary.rounds == 2 for row in rows)
    record = json.loads(json.dumps(grid.to_record(), allow_nan=False))
    assert len(record["rows"]) == 14
    assert record["threads"] == 1


def test_the_peer_of_another_network_is_no_measure(tmp_path: Path) -> None:
    peer = Doubled()
    peer.contestant = Contestant("resnet50", "resnet50", "PyTorch, contiguous", "float32")
    settings = GridSettings(("onnxruntime-cpu",), ("prepared",), threads=1, rounds=1, turn_s=0)
    grid = run_grid({"a": write_tiny(tmp_path / "m.onnx")}, settings, [peer])
    assert grid.rows[0].ratio is None
    assert grid.rows[0].base == "a in onnxruntime-cpu, float32"


def test_an_engine_that_cannot_compute_a_model_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Model.load

    def load(path: Any, *, engine: str, **rest: Any) -> Model:
        if engine == "openvino-cpu":
            raise ModelError("gives other answers here")
        return plain(path, engine=engine, **rest)

    monkeypatch.setattr(Model, "load", load)
    engines = ("onnxruntime-cpu", "openvino-cpu")
    settings = GridSettings(engines, ("prepared",), threads=1, rounds=1, turn_s=0)
    grid = run_grid({"a": write_tiny(tmp_path / "m.onnx")}, settings)
    assert [row.contestant.engine for row in grid.rows] == ["onnxruntime-cpu"]
    assert grid.left_out == ("a in openvino-cpu: gives other answers here",)


def test_what_fails_in_its_turn_costs_no_other_its_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = OnnxRuntimeEngine.run

    def run(self: Any, photos: Any, outputs: Any) -> Any:
        if len(photos) == 8:
            raise ModelError("out of memory")
        return plain(self, photos, outputs)

    monkeypatch.setattr(OnnxRuntimeEngine, "run", run)
    batches: dict[str, Any] = {"threads": 1, "rounds": 2, "turn_s": 0}
    settings = GridSettings(("onnxruntime-cpu",), ("prepared",), batches=(1, 8), **batches)
    model = write_tiny(tmp_path / "m.onnx")
    grid = run_grid({"a": model}, settings)
    assert [row.work.batch for row in grid.rows] == [1]
    assert grid.left_out == ("a in onnxruntime-cpu, network alone, batches of 8: out of memory",)
    only = GridSettings(("onnxruntime-cpu",), ("prepared",), batches=(8,), **batches)
    with pytest.raises(ModelError, match="out of memory"):
        run_grid({"a": model}, only)


def test_a_file_that_is_no_model_is_an_error(tmp_path: Path) -> None:
    settings = GridSettings(("onnxruntime-cpu",), ("prepared",), threads=1, rounds=1, turn_s=0)
    good, bad = write_tiny(tmp_path / "m.onnx"), tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"bad\.onnx"):
        run_grid({"good": good, "bad": bad}, settings)
    with pytest.raises(ConfigError, match="no model to measure"):
        run_grid({}, settings)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"engines": ("onnx",)}, "no engine 'onnx'; "),
        ({"inputs": ("1080",)}, "did you mean '1080p'"),
        ({"inputs": ()}, "needs inputs"),
        ({"batches": (0,)}, "at least 1"),
        ({"rounds": 0}, "at least 1"),
        ({"turn_s": float("nan")}, "turns of 0 to 3600"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        GridSettings(**wrong)


def test_numbers_are_the_engines_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    model = Model.load(write_tiny(tmp_path / "m.onnx", tiny_card(), graph=tiny_graph()), threads=1)
    assert precision_of(model) == "float32"
