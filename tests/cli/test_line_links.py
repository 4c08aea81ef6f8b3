"""``beltsight line`` where nobody is at the other end of its link."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from tests.cli.program import beltsight
from tests.cli.test_line import SHORT
from tests.line.actuators.peers import free_port

from beltsight.store import EventRow, open_log, parse_row


def test_a_link_that_was_never_up_is_told_at_the_end(tmp_path: Path) -> None:
    pytest.importorskip("aiomqtt", reason="the extra 'industrial' is not installed")
    url = str(tmp_path / "line.db")
    link = f'links=[{{kind="mqtt", name="plc", broker={{port={free_port()}}}}}]'
    done = beltsight(
        "line", "simulate", "--real-time", "--seconds", 2, "--json", *SHORT,
        "--set", link, "--set", f"store.url={url}",
    )  # fmt: skip
    assert done.status == 0, done.err
    [line] = [line for line in done.err.splitlines() if "link plc" in line]
    assert line.startswith("beltsight: link plc was never up: ")
    assert line.endswith("; no command left by it") and "closed" not in line
    status = json.loads(done.out)["links"]["plc"]
    assert status["state"] == "down" and status["reason"] in line
    with closing(open_log(url, "demo")) as log:
        rows = [parse_row(one.body.encode()) for one in log.rows()]
    events = [row.event for row in rows if isinstance(row, EventRow)]
    assert "state-safe" in events and "state-running" not in events
    assert events[-1] == "line-down"


def test_a_link_that_was_up_is_no_matter_at_the_end() -> None:
    done = beltsight("line", "simulate", "--seconds", 1, *SHORT, "--json")
    assert (done.status, "link plc" in done.err) == (0, False)
    assert json.loads(done.out)["links"]["plc"]["reason"] == "closed"
