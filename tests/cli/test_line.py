"""``beltsight line`` as a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.cli.program import beltsight, spawn
from tests.line.actuators.peers import free_port
from tests.line.whole import wait

from beltsight.config import ASSETS
from beltsight.errors import StoreError
from beltsight.store import LINE_DOWN, EventRow, open_log, parse_row, verify

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


@pytest.mark.parametrize("pair", ["name", "=north"])
def test_a_setting_without_key_or_value_is_refused(pair: str) -> None:
    done = beltsight("line", "simulate", "--seconds", 1, "--set", pair)
    assert (done.status, f"expected KEY=VALUE, got '{pair}'" in done.err) == (2, True)


@pytest.mark.parametrize("command", [("line", "simulate"), ("soil", "items", "--out", "soiled")])
def test_a_split_that_there_is_not_is_a_wrong_command_line(command: tuple[str, ...]) -> None:
    done = beltsight(*command, "--split", "tset")
    assert (done.status, "'tset' is not one of" in done.err) == (2, True)


def test_a_split_that_the_photos_lack_is_named(tmp_path: Path) -> None:
    for name in ("glass", "metal"):
        (tmp_path / name).mkdir()
        shutil.copy(next((ASSETS / "demo" / name).glob("*.jpg")), tmp_path / name)
    for command in (
        ("line", "simulate", "--photos", tmp_path), ("soil", tmp_path, "--out", tmp_path / "new")
    ):  # fmt: skip
        done = beltsight(*command, "--split", "val")
        assert (done.status, "no photo is in split 'val'" in done.err) == (1, True)


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


def test_check_says_that_a_camera_needs_a_real_link(tmp_path: Path) -> None:
    file = copy_of_the_packaged_line(tmp_path, **{'source = "simulation"': 'source = "camera"'})
    with file.open("a", encoding="utf-8") as text:
        text.write('\n[camera]\nsource = "nowhere"\n')
    done = beltsight("line", "check", file, "--json")
    [link] = [one for one in json.loads(done.out) if one["what"].startswith("link")]
    assert (link["result"], "name your PLC's kind" in link["text"]) == ("wrong", True)


def test_check_names_rules_that_the_model_leaves_no_case(tmp_path: Path) -> None:
    file = copy_of_the_packaged_line(tmp_path)
    policy = tmp_path / "policy.toml"
    text = policy.read_text(encoding="utf-8")
    again = text[text.index("[[rules]]") :].split("[[rules]]")[1]
    policy.write_text(f"{text}\n[[rules]]{again}", encoding="utf-8")
    done = beltsight("line", "check", file, "--json")
    [found] = [one for one in json.loads(done.out) if one["what"] == "policy"]
    last = text.count("[[rules]]") + 1
    assert found["result"] == "warning"
    assert f"no case is left for rule {last}: the model tells cardboard, glass" in found["text"]


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


def line_of_a_folder(folder: Path, counts: Sequence[int | None], pace: str = "source") -> Path:
    """The packaged line with frames from a folder, one per count, and a PLC that does not answer.

    It is known by the log, so it needs no peer.
    """
    pytest.importorskip("pymodbus", reason="the extra 'industrial' is not installed")
    frames = folder / "frames"
    frames.mkdir()
    grain = np.random.default_rng(0).integers(30, 40, (90, 160, 3)).astype(np.uint8)
    cv2.imwrite(str(frames / "0000.png"), grain)
    for number in range(1, len(counts)):
        (frames / f"{number:04}.png").hardlink_to(frames / "0000.png")
    rows = [f"{n:04}.png,{'' if count is None else count}" for n, count in enumerate(counts)]
    (frames / "encoder.csv").write_text("\n".join(["file,count", *rows]), encoding="utf-8")
    camera = f'[camera]\nsource = "{frames}"\nframes_per_s = 10\npace = "{pace}"\n\n'
    numbers = "actuators = { paper = 1, plastic = 2, glass = 3, metal = 4 }"
    return copy_of_the_packaged_line(folder, **{
        'source = "simulation"': 'source = "camera"',
        "width_px = 1280": "width_px = 160",
        "height_px = 720": "height_px = 90",
        'kind = "simulated"': f'kind = "modbus"\nport = {free_port()}\n{numbers}',
        "[store]": f"{camera}[store]",
    })  # fmt: skip


def events(folder: Path) -> list[str]:
    """What the log tells by now; nothing before it is there."""
    with suppress(StoreError), closing(open_log(str(folder / "line.db"), "demo")) as log:
        rows = [parse_row(one.body.encode()) for one in log.rows()]
        return [row.event for row in rows if isinstance(row, EventRow)]
    return []


def closed_and_whole(folder: Path) -> bool:
    """Whether the line has ended as it should, and nobody has changed its log."""
    with closing(open_log(str(folder / "line.db"), "demo")) as log:
        return verify(log).ok and events(folder)[-1] == LINE_DOWN


def test_a_line_runs_to_the_end_of_its_folder(tmp_path: Path) -> None:
    done = spawn("line", "run", line_of_a_folder(tmp_path, [None] * 10, "fast"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["frames"], found["camera"]["delivered"], found["state"]) == (10, 10, "stopped")
    assert closed_and_whole(tmp_path)


def test_a_line_stops_after_so_many_seconds_and_says_what_goes_nowhere(tmp_path: Path) -> None:
    line = line_of_a_folder(tmp_path, [None] * 200)
    text = line.read_text(encoding="utf-8").replace('"residual", "hand-sort"', '"hand-sort"')
    line.write_text(text, encoding="utf-8")
    done = spawn("line", "run", line, "--seconds", 0.3)
    assert done.returncode == 0, done.stderr
    assert "no actuator serves residual" in done.stderr
    assert int(done.stdout.split(" items decided from ")[1].split(" frames")[0]) < 200
    assert closed_and_whole(tmp_path)


@contextmanager
def running_line(file: Path) -> Iterator[subprocess.Popen[str]]:
    # A shell that starts the tests in the background lets its children ignore Ctrl-C.
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from beltsight.cli.app import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "line", "run", str(file)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_line_that_waits_for_somebody_is_reset_by_its_signal_and_stopped_by_ctrl_c(
    tmp_path: Path,
) -> None:
    # The belt stands; its counter is set anew once, and ten minutes of frames follow.
    file = line_of_a_folder(tmp_path, [0] * 3 + [10**9] * 6000)
    with file.open("a", encoding="utf-8") as text:  # the PLC that is not there is another matter
        text.write('\n[link_times]\nsafe = "stated"\n')
    with running_line(file) as process:
        wait((tmp_path / "line.db").exists)
        wait(lambda: "state-safe" in events(tmp_path))
        before = len(events(tmp_path))
        process.send_signal(signal.SIGUSR1)
        wait(lambda: "state-running" in events(tmp_path)[before:])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopping; items on their way are decided first" in err
    assert " items decided from " in out
    assert closed_and_whole(tmp_path)


def test_a_service_manager_stops_a_line_as_ctrl_c_does(tmp_path: Path) -> None:
    with running_line(line_of_a_folder(tmp_path, [None] * 6000)) as process:
        wait(lambda: any(name.startswith("state-") for name in events(tmp_path)))
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "stopping; items on their way are decided first" in err
    assert closed_and_whole(tmp_path)
