"""The folder that ``beltsight soil`` writes: whole, or begun and gone on with.

While photos are made their rows are kept one by one; ``labels.csv`` comes last, so that a folder
with it is complete.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from beltsight.errors import DatasetError

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
        return
    write_file(plan, json.dumps({"digest": digest, "simulated": True}).encode())


def kept_rows(out: Path) -> dict[str, dict[str, Any]]:
    """Rows of photos that an interrupted call has made."""
    rows: dict[str, dict[str, Any]] = {}
    file = out / _ROWS_FILE
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
            rows[row["path"]] = row
        except (ValueError, KeyError, TypeError):  # cut off by the interruption
            continue
    if rows:  # without the line that was cut off
        file.write_text("".join(json.dumps(row) + "\n" for row in rows.values()), encoding="utf-8")
    return rows


def write_file(path: Path, content: bytes) -> None:
    """Whole or not at all.

    Raises:
        DatasetError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise DatasetError(
            f"{path}: cannot be written: {error.strerror}; make room or choose another folder, and "
            "run again with the same options"
        ) from error


def keep_row(out: Path, row: dict[str, Any]) -> None:
    """So that an interrupted call goes on after this photo."""
    with (out / _ROWS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def write_labels(out: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """``labels.csv``, by which the data set is complete.

    Raises:
        DatasetError: it cannot be written; nothing half written is left.
    """
    draft = out / f".{LABELS_FILE}.part"
    try:
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(sorted(rows, key=lambda row: str(row["path"])))
        draft.replace(out / LABELS_FILE)
    except OSError as error:
        raise DatasetError(f"{out}: cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)  # there only where something went wrong
    (out / _ROWS_FILE).unlink(missing_ok=True)
