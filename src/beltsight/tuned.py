"""The engine that was found fastest for a model on this machine, stored by ``beltsight tune``.

A choice holds for one model file (by its hash), one machine with its libraries, and one number of
threads; anything else has none, and ONNX Runtime serves.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from beltsight.engines import ENGINES
from beltsight.errors import BeltsightError
from beltsight.files import whole
from beltsight.machine import describe_machine, usable_cores

Purpose = Literal["latency", "throughput"]
_LARGEST_STORE = 100_000  # bytes
_ELSEWHERE = "name a folder that can be written with the environment variable BELTSIGHT_CACHE"


class Choice(BaseModel):
    """An engine, and how many photos it is given per call."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    engine: str
    batch_size: int = Field(ge=1, le=4096)
    photos_per_s: float = Field(gt=0)


class Tuning(BaseModel):
    """What one measurement found; stored as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model_sha256: str
    threads: int
    machine: str
    latency: Choice
    throughput: Choice


def machine_key() -> str:
    """Names this machine with its libraries: another one's choice means nothing here."""
    text = json.dumps(describe_machine(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def store_path(model_hash: str, threads: int) -> Path:
    """Where a choice is kept: under ``BELTSIGHT_CACHE``, else in the user's cache folder."""
    return _store_folder() / f"{model_hash[:32]}-{machine_key()}-{threads}.json"


def _store_folder() -> Path:
    base = os.environ.get("BELTSIGHT_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "beltsight"
    )
    return Path(base) / "tuned"


def save_tuning(tuning: Tuning) -> Path:
    """Store a choice, whole or not at all.

    Raises:
        BeltsightError: the folder cannot be written.
    """
    path = store_path(tuning.model_sha256, tuning.threads)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            draft.write_text(tuning.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BeltsightError(
            f"{path}: the choice cannot be stored: {error.strerror}; {_ELSEWHERE}"
        ) from error
    return path


def stored_tuning(model_hash: str, threads: int) -> Tuning | None:
    """The choice for this file on this machine, or None: never measured, or not readable."""
    path = store_path(model_hash, threads)
    try:
        with path.open("rb") as file:
            tuning = Tuning.model_validate_json(file.read(_LARGEST_STORE))
    except (OSError, ValidationError):
        return None
    same = tuning.model_sha256 == model_hash and tuning.threads == threads
    # Another version of Beltsight may have had engines that this one has not.
    known = {tuning.latency.engine, tuning.throughput.engine} <= set(ENGINES)
    return tuning if same and known and tuning.machine == machine_key() else None


def forget_tuning(model_hash: str) -> int:
    """Remove what was stored for a model file, of every machine and number of threads.

    Returns:
        How many files.

    Raises:
        BeltsightError: the folder cannot be written.
    """
    folder = _store_folder()
    try:
        names = os.listdir(folder)  # unlike a glob, it says so where it may not look
        own = [name for name in names if re.fullmatch(f"{model_hash[:32]}-.*[.]json", name)]
        for name in own:
            (folder / name).unlink(missing_ok=True)
    except FileNotFoundError:  # nothing was ever stored
        return 0
    except OSError as error:
        raise BeltsightError(
            f"{folder}: what is stored cannot be removed: {error.strerror}; check its owner and "
            f"mode, or {_ELSEWHERE}"
        ) from error
    return len(own)


def stored_choice(model_hash: str, threads: int, purpose: Purpose) -> Choice | None:
    """The engine for this file on this machine, and its batch, where they were measured.

    Args:
        model_hash: of the model file.
        threads: as asked for; 0 means one per core.
        purpose: the least latency of one photo, or the most photos per second.
    """
    if not os.path.isdir(_store_folder()):  # also where it may not be looked at
        return None
    tuning = stored_tuning(model_hash, threads or usable_cores())
    if tuning is None:
        return None
    return tuning.latency if purpose == "latency" else tuning.throughput
