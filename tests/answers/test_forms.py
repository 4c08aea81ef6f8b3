from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from beltsight.answers import (
    AnswerFile,
    Form,
    answer_columns,
    flat_row,
    form_of,
    json_line,
)
from beltsight.config import ASSETS
from beltsight.errors import ConfigError, MissingExtraError
from beltsight.records import Answer, Decision, Prediction, TaskSpec, prediction_record

TASKS = (TaskSpec("material", ("glass", "metal")), TaskSpec("contamination", ("clean", "dirty")))
HEADING = [
    "path",
    "tasks.material.label", "tasks.material.confidence",
    "tasks.material.probabilities.glass", "tasks.material.probabilities.metal",
    "tasks.contamination.label", "tasks.contamination.confidence",
    "tasks.contamination.probabilities.clean", "tasks.contamination.probabilities.dirty",
    "abstain", "why", "novel", "novelty", "route", "reason", "policy", "model", "engine", "error",
]  # fmt: skip
NAMES = ["a.jpg", 'b, "c".jpg', "line\nend\r.jpg", os.fsdecode(b"caf\xe9.jpg"), "=1+1.jpg"]


def records() -> list[dict[str, Any]]:
    made = []
    for number, name in enumerate(NAMES):
        if number == 1:
            answer = Prediction(name, engine="tiny", error=f"{name}: empty")
            made.append(prediction_record(answer, ("material",), None, "cafe"))
            continue
        table = {"glass": 0.25, "metal": 0.75}
        answer = Prediction(
            name,
            {"material": Answer("metal", 0.75, table)},
            abstain=True,
            why="unsure",
            novel=False,
            novelty=1.5,
            engine="tiny",
        )
        decision = Decision(answer, "scrap", "confident", "site@1", "cafe")
        made.append(prediction_record(answer, ("material",), decision, "cafe"))
    return made


def written(out: Path) -> Path:
    form = form_of(out, answer_columns(TASKS))
    with AnswerFile.begin(out, form, {"model": "cafe", "engine": "tiny"}) as file:
        for record in records():
            file.add(record["path"], record)
        file.finish()
    return out


def test_columns_are_named_by_their_place_in_the_json() -> None:
    columns = answer_columns(TASKS)
    assert [column.name for column in columns] == HEADING
    record = records()[0]
    row = dict(zip(HEADING, flat_row(record, columns), strict=True))
    assert row["tasks.material.probabilities.metal"] == 0.75
    assert row["tasks.contamination.label"] is None
    assert (row["route"], row["engine"], row["model"]) == ("scrap", "tiny", "cafe")
    schema = json.loads((ASSETS / "schemas" / "prediction.schema.json").read_text())
    beyond = {name.partition(".")[0] for name in HEADING} ^ set(schema["required"])
    assert beyond == set()


def test_records_follow_the_schema() -> None:
    schema = json.loads((ASSETS / "schemas" / "prediction.schema.json").read_text())
    for prediction in (Prediction("a.jpg"), Prediction(None, error="x", engine="e")):
        record = prediction_record(prediction, ("material", "contamination", "dirt"))
        jsonschema.Draft202012Validator(schema).validate(record)
    assert list(prediction_record(Prediction("a"), ())) == schema["required"]


def test_json_lines_are_read_back_as_they_were(tmp_path: Path) -> None:
    out = written(tmp_path / "a.jsonl")
    assert [json.loads(line) for line in out.read_bytes().splitlines()] == records()
    assert json_line(records()[0]) + b"\n" == out.read_bytes().splitlines(keepends=True)[0]


def test_csv_is_read_back_by_another_reader(tmp_path: Path) -> None:
    out = written(tmp_path / "a.csv")
    with out.open(encoding="utf-8", newline="") as file:
        heading, *rows = list(csv.reader(file))
    assert heading == HEADING
    table = [dict(zip(heading, row, strict=True)) for row in rows]
    assert [row["path"] for row in table] == [
        "a.jpg", 'b, "c".jpg', "line\nend\r.jpg", r"caf\udce9.jpg", "=1+1.jpg"
    ]  # fmt: skip
    assert table[0]["abstain"] == "true" and table[0]["novel"] == "false"
    assert float(table[0]["tasks.material.confidence"]) == 0.75
    assert table[1]["tasks.material.label"] == table[1]["abstain"] == table[0]["error"] == ""
    assert table[1]["error"].endswith("empty")


def test_parquet_is_typed_and_says_what_made_it(tmp_path: Path) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(written(tmp_path / "deep" / "a.parquet"))
    assert table.column_names == HEADING
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["tasks.material.confidence"] == "double"
    assert kinds["abstain"] == "bool"
    assert kinds["path"] == kinds["error"] == "string"
    assert table.schema.metadata[b"beltsight.model"] == b"cafe"
    rows = table.to_pylist()
    assert [row["path"] for row in rows][3] == r"caf\udce9.jpg"
    assert rows[0]["tasks.material.probabilities.glass"] == 0.25
    assert rows[1]["tasks.material.label"] is None
    assert rows[1]["error"].endswith("empty")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.parquet"]


def test_parquet_of_more_than_one_group_and_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("beltsight.answers.forms._GROUP_ROWS", 2)
    out = written(tmp_path / "a.parquet")
    assert parquet.ParquetFile(out).metadata.num_row_groups == 3
    assert parquet.read_table(out).num_rows == 5
    empty = tmp_path / "e.parquet"
    with AnswerFile.begin(empty, form_of(empty, answer_columns(TASKS)), {}) as file:
        file.finish()
    assert parquet.read_table(empty).column_names == HEADING


def test_the_suffix_decides_and_others_are_refused() -> None:
    forms: list[Form] = [form_of(Path(name), ()) for name in ("a.JSONL", "b.csv")]
    assert [form.name for form in forms] == ["jsonl", "csv"]
    for name in ("a.json", "a", "a.xlsx", ".csv"):
        with pytest.raises(ConfigError, match=r"\.jsonl, \.csv, \.parquet"):
            form_of(Path(name), ())


def test_parquet_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"'beltsight\[archive\]'"):
        form_of(Path("a.parquet"), ())
