"""Tiny MNIST-like files and jobs for the tests of the placement study."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.relu_placement.data import Sets, load_sets
from studies.relu_placement.plan import Job, Recipe


def write_mnist(folder: Path, train: int = 240, test: int = 60) -> Path:
    """Digits that can be learned at once: a bar whose place is the digit."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        photos = rng.integers(0, 40, (count, 28, 28), np.uint8)
        for photo, label in zip(photos, labels, strict=True):
            photo[:, 2 + 2 * label : 5 + 2 * label] = 250
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", photos)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    path.write_bytes(gzip.compress(header + values.tobytes(), 1))


def job_of(**changes: Any) -> Job:
    recipe = Recipe(**{"epochs": 3, "batch_size": 40, **changes.pop("recipe", {})})
    own = {"experiment": "mnist", "variant": "base", "data": "mnist", "photos": 80, "size_px": 16,
           "seed": 0, "test": True, **changes}  # fmt: skip
    return Job(**own, recipe=recipe)


def sets_of(folder: Path, job: Job) -> Sets:
    return load_sets(job, {"mnist": folder})
