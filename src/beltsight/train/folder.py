"""The folder of a run: one process at a time, its settings, its description.

::

    settings.toml            all settings as they were resolved
    run.json                 data, tasks, counts, versions
    metrics.csv              one row per epoch
    checkpoint.safetensors   to go on after an interruption
    best.safetensors         weights of the best epoch
    model.onnx               the model file, with its card
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tomli_w
from filelock import FileLock, Timeout

from beltsight.answers.columns import as_text
from beltsight.config import load_config
from beltsight.errors import ResumeError, TrainError
from beltsight.files import DRAFT_SUFFIX, whole
from beltsight.train.settings import TrainSettings

SETTINGS_FILE = "settings.toml"
DESCRIPTION_FILE = "run.json"
# They change the speed, and sums only in their last digits: free to differ when a run goes on.
FREE_SETTINGS = ("threads", "workers", "tensorboard", "cache_folder")
SCRATCH_PREFIX = "prepared-"
_RESULTS = ("checkpoint.safetensors", "best.safetensors", "model.onnx")


@contextmanager
def opened_folder(folder: Path, settings: TrainSettings, *, resume: bool) -> Iterator[Path]:
    """Make a run's folder and write its settings, or open it again to go on.

    A start that failed before its first epoch left nothing worth keeping: it may be repeated
    with other settings.

    Raises:
        ResumeError: there is a run and ``resume`` is False, none and it is True, or one with
            other settings.
        TrainError: the folder cannot be written, its path is not UTF-8, or another process trains
            in it.
    """
    if (shown := as_text(str(folder))) != str(folder):  # safetensors opens no such file
        raise TrainError(f"{shown}: this path is not UTF-8; choose another --out")
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainError(f"another process trains in {folder}; choose another --out") from error
    except OSError as error:
        raise TrainError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        for left in folder.glob(f"{SCRATCH_PREFIX}*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        for draft in folder.glob(f".*{DRAFT_SUFFIX}"):
            draft.unlink(missing_ok=True)
        if resume:
            _check_same_settings(folder, settings)
        elif any((folder / name).exists() for name in _RESULTS):
            raise ResumeError(
                f"{folder} holds a run already; go on with it by --resume, or choose another --out"
            )
        else:
            values = settings.model_dump(mode="json", exclude_none=True)
            write_text(folder / SETTINGS_FILE, tomli_w.dumps(values))
        yield folder
    finally:
        lock.release()


def make_folder(folder: Path) -> None:
    """Make a folder that files will be written to.

    Raises:
        TrainError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainError(f"{folder}: cannot be made: {error.strerror}") from error


def stored_settings(folder: Path) -> TrainSettings:
    """The settings that a run was started with.

    Raises:
        ResumeError: no run there.
    """
    file = folder / SETTINGS_FILE
    if not file.exists():
        raise ResumeError(f"{folder} holds no run of 'beltsight train'")
    return load_config(TrainSettings, file)


def stored_description(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says.

    Raises:
        ResumeError: it is missing or damaged.
    """
    file = folder / DESCRIPTION_FILE
    try:
        value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return value
    except (OSError, ValueError) as error:
        raise ResumeError(f"{file}: cannot be read: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a small file, complete or not at all.

    Raises:
        TrainError: the folder cannot be written, or the disk is full.
    """
    try:
        with whole(path) as draft:
            draft.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrainError(f"{path}: cannot be written: {error.strerror}") from error


def _check_same_settings(folder: Path, settings: TrainSettings) -> None:
    before, now = (
        each.model_dump(mode="json", exclude=set(FREE_SETTINGS))
        for each in (stored_settings(folder), settings)
    )
    changed = [key for key in now if now[key] != before[key]]
    if changed:
        said = "; ".join(_differences(key, before[key], now[key])[0] for key in changed)
        raise ResumeError(
            f"{folder} was started with other settings: {said}; a run goes on with its own"
        )


def _differences(key: str, before: Any, now: Any) -> list[str]:
    """What differs, as deep as it lies: ``stages #2.epochs was 3, is 9``."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        pairs = [(f"{key}.{name}", before[name], now[name]) for name in before]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{key} #{n}", *both) for n, both in enumerate(zip(before, now, strict=True), 1)]
    else:
        return [f"{key} was {before!r}, is {now!r}"]
    return [one for name, old, new in pairs if old != new for one in _differences(name, old, new)]
