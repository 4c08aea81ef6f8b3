from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from beltsight.errors import TrainError
from beltsight.train.activations import (
    DATA_FILE,
    Activations,
    CachePlanned,
    CacheProgress,
    cached_activations,
)

ROWS = 50


class Doubling:
    """Stands for a trunk; counts what it computed."""

    name = "doubling"

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        self.rows += len(inputs)
        return 2 * inputs


def inputs(first: int) -> Iterator[torch.Tensor]:
    values = torch.arange(ROWS * 24, dtype=torch.float32).view(ROWS, 2, 3, 4)
    for start in range(first, ROWS, 8):
        yield values[start : start + 8]


def compute(folder: Path, trunk: Doubling, watch: Callable[[Any], None] = lambda _: None) -> Any:
    return cached_activations(folder, trunk, inputs, ROWS, watch)


def expected() -> torch.Tensor:
    return 2 * torch.cat(list(inputs(0)))


def test_rows_come_back_in_any_order(tmp_path: Path) -> None:
    activations = compute(tmp_path / "k", Doubling())
    assert activations.rows == ROWS
    rows = [49, 0, 7, 7]
    batch = activations.batch(rows)
    assert torch.equal(batch, expected()[rows])
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(activations.batch(slice(48, 60)), expected()[48:])
    size = (tmp_path / "k" / DATA_FILE).stat().st_size
    assert size == ROWS * 24 * 2


def test_embeddings_are_kept_as_they_are(tmp_path: Path) -> None:
    def flat(first: int) -> Iterator[torch.Tensor]:
        return (batch.flatten(1) for batch in inputs(first))

    activations = cached_activations(tmp_path / "k", Doubling(), flat, ROWS, lambda _: None)
    assert torch.equal(activations.batch([3]), expected()[[3]].flatten(1))


def test_what_is_there_is_not_computed_again(tmp_path: Path) -> None:
    compute(tmp_path / "k", Doubling())
    trunk = Doubling()
    seen: list[CachePlanned | CacheProgress] = []
    compute(tmp_path / "k", trunk, seen.append)
    assert trunk.rows == 0 and seen == []


def test_an_interrupted_cache_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from beltsight.train import activations

    monkeypatch.setattr(activations, "_SECONDS_BETWEEN_STATES", 0.0)

    def stop(event: CachePlanned | CacheProgress) -> None:
        if isinstance(event, CacheProgress) and event.done >= 24:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute(tmp_path / "k", Doubling(), stop)
    trunk = Doubling()
    resumed = compute(tmp_path / "k", trunk)
    assert 0 < trunk.rows < ROWS
    assert torch.equal(resumed.batch(slice(0, ROWS)), expected())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "cache.json").write_text("{", encoding="utf-8"),
        lambda folder: (folder / "cache.json").write_text('{"done": 50}', encoding="utf-8"),
        lambda folder: (folder / "cache.json").unlink(),
        lambda folder: (folder / DATA_FILE).write_bytes(b"short"),
        lambda folder: (folder / DATA_FILE).unlink(),
        shutil.rmtree,
    ],
)
def test_a_damaged_cache_is_computed_anew(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    compute(tmp_path / "k", Doubling())
    spoil(tmp_path / "k")
    trunk = Doubling()
    again = compute(tmp_path / "k", trunk)
    assert trunk.rows == ROWS
    assert torch.equal(again.batch(slice(0, ROWS)), expected())


def test_the_plan_comes_with_size_and_time(tmp_path: Path) -> None:
    seen: list[CachePlanned | CacheProgress] = []
    compute(tmp_path / "k", Doubling(), seen.append)
    (plan,) = (event for event in seen if isinstance(event, CachePlanned))
    assert plan.size_bytes == ROWS * 48 and plan.rows == ROWS and plan.seconds >= 0
    progress = [event.done for event in seen if isinstance(event, CacheProgress)]
    assert progress == [8, 16, 24, 32, 40, 48, 50]
    assert seen.index(plan) <= 2


def test_too_little_room_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(TrainError, match=r"need 2\.4e-06 GB, and 1e-06 GB are free; set fewer"):
        compute(tmp_path / "k", Doubling())
    assert (tmp_path / "k" / DATA_FILE).stat().st_size == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / DATA_FILE).symlink_to("/dev/full")
    with pytest.raises(TrainError, match=r"cannot be written \(.*\); make room.*--resume"):
        compute(tmp_path / "k", Doubling())


def test_values_beyond_float16_are_refused(tmp_path: Path) -> None:
    def large(first: int) -> Iterator[torch.Tensor]:
        yield torch.full((ROWS, 4), 40_000.0)

    with pytest.raises(TrainError, match=r"float16 does not hold.*cache = 'never'"):
        cached_activations(tmp_path / "k", Doubling(), large, ROWS, lambda _: None)


def test_two_processes_do_not_write_one_cache(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    with (
        FileLock(tmp_path / "k" / ".lock"),
        pytest.raises(TrainError, match="another process computes activations"),
    ):
        compute(tmp_path / "k", Doubling())


def test_the_state_never_runs_ahead_of_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.train import activations

    monkeypatch.setattr(activations, "_SECONDS_BETWEEN_STATES", 0.0)
    folder = tmp_path / "k"

    def check(event: CachePlanned | CacheProgress) -> None:
        if isinstance(event, CacheProgress) and (folder / "cache.json").exists():
            done = json.loads((folder / "cache.json").read_text(encoding="utf-8"))["done"]
            assert (folder / DATA_FILE).stat().st_size >= done * 48

    compute(folder, Doubling(), check)
    values = np.fromfile(folder / DATA_FILE, np.float16)
    assert len(values) == ROWS * 24
    assert isinstance(Activations(folder, [3, 4, 2], ROWS).batch([0]), torch.Tensor)
