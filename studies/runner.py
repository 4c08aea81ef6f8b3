"""What all studies share: where data lies, and the ledger of looks at test splits.

Decisions are taken on validation. A study that measures on a test split does so through
:func:`look_at_test`, which writes the look down, so that a reader can count them.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
from pathlib import Path
from typing import Any

import beltsight

REPOSITORY = Path(__file__).resolve().parents[1]
LOOKS = REPOSITORY / "studies" / "test_looks.csv"
_COLUMNS = ("date", "model_sha256", "data", "n", "figure")


def data_folder(name: str) -> Path:
    """A folder of measuring data: ``$BELTSIGHT_DATA/name``, by default ``../shared/data/name``."""
    base = Path(os.environ.get("BELTSIGHT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (base / name).is_dir():
        raise SystemExit(
            f"{base / name} is missing; set BELTSIGHT_DATA to the folder that holds it"
        )
    return base / name


def look_at_test(
    model: str | Path, data: str | Path, *, task: str = "material", looks: Path = LOOKS
) -> beltsight.Evaluation:
    """Measure on the test split and write the look into the ledger before its figure is seen.

    Args:
        model: a model file.
        data: a data set with a test split.
        task: whose accuracy is the figure.
        looks: the ledger.
    """
    evaluation = beltsight.evaluate(model, data, "test")
    figures = evaluation.to_record()["tasks"][task]
    figure = f"{task} accuracy {figures['accuracy']:.4f}"
    note_look(evaluation.model_hash, Path(data).resolve().name, figures["n"], figure, looks=looks)
    return evaluation


def note_look(digest: str, data: str, n: int, figure: str, *, looks: Path = LOOKS) -> None:
    """Write one look at a test split into the ledger.

    Args:
        digest: SHA-256 of the model file, or of the settings where there is no file.
        data: the data set's name.
        n: photos looked at.
        figure: what was seen.
        looks: the ledger.
    """
    is_new = not looks.exists()
    with looks.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(_COLUMNS)
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        writer.writerow([today, digest, data, n, figure])


def write_json(path: Path, value: Any) -> None:
    """A result as small, readable JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options of every study."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, help="working folder (default: runs/STUDY)")
    return parser
