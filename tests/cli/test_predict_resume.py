"""``beltsight predict --out``: killed, interrupted and resumed, as a process of its own."""

from __future__ import annotations

import csv
import itertools
import json
import os
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from tests.cli.program import beltsight
from tests.tiny import paint, write_tiny

COUNT = 400
PATIENCE_S = 60.0


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m.onnx")


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Four hundred names of three photos and a broken one."""
    folder = tmp_path / "in"
    folder.mkdir()
    kinds = []
    for number, colour in enumerate([(220, 30, 40), (30, 210, 50), (20, 40, 230)]):
        kinds.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(kinds[-1]), paint(colour, 48)[:, :, ::-1])
    kinds.append(tmp_path / "bad.png")
    kinds[-1].write_bytes(b"no photo")
    made = [folder / f"{n:04}.png" for n in range(COUNT)]
    for n, path in enumerate(made):
        os.link(kinds[3 if n % 50 == 49 else n % 3], path)
    return [str(path) for path in made]


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Children of a shell's background job would inherit that it ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def start(model: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    """``predict`` over a list that the test writes bit by bit."""
    command = [sys.executable, "-m", "beltsight", "predict", str(model), "-", "--out", str(out)]
    return subprocess.Popen(
        [*command, *more], stdin=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def feed(process: subprocess.Popen[bytes], names: list[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("".join(f"{name}\n" for name in names).encode())
    process.stdin.flush()


def wait_until(true: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end_s
        time.sleep(0.02)


def recorded(out: Path) -> int:
    """How many photos the file beside the answers calls answered."""
    state = out.with_name(f"{out.name}.unfinished")
    try:
        answered: int = json.loads(state.read_text())["answered"]
    except FileNotFoundError:
        return -1
    return answered


def rows(out: Path) -> list[dict[str, Any]]:
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_bytes().splitlines()]
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    found: list[dict[str, Any]] = parquet.read_table(out).to_pylist()
    return found


def end(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err.decode()


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_run_killed_twice_answers_each_photo_once(
    model: Path, photos: list[str], tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet")
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"killed{suffix}"
    first = start(model, out)
    feed(first, photos[:150])
    wait_until(lambda: recorded(out) >= 0, first)
    time.sleep(1.1)  # answers are brought to disk every second
    feed(first, photos[150:300])
    wait_until(lambda: recorded(out) > 0, first)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert 0 < recorded(out) <= 300
    second = start(model, out, "--resume")
    second.send_signal(signal.SIGKILL)  # before it has done anything, as likely as not
    second.wait()
    third = start(model, out, "--resume")
    status, err = end_after(third, photos)
    assert status == 1
    assert f"{COUNT} photos answered in {out}" in err
    assert f"{COUNT // 50} of {COUNT} photos could not be used; see 'error' in {out}" in err
    assert beltsight("predict", model, tmp_path / "in", "--out", whole).status == 1
    assert [row["path"] for row in rows(out)] == photos
    assert rows(out) == rows(whole)
    if suffix != ".parquet":
        assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob("killed*.*.*"))


def end_after(process: subprocess.Popen[bytes], names: list[str]) -> tuple[int, str]:
    feed(process, names)
    return end(process)


def test_an_interrupt_keeps_all_answers_and_says_how_to_go_on(
    model: Path, photos: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "a.jsonl"
    first = start(model, out, "--batch-size", "5", "--threads", "2")
    feed(first, photos[:200])
    wait_until(lambda: recorded(out) >= 0, first)
    time.sleep(1.0)
    first.send_signal(signal.SIGINT)
    status, err = end(first)
    assert status == 130
    kept = recorded(out)
    assert 0 < kept <= 200
    assert len(rows(out)) == kept
    assert err == (
        f"beltsight: interrupted; {kept} answers are kept; give the same command with --resume to "
        f"go on with {out}\n"
    )
    status, err = end_after(start(model, out, "--resume"), photos)
    assert f"{COUNT} photos answered" in err
    assert [row["path"] for row in rows(out)] == photos


def test_an_interrupt_of_lines_is_said(model: Path, photos: list[str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "beltsight", "predict", str(model), "-", "--json", "--batch-size",
         "1", "--threads", "1"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    feed(process, photos[:3])
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["path"] == photos[0]
    process.send_signal(signal.SIGINT)
    status, err = end(process)
    assert status == 130
    assert err.startswith("beltsight: interrupted; ")
    assert err.endswith("photos were answered\n")


def test_what_must_not_change_is_refused(model: Path, photos: list[str], tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    first = start(model, out, "--threads", "1", "--batch-size", "1")
    feed(first, photos[:20])
    wait_until(lambda: recorded(out) >= 0, first)
    time.sleep(1.0)
    first.send_signal(signal.SIGINT)
    assert end(first)[0] == 130
    before = out.read_bytes()
    (tmp_path / "site.toml").write_text(
        'name = "site"\nversion = "1"\nlevels = ["clean", "dirty"]\n'
        'without_contamination = "clean"\n[streams]\nall = { name = "All" }\n'
        '[[rules]]\nroute = "all"\n[costs]\nwrong = 4\nhand_sort = 1\n',
        encoding="utf-8",
    )
    policy = beltsight(
        "predict", model, *photos, "--out", out, "--resume", "--policy", tmp_path / "site.toml"
    )
    assert policy.status == 1
    assert "policy was none and is now site@1" in policy.err
    other = beltsight("predict", model, *photos[1:], "--out", out, "--resume")
    assert other.status == 1
    assert "the photos have changed" in other.err
    again = beltsight("predict", model, *photos, "--out", out)
    assert again.status == 1
    assert "go on with --resume" in again.err
    assert out.read_bytes() == before
    assert beltsight("predict", model, *photos, "--out", out, "--resume").status == 1
    assert [row["path"] for row in rows(out)] == photos


@pytest.mark.parametrize("place", ["beltsight.answers.AnswerFile.add", "pathlib.Path.write_bytes"])
def test_every_answered_photo_has_its_map_wherever_a_run_ends(
    model: Path, photos: list[str], tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, maps = tmp_path / "a.csv", tmp_path / "maps"
    owner, name = pkgutil.resolve_name(place.rpartition(".")[0]), place.rpartition(".")[2]
    real, calls = getattr(owner, name), itertools.count()

    def interrupt(*arguments: Any) -> Any:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    command = ["predict", model, *photos[:5], "--out", out, "--explain", maps]
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupt)
        assert beltsight(*command).status == 130
    assert recorded(out) == 3
    assert beltsight(*command, "--resume").status == 0
    assert sorted(path.name[:6] for path in maps.iterdir()) == [f"{n:06}" for n in range(1, 6)]


def test_an_interrupt_while_parquet_is_made_loses_nothing(
    model: Path, photos: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow.parquet")

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "a.parquet"
    command = ["predict", model, *photos[:5], "--out", out]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("beltsight.answers.forms._write_parquet", interrupt)
        result = beltsight(*command)
    assert result.status == 130
    assert "5 answers are kept" in result.err
    assert not out.exists()
    assert beltsight(*command, "--resume").status == 0
    assert [row["path"] for row in rows(out)] == photos[:5]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--resume"], "name it with --out"),
        (["--json", "--out", "a.csv"], "give one of them"),
        (["--out", "a.xlsx"], ".jsonl, .csv, .parquet"),
    ],
)
def test_wrong_options_are_wrong_use(
    model: Path, photos: list[str], options: list[str], reason: str
) -> None:
    result = beltsight("predict", model, photos[0], *options)
    assert result.status == 2
    assert reason in result.err
