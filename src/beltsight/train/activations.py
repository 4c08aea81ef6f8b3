"""Activations of a frozen trunk on disk: computed once, resumable, read in every epoch.

::

    KEY/cache.json        what they are of, and how many rows are done
    KEY/activations.f16   float16 rows: all views of the training photos, then the validation photos

The key is a digest of everything that the activations depend on, so a stale cache is never found.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from beltsight.errors import TrainError
from beltsight.files import whole

DATA_FILE = "activations.f16"
_STATE_FILE = "cache.json"
_HALF_BYTES = 2
_SECONDS_BETWEEN_STATES = 5.0


@dataclass(frozen=True, slots=True)
class CachePlanned:
    """A cache is about to be computed: its rows, size and estimated time."""

    rows: int
    done: int
    size_bytes: int
    seconds: float
    engine: str


@dataclass(frozen=True, slots=True)
class CacheProgress:
    """So many rows of the cache are computed."""

    done: int
    rows: int


CacheWatcher = Callable[[CachePlanned | CacheProgress], None]


class Trunk(Protocol):
    """Computes activations of a batch."""

    @property
    def name(self) -> str:
        """How it computes, e.g. ``PyTorch cpu bfloat16``."""

    def __call__(self, inputs: Tensor) -> Tensor:
        """Activations (N, ...) of N inputs."""


class Activations:
    """A finished cache, read by row.

    Args:
        folder: of the cache.
        shape: of one row as stored; channels come last where it has three dimensions.
        rows: number of rows.
    """

    def __init__(self, folder: Path, shape: Sequence[int], rows: int) -> None:
        self.folder = folder
        self.rows = rows
        self._channels_last = len(shape) == 3
        self._values: NDArray[np.float16] = np.memmap(
            folder / DATA_FILE, np.float16, "r", shape=(rows, *shape)
        )

    def batch(self, rows: Sequence[int] | slice) -> Tensor:
        """Rows as float32 (N, C, H, W) in channels-last memory, or (N, ...) as computed."""
        values = torch.from_numpy(np.array(self._values[rows])).float()
        return values.permute(0, 3, 1, 2) if self._channels_last else values


def cache_key(parts: Sequence[Any]) -> str:
    """A digest of what activations depend on.

    Example:
        >>> cache_key(["photos", 3]) == cache_key(["photos", 4])
        False
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def cached_activations(
    folder: Path,
    trunk: Trunk,
    inputs: Callable[[int], Iterator[Tensor]],
    rows: int,
    watch: CacheWatcher,
) -> Activations:
    """Read the cache in a folder; compute what is missing of it first.

    Args:
        folder: named by the cache's key; made if it is not there.
        trunk: computes one batch.
        inputs: given a row, yields batches of inputs from that row on, in order.
        rows: rows in all.
        watch: told the plan and the progress.

    Raises:
        TrainError: no room, no right to write, another process at work in it, or values that
            float16 does not hold.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            state = _read_state(folder, rows)
            if state["done"] < rows:
                state = _compute(folder, trunk, inputs, rows, state, watch)
    except OSError as error:
        raise TrainError(
            f"{folder}: activations cannot be written ({error.strerror}); make room and go on "
            "with --resume, or set another cache_folder, fewer views, or cache = 'never'"
        ) from error
    return Activations(folder, state["shape"], rows)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainError(
            f"another process computes activations in {folder}; wait for it, or set another "
            "cache_folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _read_state(folder: Path, rows: int) -> dict[str, Any]:
    """How far the cache is; from the start where it is missing or damaged."""
    start: dict[str, Any] = {"rows": rows, "done": 0, "shape": []}
    try:
        state: dict[str, Any] = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
        expected = state["done"] * _row_bytes(state["shape"])
        whole = (folder / DATA_FILE).stat().st_size >= expected
        return state if whole and state["rows"] == rows else start
    except (OSError, ValueError, KeyError, TypeError):
        return start


def _compute(
    folder: Path,
    trunk: Trunk,
    inputs: Callable[[int], Iterator[Tensor]],
    rows: int,
    state: dict[str, Any],
    watch: CacheWatcher,
) -> dict[str, Any]:
    first, written = state["done"], time.monotonic()
    mode = "r+b" if first else "wb"
    with (folder / DATA_FILE).open(mode) as file:
        file.truncate(first * _row_bytes(state["shape"]))
        file.seek(0, os.SEEK_END)
        start = time.monotonic()
        for number, batch in enumerate(inputs(first)):
            values = _stored(trunk(batch))
            if number == 0:
                state["shape"] = list(values.shape[1:])
                _check_room(folder, (rows - first) * _row_bytes(state["shape"]))
            if number == 1 or state["done"] + len(values) == rows:
                # The first batch warms up; the second one's time stands for the rest.
                _announce(state, len(values), time.monotonic() - start, trunk.name, watch)
            start = time.monotonic()
            file.write(values.tobytes())
            state["done"] += len(values)
            watch(CacheProgress(state["done"], rows))
            if time.monotonic() - written > _SECONDS_BETWEEN_STATES or state["done"] == rows:
                _keep(folder, file, state)
                written = time.monotonic()
    return state


def _announce(
    state: dict[str, Any], batch: int, seconds: float, engine: str, watch: CacheWatcher
) -> None:
    rows, done = state["rows"], state["done"]
    if state.get("announced"):
        return
    state["announced"] = True
    size = rows * _row_bytes(state["shape"])
    watch(CachePlanned(rows, done, size, (rows - done) * seconds / batch, engine))


def _keep(folder: Path, file: Any, state: dict[str, Any]) -> None:
    file.flush()
    os.fsync(file.fileno())  # the rows must be there before the state says so
    kept = {key: state[key] for key in ("rows", "done", "shape")}
    with whole(folder / _STATE_FILE) as draft:
        draft.write_text(json.dumps(kept), encoding="utf-8")


def _stored(activation: Tensor) -> NDArray[np.float16]:
    if activation.ndim == 4:
        activation = activation.permute(0, 2, 3, 1)
    half = activation.half().cpu().contiguous()
    if not torch.isfinite(half).all():
        raise TrainError(
            "the frozen layers give values that float16 does not hold, so they cannot be cached; "
            "set cache = 'never'"
        )
    values: NDArray[np.float16] = half.numpy()
    return values


def _row_bytes(shape: Sequence[int]) -> int:
    return _HALF_BYTES * int(np.prod(shape, dtype=np.int64))


def _check_room(folder: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise TrainError(
            f"{folder}: activations need {needed_bytes / 1e9:.2g} GB, and {free / 1e9:.2g} GB are "
            "free; set fewer views, another cache_folder, or cache = 'never'"
        )
