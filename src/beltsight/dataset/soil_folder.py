"""The folder that ``beltsight soil`` writes: whole, or begun and gone on with.

While photos are made their rows are kept one by one; ``labels.csv`` comes last, so that a folder
with it is complete.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from beltsight.errors import DatasetError
from beltsight.files import DRAFT_SUFFIX, whole

LABELS_FILE = "labels.csv"
_PLAN_FILE, _ROWS_FILE = "soil.json", "rows.part.jsonl"


def check_folder(out: Path) -> None:
    """Before anything is read.

    Raises:
        DatasetError: it holds a finished data set or other files.
    """
    if (out / LABELS_FILE).exists():
        raise DatasetError(f"{out} holds a data set already; choose another --out")
    if not (out / _PLAN_FILE).exists() and out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is not empty; choose another --out")


def begin(out: Path, digest: str) -> None:
    """Make the folder, or go on in it.

    Raises:
        DatasetError: it holds other work.
    """
    plan = out / _PLAN_FILE
    if plan.exists():
        if json.loads(plan.read_text(encoding="utf-8")).get("digest") != digest:
            raise DatasetError(
                f"{out}: work with other photos, settings or another version was begun here; "
                "choose another --out, or remove the folder"
            )
        with suppress(OSError):
            for draft in out.rglob(f".*{DRAFT_SUFFIX}"):  # of a call that was killed
                draft.unlink(missing_ok=True)
        return
    write_file(plan, json.dumps({"digest": digest, "simulated": True}).encode())


def kept_rows(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of photos that an interrupted call has made.

    Raises:
        DatasetError: the file that keeps them cannot be written.
    """
    rows: dict[str, dict[str, Any]] = {}
    file = out / _ROWS_FILE
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
            rows[row["path"]] = row
        except (ValueError, KeyError, TypeError):  # cut off by the interruption
            continue
    if rows:  # without the line that was cut off
        write_file(file, "".join(json.dumps(row) + "\n" for row in rows.values()).encode())
    return rows


def write_file(path: Path, content: bytes) -> None:
    """Whole or not at all.

    Raises:
        DatasetError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise _unwritable(path, error) from error


def keep_row(out: Path, row: dict[str, Any]) -> None:
    """So that an interrupted call goes on after this photo.

    Raises:
        DatasetError: it cannot be written.
    """
    path = out / _ROWS_FILE
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from error


def write_labels(out: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """``labels.csv``, by which the data set is complete.

    Raises:
        DatasetError: it cannot be written; nothing half written is left.
    """
    try:
        with (
            whole(out / LABELS_FILE) as draft,
            draft.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: str(row["path"])))
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written: {error.strerror}") from error
    (out / _ROWS_FILE).unlink(missing_ok=True)


def _unwritable(path: Path, error: OSError) -> DatasetError:
    return DatasetError(
        f"{path}: cannot be written: {error.strerror}; make room or choose another folder, and "
        "run again with the same options"
    )
