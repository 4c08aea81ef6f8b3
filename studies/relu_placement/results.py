"""Results as CSV: a folder per experiment, a few lines per job, replaced when it is done anew.

::

    jobs.csv       settings, minutes, machine and command of each job
    errors.csv     per placement: losses and errors at the end
    curves.csv     per measured epoch and placement
    activity.csv   per ReLU: dead units, zeros
    wrong.csv      per placement: a bit per photo, 1 where wrong, packed (base64), for paired tests
"""

from __future__ import annotations

import base64
import csv
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.relu_placement.model import NAMES
from studies.relu_placement.plan import Job
from studies.relu_placement.train import Outcome

from beltsight.machine import describe_machine

Row = dict[str, str]
KEY = ("variant", "size_px", "seed")


def read_rows(path: Path) -> list[Row]:
    """All lines of a CSV; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def digest_of(folder: Path, job: Job) -> str | None:
    """The digest of the settings that a job's result was made with; None where it has none."""
    for row in read_rows(folder / "jobs.csv"):
        if tuple(row[name] for name in KEY) == job.key:
            return row["settings_sha256"]
    return None


def keep_outcome(folder: Path, job: Job, outcome: Outcome, n_train: int, command: str) -> None:
    """Write a job's lines; jobs.csv comes last, so that a job stands in it when all is there.

    Args:
        folder: of the experiment.
        job: what was trained.
        outcome: of it.
        n_train: photos learned from.
        command: that makes it.
    """
    key = dict(zip(KEY, job.key, strict=True))
    last = outcome.curve[-1]
    errors, wrong, curves = [], [], []
    measured = {split: bits.mean(axis=1) for split, bits in outcome.wrong.items()}
    for place, name in enumerate(NAMES):
        own = {**key, "placement": name}
        errors.append({
            **own, "train_loss": _short(last.train_loss[place]),
            "val_loss": _short(outcome.val_loss[place]),
            "val_error": _short(measured["validation"][place]),
            "test_error": _short(measured["test"][place]) if "test" in measured else "",
        })  # fmt: skip
        curves += [
            {**own, "epoch": epoch.epoch, "seconds": round(epoch.seconds, 1),
             "train_loss": _short(epoch.train_loss[place]),
             "val_loss": _short(epoch.val_loss[place]),
             "val_error": _short(epoch.val_error[place])}
            for epoch in outcome.curve
        ]  # fmt: skip
        split = "test" if job.test else "validation"
        bits = outcome.wrong[split][place]
        packed = base64.b64encode(np.packbits(bits).tobytes()).decode()
        wrong.append({**own, "split": split, "n": bits.size, "wrong": packed})
    activity = [
        {**key, "placement": each.placement, "layer": each.layer, "dead": _short(each.dead),
         "zeros": _short(each.zeros)}
        for each in outcome.activity
    ]  # fmt: skip
    counts = {f"n_{split}": bits.shape[1] for split, bits in outcome.wrong.items()}
    about = {
        **job.settings, **key, "n_train": n_train, "n_test": "", **counts,
        "train_minutes": round(last.seconds / 60, 2), "starts": outcome.starts,
        "taken_from": outcome.taken_from,
        "processor": describe_machine()["processor"], "threads": torch.get_num_threads(),
        "torch": torch.__version__, "settings_sha256": job.digest, "command": command,
    }  # fmt: skip
    replace_rows(folder / "errors.csv", key, errors)
    replace_rows(folder / "curves.csv", key, curves)
    replace_rows(folder / "activity.csv", key, activity)
    replace_rows(folder / "wrong.csv", key, wrong)
    replace_rows(folder / "jobs.csv", key, [about])


def replace_rows(path: Path, key: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Put a job's lines in place of those that it had; the file is whole or as it was."""
    kept: list[Mapping[str, Any]] = [
        row for row in read_rows(path) if any(row[name] != value for name, value in key.items())
    ]
    every = sorted([*kept, *rows], key=_order)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(every[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(every)
    os.replace(part, path)


def write_rows(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """A CSV of these rows; none where there are none."""
    if not rows:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_errors(
    folder: Path, column: str = "test_error"
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Errors by variant and size, each (seeds, placements), in percent.

    Args:
        folder: of the experiment.
        column: ``test_error`` or ``val_error``.
    """
    found: dict[tuple[str, int], dict[int, dict[str, float]]] = defaultdict(dict)
    for row in read_rows(folder / "errors.csv"):
        if row[column]:
            seeds = found[row["variant"], int(row["size_px"])]
            seeds.setdefault(int(row["seed"]), {})[row["placement"]] = 100 * float(row[column])
    return {
        key: np.array([[errors[name] for name in NAMES] for _, errors in sorted(seeds.items())])
        for key, seeds in sorted(found.items())
    }


def read_marks(folder: Path) -> dict[tuple[str, int], dict[str, NDArray[np.float64]]]:
    """By variant and size, per placement (seeds, photos): 1 where right, 0 where wrong.

    The photos are those of test where the experiment looks at it, else of validation.
    """
    found: dict[tuple[str, int], dict[str, list[NDArray[np.float64]]]] = {}
    for row in sorted(read_rows(folder / "wrong.csv"), key=_order):
        packed = np.frombuffer(base64.b64decode(row["wrong"]), np.uint8)
        bits = np.unpackbits(packed, count=int(row["n"])).astype(np.float64)
        own = found.setdefault((row["variant"], int(row["size_px"])), {})
        own.setdefault(row["placement"], []).append(1.0 - bits)
    return {
        key: {name: np.array(own[name]) for name in NAMES if name in own}
        for key, own in found.items()
    }


def _order(row: Mapping[str, Any]) -> tuple[Any, ...]:
    place = NAMES.index(row["placement"]) if "placement" in row else 0
    epoch = int(row.get("epoch", 0) or 0)
    return (row["variant"], int(row["size_px"]), int(row["seed"]), place, row.get("layer"), epoch)


def _short(value: float) -> str:
    return f"{value:.5g}"
