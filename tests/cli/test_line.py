"""``beltsight line`` as a process of its own."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from tests.cli.program import beltsight

from beltsight.config import ASSETS
from beltsight.store import LINE_DOWN, EventRow, open_log, parse_row

SHORT = (
    "--set", "simulation.length_m=4", "--set", "simulation.belt.loop_m=2",
    "--set", "simulation.lead_in_mm=600", "--set", "simulation.items.rate_per_s=8",
)  # fmt: skip


def test_simulate_tells_how_well_it_did(tmp_path: Path) -> None:
    video = tmp_path / "belt.avi"
    crops = tmp_path / "crops"
    done = beltsight(
        "line", "simulate", "--seconds", 1.5, *SHORT, "--video", video, "--crops", crops, "--json"
    )
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert found["line"] == "demo" and found["items"] > 0 and found["late"] == 0
    assert found["score"]["all"]["found"]["of"] > 0
    assert video.stat().st_size > 10_000
    rows = (crops / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert rows and len(rows) == len(list((crops / "crops").glob("*.jpg")))


def copy_of_the_packaged_line(folder: Path, **changes: str) -> Path:
    for name in ("line.toml", "policy.toml"):
        text = (ASSETS / "line" / name).read_text(encoding="utf-8")
        for old, new in changes.items():
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "line.toml"


def test_check_says_what_it_looked_at(tmp_path: Path) -> None:
    # A slow belt, so that a busy machine has the time that answers take here.
    slow = {"speed_mm_s = 2500": "speed_mm_s = 250"}
    done = beltsight("line", "check", copy_of_the_packaged_line(tmp_path, **slow))
    assert done.status == 0, done.out
    for what in ("model: trashnet-mobilenetv2", "policy: demo-line", "routes", "timing", "log"):
        assert what in done.out
    assert "warning  link plc: simulated: nothing moves" in done.out


def test_check_fails_where_something_is_wrong(tmp_path: Path) -> None:
    file = copy_of_the_packaged_line(tmp_path, **{"distance_mm = 600": "distance_mm = 210"})
    done = beltsight("line", "check", file, "--json")
    assert done.status == 1
    wrong = [one for one in json.loads(done.out) if one["result"] == "wrong"]
    assert [one["what"] for one in wrong] == ["timing"]
    assert "lower views.last_by_mm" in wrong[0]["text"]


def test_check_says_how_a_key_is_made(tmp_path: Path) -> None:
    with_key = {'url = "line.db"': 'url = "line.db"\nkey_file = "the key"'}
    done = beltsight("line", "check", copy_of_the_packaged_line(tmp_path, **with_key), "--json")
    [log] = [one for one in json.loads(done.out) if one["what"] == "log"]
    key = f"'{tmp_path / 'the key'}'"
    assert log["result"] == "wrong"
    assert f"openssl rand -hex 32 > {key}; chmod 400 {key}" in log["text"]


def test_simulate_says_which_items_are_scored(tmp_path: Path) -> None:
    done = beltsight("line", "simulate", "--seconds", 1.0, *SHORT, "--quiet")
    assert done.status == 0, done.err
    decided = int(done.out.split(" items decided")[0])
    scored = int(done.out.split("scored: the ")[1].split(" items")[0])
    assert 0 < scored < decided
    short = beltsight("line", "simulate", "--seconds", 0.2, *SHORT, "--quiet")
    assert "no item had passed the last actuator at the end: run longer" in short.out


def test_a_line_whose_metrics_have_no_port_is_closed(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="the extra 'industrial' is not installed")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port, log = taken.getsockname()[1], tmp_path / "line.db"
        done = beltsight(
            "line", "simulate", "--seconds", 0.2, *SHORT, "--quiet",
            "--set", f"metrics.port={port}", "--set", f"store.url={log}",
        )  # fmt: skip
    assert done.status == 1 and str(port) in done.err
    rows = [parse_row(one.body.encode()) for one in open_log(str(log), "demo").rows()]
    assert [row.event for row in rows if isinstance(row, EventRow)][-1] == LINE_DOWN


def test_a_wrong_file_is_said_with_the_key(tmp_path: Path) -> None:
    file = copy_of_the_packaged_line(tmp_path, **{"mm_per_count": "mm_per_counts"})
    done = beltsight("line", "run", file)
    assert done.status == 2 and "mm_per_count" in done.err
    file = copy_of_the_packaged_line(tmp_path, **{'routes = "paper"': 'routes = "papers"'})
    done = beltsight("line", "check", file)
    assert done.status == 1 and "no route 'papers'" in done.out
    done = beltsight("line", "run", copy_of_the_packaged_line(tmp_path))
    assert done.status == 2 and "beltsight line simulate" in done.err
