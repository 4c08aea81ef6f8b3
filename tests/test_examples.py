"""The examples run as they are written."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

from beltsight.config import ASSETS
from beltsight.train.settings import TrainSettings, load_settings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_sort_a_folder(tmp_path: Path) -> None:
    shutil.copytree(ASSETS / "demo" / "paper", tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "sort_a_folder.py"), str(tmp_path / "photos")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    *lines, counts = done.stdout.splitlines()
    assert len(lines) == 7 and sum("not a photo" in line for line in lines) == 1
    assert sum(ast.literal_eval(counts).values()) == 6


def test_sort_a_folder_wants_one_and_takes_every_ending(tmp_path: Path) -> None:
    program = [sys.executable, str(EXAMPLES / "sort_a_folder.py")]
    bare = subprocess.run(program, capture_output=True, text=True, check=False)
    assert bare.returncode == 1 and bare.stderr.startswith("expected a folder of photos")
    (photo,) = sorted((ASSETS / "demo" / "paper").glob("*.jpg"))[:1]
    for name in ("a.JPG", "b.jpeg", "c.txt"):
        shutil.copy(photo, tmp_path / name)
    done = subprocess.run([*program, str(tmp_path)], capture_output=True, text=True, check=True)
    *lines, counts = done.stdout.splitlines()
    assert len(lines) == sum(ast.literal_eval(counts).values()) == 2


def test_the_settings_file_holds_the_defaults() -> None:
    assert load_settings(EXAMPLES / "train.toml") == TrainSettings()
