from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.cli.program import beltsight as invoke
from tests.cli.program import spawn
from tests.dataset.scenes import class_folders, jpeg, put, scene

from beltsight.dataset import load_dataset


def beltsight(*arguments: object) -> subprocess.CompletedProcess[str]:
    return spawn(*arguments, NO_COLOR="1", COLUMNS="160")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = class_folders(tmp_path / "data", {"glass": 20, "paper": 20})
    put(root / "glass/twin.jpg", (root / "glass/000.jpg").read_bytes())
    return root


def test_split_then_read_then_refuse(data: Path) -> None:
    run = beltsight("split", data, "--val", 0.2, "--test", 0.2, "--seed", 3)
    assert run.returncode == 0, run.stderr
    assert "41 photos in 40 parts that stay whole; the largest has 2." in run.stdout
    dataset = load_dataset(data)
    assert dataset.splits == ("train", "val", "test")
    split = {sample.path.name: sample.split for sample in dataset.samples if "glass" in str(sample)}
    assert split["twin.jpg"] == {s.path: s.split for s in dataset.samples}[data / "glass/000.jpg"]
    before = (data / "splits.csv").read_bytes()

    again = beltsight("split", data)
    assert again.returncode == 1 and "--force to replace it" in again.stderr
    assert (data / "splits.csv").read_bytes() == before
    forced = beltsight("split", data, "--force", "--seed", 9, "--json")
    assert forced.returncode == 0 and (data / "splits.csv").read_bytes() != before
    summary = json.loads(forced.stdout)
    assert summary["n_photos"] == 41 == sum(summary["splits"].values())
    assert summary["seed"] == 9 and summary["out"] == str(data / "splits.csv")
    assert set(summary["tasks"]["material"]) == {"glass", "paper"}


def test_photos_that_look_alike_are_kept_together_unless_told_otherwise(data: Path) -> None:
    put(data / "glass/near.jpg", jpeg(scene(1, 96, 128), 60))  # 001.jpg, saved again
    for option, parts in (((), 40), (("--no-near",), 41)):
        run = invoke("split", data, "--force", "--json", *option)
        assert (run.status, run.json["n_photos"], run.json["n_parts"]) == (0, 42, parts)


def test_the_same_seed_writes_the_same_bytes(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert beltsight("split", data, "--out", tmp_path / f"{name}.csv").returncode == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert not (data / "splits.csv").exists()


def test_what_cannot_be_split(data: Path, tmp_path: Path) -> None:
    class_folders(tmp_path / "few", {"glass": 5, "metal": 1})
    (tmp_path / "beside").mkdir()
    for arguments, status, message in (
        (("split", data, "--val", 0.6, "--test", 0.4), 2, "leave some for training"),
        (("split", data, "--seed", -1), 2, "--seed"),
        (("split", tmp_path / "few"), 1, "class 'metal' of material has 1 separate photos"),
        (("split", data, "--out", tmp_path / "beside/s.csv"), 1, "does not lie below"),
        (("split", tmp_path / "none"), 1, "no such folder or CSV"),
    ):
        run = beltsight(*arguments)
        assert run.returncode == status, (arguments, run.stderr)
        assert message in run.stderr and not run.stdout
        assert not (data / "splits.csv").exists()


def test_corrupt_photos_are_said(data: Path) -> None:
    put(data / "glass/broken.jpg", b"")
    run = beltsight("split", data)
    assert run.returncode == 0 and "1 photos do not decode" in run.stderr


def test_columns_that_are_left_out_are_said(data: Path) -> None:
    rows = [f"glass/{n:03d}.jpg,glass,red,soft" for n in range(10)]
    rows += [f"paper/{n:03d}.jpg,paper,blue,hard" for n in range(10)]
    put(data / "labels.csv", "\n".join(["path,material,colour,feel\x1b", *rows]).encode())
    run = invoke("split", data, "--task", "material", "--task", "colour", "--out", data / "a.csv")
    assert run.status == 0, run.err
    left_out = run.err.splitlines()[0]
    assert left_out.startswith(f"beltsight: left out of {data / 'a.csv'}: the columns feel")
    assert left_out.endswith("name every label column with --task") and "\x1b" not in run.err
    every = ("--task", "material", "--task", "colour", "--task", "feel\x1b")
    run = invoke("split", data, *every, "--out", data / "b.csv")
    assert run.status == 0 and "left out" not in run.err
