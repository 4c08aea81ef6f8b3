"""A folder that may not be looked at: what is optional is passed over, the rest is one sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPOSITORY

# First everything is done where it may be: what is imported late would be out of reach, too.
AS_NOBODY = """
import json, os, sys
from tests.cli.program import beltsight
from beltsight.config import ASSETS
photo = ASSETS / "demo" / "glass" / "glass155.jpg"
found = {}
for where in sys.argv[1:]:
    os.environ["BELTSIGHT_CACHE"] = f"{where}/cache"
    commands = {
        "predict": ("predict", "default", photo),
        "photos": ("predict", "default", f"{where}/in"),
        "model": ("predict", f"{where}/m.onnx", photo),
        "out": ("predict", "default", photo, "--out", f"{where}/a.jsonl"),
        "resume": ("predict", "default", photo, "--out", f"{where}/a.jsonl", "--resume"),
        "explain": ("predict", "default", photo, "--explain", f"{where}/maps"),
        "folder": ("predict", "default", f"{where}/in", "--explain", f"{where}/maps"),
        "forget": ("tune", "default", "--forget"),
    }
    found = {name: vars(beltsight(*words)) for name, words in commands.items()}
    if where == sys.argv[1] and os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
print(json.dumps(found))
"""
Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    if not hasattr(os, "setuid"):
        pytest.skip("no users here")
    folder = Path(tempfile.mkdtemp(prefix="beltsight-locked-"))
    folder.chmod(0o755)
    try:
        for name in ("free", "locked"):
            (folder / name / "cache" / "tuned").mkdir(parents=True)
            (folder / name / "in").mkdir()
        (folder / "locked").chmod(0o000)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(folder / "free"), str(folder / "locked")],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)
    finally:
        (folder / "locked").chmod(0o755)
        shutil.rmtree(folder)


def test_a_cache_out_of_reach_is_passed_over(results: Results) -> None:
    assert results["predict"]["status"] == 0, results["predict"]
    assert "glass155.jpg" in results["predict"]["out"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model", "m.onnx: cannot be read: Permission denied; give a file, and check its owner"),
        ("out", "a.jsonl: cannot be written: Permission denied; check the owner and mode"),
        ("resume", "a.jsonl: cannot be written: Permission denied; check the owner and mode"),
        ("explain", "maps: cannot be written: Permission denied; check its owner and mode"),
        ("forget", "cannot be removed: Permission denied; check its owner and mode, or name a "),
    ],
)
def test_what_is_asked_for_and_out_of_reach_names_its_remedy(
    results: Results, name: str, said: str
) -> None:
    assert results[name]["status"] == 1
    assert said in results[name]["err"]
    assert len(results[name]["err"].splitlines()) == 1


@pytest.mark.parametrize("name", ["photos", "folder"])
def test_photos_out_of_reach_have_a_line(results: Results, name: str) -> None:
    assert results[name]["status"] == 1
    assert "locked/in" in results[name]["out"]
    assert "Traceback" not in results[name]["err"]
