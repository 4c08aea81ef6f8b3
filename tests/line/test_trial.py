"""The simulated belt with real links, and the PLCs of ``examples/`` behind them (docs/line.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cli.program import beltsight
from tests.line.actuators.peers import broker, free_port

pytest.importorskip("asyncua", reason="the extra 'industrial' is not installed")

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# A slow belt and few frames: at more, a busy machine has no time left for the links.
SHORT = (
    "--set", "simulation.length_m=6", "--set", "simulation.belt.loop_m=3",
    "--set", "simulation.lead_in_mm=2500", "--set", "simulation.items.rate_per_s=3",
    "--set", "simulation.speed_mm_s=1000", "--set", "simulation.frames_per_s=12",
    "--set", "model.threads=1",
)  # fmt: skip


@contextmanager
def plc(program: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLES / program), *options], text=True, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout and process.stdout.readline() == "the PLC waits for the line\n"
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout and not process.stdout.closed:
            process.stdout.close()


def simulate(link: str) -> dict[str, Any]:
    """Run a line over a link; what it says of itself, with what the PLC did."""
    found: dict[str, Any] = {}
    for seconds in (10, 60):  # a machine with other work connects too late for the first
        done = beltsight(
            "line", "simulate", "--real-time", "--seconds", seconds, *SHORT,
            "--set", f"links=[{link}]", "--json",
        )  # fmt: skip
        assert done.status == 0, done.err
        found = json.loads(done.out)
        if found["commands"].get("sent"):
            break
    return found


def check(found: dict[str, Any], process: subprocess.Popen[str]) -> None:
    process.kill()
    assert process.stdout
    said = process.stdout.read().splitlines()
    sent = found["commands"].get("sent", 0)
    assert sent > 0, (found["commands"], found["links"], said[-5:])
    print(found["commands"], said[:3])
    # The example's counter is that of the beats: some commands may have passed by it.
    opened = [line for line in said if " opens " in line]
    assert opened or found["commands"].get("peer: late"), found["commands"]
    assert found["score"]["all"]["as_decided"]["of"] == 0  # nobody saw where items fell


def test_a_broker_and_a_plc_behind_it(tmp_path: Path) -> None:
    with broker(tmp_path) as made, plc("plc_mqtt.py", str(made.port)) as process:
        found = simulate(f'{{kind="mqtt", name="plc", broker={{port={made.port}}}}}')
        check(found, process)


def test_a_plc_that_reads_the_lines_server() -> None:
    port = free_port()
    where = f"opc.tcp://127.0.0.1:{port}/beltsight/"
    with plc("plc_opcua.py", where) as process:
        found = simulate(f'{{kind="opcua-server", name="plc", port={port}}}')
        check(found, process)


def test_a_real_link_needs_real_time() -> None:
    done = beltsight("line", "simulate", "--seconds", 1, *SHORT, "--set",
                     'links=[{kind="mqtt", name="plc"}]')  # fmt: skip
    assert done.status == 2 and "add --real-time" in done.err
