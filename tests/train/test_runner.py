"""The studies' common runner: no look at a test split without a line in the ledger."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from studies.runner import LOOKS, look_at_test
from tests.train.photosets import write_photoset

from beltsight.errors import SplitError
from beltsight.model import Model
from beltsight.train.run import Run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_look_is_a_line(finished_run: Run, tmp_path: Path) -> None:
    data = write_photoset(tmp_path / "fresh", seed=7)
    splits = data / "splits.csv"
    text = splits.read_text(encoding="utf-8")
    splits.write_text(text.replace("train", "test").replace("val", "test"), encoding="utf-8")
    looks = tmp_path / "looks.csv"
    for _ in range(2):
        evaluation = look_at_test(finished_run.model, data, looks=looks)
    first, second = rows(looks)
    assert first == second
    assert first["model_sha256"] == Model.load(finished_run.model).hash
    assert (first["data"], first["n"]) == ("fresh", "72")
    accuracy = evaluation.to_record()["tasks"]["material"]["accuracy"]
    assert first["figure"] == f"material accuracy {accuracy:.4f}"


def test_a_split_that_the_model_knows_is_no_test(
    finished_run: Run, photoset: Path, tmp_path: Path
) -> None:
    with pytest.raises(SplitError):
        look_at_test(finished_run.model, photoset, looks=tmp_path / "looks.csv")
    assert not (tmp_path / "looks.csv").exists()


def test_the_committed_ledger_is_readable() -> None:
    assert list(rows(LOOKS)[0]) == ["date", "model_sha256", "data", "n", "figure"]
    assert all(len(row["model_sha256"]) == 64 for row in rows(LOOKS))
