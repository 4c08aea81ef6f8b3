from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from tests.cli.program import beltsight
from tests.store.making import KEY, NOON, command, decision, event, tampering
from tests.tiny import CLASSES, tiny_card, write_tiny

from beltsight.model import DEFAULT_MODEL, Model
from beltsight.store import Chain, HeadFile, open_log, open_store

SHIFTS = """
time_zone = "UTC"
ideal_items_s = 1
[[shifts]]
name = "noon"
start = "12:00"
end = "13:00"
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_bytes(KEY)
    return file


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "log.db"
    with open_store(path, "north", KEY, publish=HeadFile(tmp_path / "heads")) as opened:
        opened.append([event(0)])
        for item in range(1, 31):
            opened.append([decision(item), command(item, outcome="late" if item == 3 else "sent")])
        opened.append([event(60, "line-down", text="\x1b[31mend", severity="warning")])
    return path


def test_show_prints_the_newest_rows(store: Path) -> None:
    found = beltsight("log", "show", store, "--rows", 3)
    assert found.status == 0
    assert "glass 75.0% -> glass (confident)" in found.out
    assert "jet sent" in found.out
    assert "warning line-down" in found.out
    assert "\x1b" not in found.out
    rows = beltsight("log", "show", store, "--json", "--kind", "decision", "--rows", 2).lines
    assert [(row["sequence"], row["item_id"]) for row in rows] == [(58, 29), (60, 30)]
    spanned = beltsight(
        "log", "show", store, "--json", "--from", "2026-11-21T12:00:05",
        "--until", "2026-11-21T13:00:06+01:00", "--kind", "decision",
    )  # fmt: skip
    assert [row["item_id"] for row in spanned.lines] == [5]


def test_verify_says_what_it_proves(store: Path, key: Path, tmp_path: Path) -> None:
    found = beltsight("log", "verify", store, "--key", key, "--heads", tmp_path / "heads")
    assert (found.status, found.err) == (0, "")
    assert "62 rows are as written" in found.out
    assert "no row up to it is missing" in found.out
    record = beltsight("log", "verify", store, "--key", key, "--json").json
    assert (record["ok"], record["rows"], record["bad"]) == (True, 62, None)
    assert "any number of rows could be cut off" in record["statements"][1]


def test_verify_fails_on_a_bad_row(store: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = sqlite3.connect(store)
    connection.execute("DROP TRIGGER log_no_update")
    connection.execute("UPDATE log SET body=replace(body, 'glass', 'metal') WHERE sequence=8")
    connection.commit()
    connection.close()
    monkeypatch.setenv("BELTSIGHT_LOG_KEY", KEY.decode())
    found = beltsight("log", "verify", store)
    assert found.status == 1
    assert "row 8 was changed; 7 rows before are as written" in found.out
    record = beltsight("log", "verify", store, "--json", "--key", key).json
    assert (record["ok"], record["bad"]["sequence"], record["bad"]["damage"]) == (
        False, 8, "changed",
    )  # fmt: skip


def test_verify_takes_the_key_whatever_the_table_says(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who lacks the key writes all anew without one, and says that there never was one."""
    reader = open_log(store)
    chain, before = Chain("north", reader.chain_id), bytes(32)
    with tampering(store) as connection:
        connection.execute("UPDATE lines SET keyed=0, key_check=?", (bytes(8),))
        for row in reader.rows():
            body = row.body.replace("line-up", "line-un")
            before = chain.mac(row.sequence, before, body.encode())
            connection.execute(
                "UPDATE log SET body=?, mac=?, code=replace(code, 'line-up', 'line-un') "
                "WHERE sequence=?", (body, before, row.sequence),
            )  # fmt: skip
    monkeypatch.delenv("BELTSIGHT_LOG_KEY", raising=False)
    assert "The chain has no key" in beltsight("log", "verify", store).out
    monkeypatch.setenv("BELTSIGHT_LOG_KEY", KEY.decode())
    found = beltsight("log", "verify", store)
    assert found.status == 1
    assert "was not written with this key" in found.err


def test_verify_of_a_log_without_a_key_says_to_leave_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(tmp_path / "a.db", "north", None) as opened:
        opened.append([event(0)])
    monkeypatch.setenv("BELTSIGHT_LOG_KEY", KEY.decode())
    found = beltsight("log", "verify", tmp_path / "a.db")
    assert found.status == 1
    assert "unset BELTSIGHT_LOG_KEY" in found.err
    monkeypatch.delenv("BELTSIGHT_LOG_KEY")
    assert beltsight("log", "verify", tmp_path / "a.db").status == 0


def test_verify_without_the_key_asks_for_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BELTSIGHT_LOG_KEY", raising=False)
    found = beltsight("log", "verify", store)
    assert found.status == 1
    assert "BELTSIGHT_LOG_KEY" in found.err


def test_export_writes_a_file(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    found = beltsight("log", "export", store, "--out", out, "--kind", "command", "--json")
    assert found.json == {"line": "north", "rows": 30, "out": str(out)}
    assert len(out.read_text(encoding="utf-8").splitlines()) == 30
    without = beltsight("log", "export", store)
    assert (without.status, "--out" in without.err) == (2, True)


@pytest.mark.parametrize(
    ("action", "option"),
    [
        ("verify", ("--from", "2026-11-21")),
        ("verify", ("--kind", "event")),
        ("show", ("--out", "a.csv")),
        ("export", ("--rows", "3")),
        ("report", ("--key", "key")),
    ],
)
def test_an_option_of_another_command_is_refused(
    store: Path, action: str, option: tuple[str, ...]
) -> None:
    """Ignored, it would let a user believe that it restricts what is verified."""
    found = beltsight("log", action, store, *option)
    assert (found.status, f"No such option: {option[0]}" in found.err) == (2, True)


@pytest.fixture
def shifts(tmp_path: Path) -> Path:
    file = tmp_path / "shifts.toml"
    file.write_text(SHIFTS, encoding="utf-8")
    return file


def test_report_prints_figures(store: Path, shifts: Path) -> None:
    found = beltsight("log", "report", store, "--shifts", shifts)
    assert found.status == 0
    assert "30 items" in found.out
    assert "UNCORRECTED" in found.out
    assert "its card was not given" in found.out
    assert "Late: 1 of 30 items, 3.3 % (0.6 to 16.7)" in found.out
    assert "Not sent: 0 of 30 items" in found.out and "Not sent" in found.out.split("Shifts")[1]
    record = beltsight(
        "log", "report", store, "--shifts", shifts, "--json", "--bucket", 10,
        "--until", "2026-11-21T14:00:00",  # or every noon until today is a shift, too
    ).json  # fmt: skip
    assert [bucket["items"] for bucket in record["throughput"]] == [9, 10, 10, 1]
    assert record["routes"]["glass"]["items"] == 30
    (shift,) = record["shifts"]
    assert (shift["items"], shift["late"], shift["day"]) == (30, 1, "2026-11-21")
    assert shift["availability"] == pytest.approx(60 / 3600)
    assert shift["performance"] == pytest.approx(0.5)
    assert shift["oee"] == pytest.approx(60 / 3600 * 0.5 * 29 / 30)


def test_report_says_that_a_clock_was_simulated(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with open_store(path, "north") as opened:
        for run, real_time in enumerate((False, True)):
            at_s = 100.0 * run
            of_run = {"run_id": f"run-{run}"}
            opened.append([event(at_s, data={"real_time": real_time}, **of_run)])
            opened.append([decision(run + 1, wall_s=NOON + at_s + 1, **of_run)])
            opened.append([event(at_s + 50, "line-down", **of_run)])
    found = beltsight("log", "report", path)
    assert found.status == 0 and "In 1 of 2 runs the clock was simulated" in found.out
    for start, simulated in (("12:00:30", 1), ("12:01:00", 0)):
        later = beltsight("log", "report", path, "--json", "--from", f"2026-11-21T{start}")
        assert later.json["simulated_runs"] == simulated
    real = beltsight("log", "report", path, "--from", "2026-11-21T12:01")
    assert (real.status, "simulated" in real.out) == (0, False)


def test_report_is_corrected_by_the_model_s_card(tmp_path: Path) -> None:
    size = len(CLASSES)
    confusion = [[18 if i == j else 1 for j in range(size)] for i in range(size)]
    task = {"confusion": confusion, "classes": list(CLASSES)}
    card = tiny_card().model_copy(
        update={"metrics": {"split": "test", "n": 1, "tasks": {"material": task}}}
    )
    file = write_tiny(tmp_path / "tiny.onnx", card=card)
    model = Model.load(file, verify=False)
    path = tmp_path / "log.db"
    with open_store(path, "north") as opened:
        for item in range(40):
            label = CLASSES[item % 2]
            opened.append([decision(item, model_hash=model.hash, label=label, route=label)])
    found = beltsight("log", "report", path, "--model", file, "--json")
    assert found.status == 0, found.err
    assert found.json["corrected"]
    assert found.json["notes"] == []
    shares = {name: share["share"] for name, share in found.json["composition"].items()}
    assert shares.keys() == set(CLASSES)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share == pytest.approx(0, abs=0.01) for share in list(shares.values())[2:])
    packaged = beltsight("log", "report", path, "--model", file, "--policy", "default")
    assert "no rule decides material blue" in packaged.err  # it was found
    lone = beltsight("log", "report", path, "--policy", tmp_path / "p.toml")
    assert (lone.status, "--model" in lone.err) == (2, True)


def test_report_of_shifts_with_few_items_of_the_packaged_model(
    tmp_path: Path, shifts: Path
) -> None:
    path, hashed = tmp_path / "log.db", Model.load(DEFAULT_MODEL, verify=False).hash
    with open_store(path, "north") as opened:
        for item, label in enumerate(("glass", "glass", "glass", "metal")):
            opened.append([decision(item, model_hash=hashed, label=label, route=label)])
    found = beltsight(
        "log", "report", path, "--model", "default", "--shifts", shifts, "--json",
        "--until", "2026-11-21T14:00:00",
    )  # fmt: skip
    assert found.status == 0, found.err
    (shift,) = found.json["shifts"]
    assert (shift["items"], shift["corrected"], shift["quality"] > 0.5) == (4, True, True)


@pytest.mark.parametrize("length", ["inf", "nan", "1e300", "0", "-1"])
def test_report_refuses_pieces_that_are_no_time(store: Path, length: str) -> None:
    found = beltsight("log", "report", store, "--bucket", length)
    assert (found.status, "bucket" in found.err or "pieces" in found.err) == (2, True)


def test_report_says_that_a_row_is_damaged(store: Path) -> None:
    with tampering(store) as connection:
        connection.execute("UPDATE log SET body=CAST(x'7b22ff227d' AS TEXT) WHERE sequence=1")
    found = beltsight("log", "report", store)
    assert found.status == 1
    assert "a row of the log is damaged; see 'beltsight log verify'" in found.err


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--from", "yesterday"), 2, "--from: expected a time"),
        (("--until", "9999999-01-01"), 2, "--until: expected a time"),
        (("--line", "south"), 1, "no line 'south'; there are: north"),
    ],
)
def test_wrong_use_is_said(store: Path, arguments: tuple[str, ...], status: int, said: str) -> None:
    found = beltsight("log", "show", store, *arguments)
    assert found.status == status
    assert said in found.err


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    found = beltsight("log", "show", tmp_path / "none.db")
    assert found.status == 1
    assert json.dumps("no such file")[1:-1] in found.err and "store.url" in found.err
    assert not (tmp_path / "none.db").exists()
