from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

from tests.cli.program import spawn

# No server answers there: as good as no network, and no test reaches out.
OFFLINE = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}


def beltsight(*arguments: object) -> subprocess.CompletedProcess[str]:
    return spawn(*arguments, **OFFLINE)


def test_offline_it_says_what_to_do(tmp_path: Path) -> None:
    run = beltsight("fetch", "trashnet", "--to", tmp_path / "t")
    assert run.returncode == 1 and not run.stdout
    assert "https://github.com/garythung/trashnet/raw/" in run.stderr
    assert f"beltsight fetch trashnet --to {tmp_path / 't'} --from FILE.zip" in run.stderr


def test_an_unknown_name(tmp_path: Path) -> None:
    run = beltsight("fetch", "trashnut", "--to", tmp_path / "t")
    assert run.returncode == 2 and "did you mean 'trashnet'" in run.stderr
    assert not (tmp_path / "t").exists()


def test_from_a_file(trashnet: Path, tmp_path: Path) -> None:
    archive = tmp_path / "z.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (trashnet / "images").glob("*/*.jpg"):
            zipped.write(path, f"dataset-resized/{path.parent.name}/{path.name}")
    command = ("fetch", "trashnet", "--to", tmp_path / "t", "--from", archive)
    run = beltsight(*command)
    assert run.returncode == 0, run.stderr
    assert "2,527 photos, fetched and verified. Licence: MIT" in run.stdout
    again = json.loads(beltsight(*command, "--json").stdout)
    assert again["fetched"] is False and again["n_photos"] == 2527
    assert (tmp_path / "t/splits.csv").read_bytes() == (trashnet / "splits.csv").read_bytes()
