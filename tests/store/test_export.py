from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
from tests.store.making import KEY, MODEL, NOON, command, decision, event, tampering

from beltsight.errors import ConfigError, MissingExtraError, StoreError
from beltsight.store import (
    LogReader,
    Span,
    export_log,
    open_log,
    open_store,
    recent_commands,
    up_times,
)


@pytest.fixture
def reader(tmp_path: Path) -> LogReader:
    with open_store(tmp_path / "a.db", "north", KEY) as store:
        store.append([event(0, data={"a": [1]}, text='=1+1\n"x"'), decision(1), command(1)])
        other = {"material": {"paper": 1.0}, "dirt": {"none": 0.5}}
        store.append([decision(2, model_hash="cd" * 32, probabilities=other, abstained=True)])
    return open_log(tmp_path / "a.db")


def test_csv_has_a_column_per_value(reader: LogReader, tmp_path: Path) -> None:
    assert export_log(reader, tmp_path / "a.csv") == 4
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sequence"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["data"] == '{"a": [1]}'
    assert rows[0]["text"] == '=1+1\n"x"'
    assert rows[1]["probabilities.material.glass"] == "0.75"
    assert rows[1]["time"] == "2026-11-21T12:00:01.000000+00:00"
    assert rows[1]["encoder_count"] == "1000"
    assert (rows[2]["lanes"], rows[2]["outcome"], rows[2]["label"]) == ("[2, 3]", "sent", "")
    assert rows[3]["probabilities.dirt.none"] == "0.5"
    assert (rows[3]["probabilities.material.glass"], rows[3]["abstained"]) == ("", "true")
    assert len(rows[3]["mac"]) == 64
    assert None not in rows[0]
    assert sorted(path.name for path in tmp_path.iterdir() if "csv" in path.name) == ["a.csv"]


def test_parquet_is_typed(reader: LogReader, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export_log(reader, tmp_path / "a.parquet", kinds=["decision"]) == 2
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table["item_id"].to_pylist() == [1.0, 2.0]
    assert table["model_hash"].to_pylist() == [MODEL, "cd" * 32]
    assert table["probabilities.material.paper"].to_pylist() == [None, 1.0]
    assert table["touching"].to_pylist() == [False, False]
    assert table.schema.metadata[b"beltsight.line"] == b"north"


def test_json_lines_hold_rows_as_they_are(reader: LogReader, tmp_path: Path) -> None:
    span = Span(NOON + 1, NOON + 2)
    assert export_log(reader, tmp_path / "a.jsonl", span) == 2
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["decision", "command"]
    assert json.loads(lines[1])["lanes"] == [2, 3]


def test_nothing_is_overwritten_and_a_wrong_form_is_refused(
    reader: LogReader, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(StoreError, match="already there"):
        export_log(reader, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "mine"
    with pytest.raises(ConfigError, match=r"\.parquet"):
        export_log(reader, tmp_path / "a.xlsx")
    with pytest.raises(StoreError, match="cannot be written"):
        export_log(reader, tmp_path / "none" / "a.csv")
    with pytest.raises(StoreError, match="no row is a 'x'"):
        export_log(reader, tmp_path / "b.csv", kinds=["x"])
    assert not list(tmp_path.glob("*b.csv*"))


@pytest.mark.parametrize(
    "body",
    [
        "CAST(x'7b22ff227d' AS TEXT)", "x'7b7d'", "'[]'", """'{"kind":"decision"}'""",
        """'{"kind":"event"}'""", """'{"kind":["event"]}'""",
    ],
)  # fmt: skip
def test_a_damaged_row_is_said(tmp_path: Path, body: str) -> None:
    for number, kind in enumerate(("decision", "event")):
        path = tmp_path / f"{kind}.db"
        with open_store(path, "north", KEY) as store:
            store.append([event(1), decision(1)])
        with tampering(path) as connection:
            connection.execute(f"UPDATE log SET body={body} WHERE kind='{kind}'")
        with pytest.raises(StoreError, match="damaged; see 'beltsight log verify'"):
            export_log(open_log(path), tmp_path / f"{number}.csv")
    with pytest.raises(StoreError, match="damaged; see 'beltsight log verify'"):
        up_times(open_log(tmp_path / "event.db"))
    with pytest.raises(StoreError, match="damaged; see 'beltsight log verify'"):
        recent_commands(open_log(tmp_path / "decision.db"))


def test_parquet_without_pyarrow_names_the_extra(
    reader: LogReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"beltsight\[archive\]"):
        export_log(reader, tmp_path / "a.parquet")


def test_parquet_holds_counts_of_64_bits(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    count = 2**62 + 1  # no float64
    with open_store(tmp_path / "a.db", "north") as store:
        store.append([decision(1, encoder_count=count), command(1, end_count=count)])
    export_log(open_log(tmp_path / "a.db"), tmp_path / "a.parquet")
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table["encoder_count"].to_pylist()[0] == count
    assert table["end_count"].to_pylist() == [None, count]
    whole = ("sequence", "item_id", "raw_fire_count", "raw_end_count", "views")
    assert {str(table.schema.field(name).type) for name in whole} == {"int64"}
    assert str(table.schema.field("wall_s").type) == "double"
