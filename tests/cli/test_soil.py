from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.cli.program import beltsight, spawn

from beltsight.config import ASSETS


@pytest.fixture
def items(tmp_path: Path) -> Path:
    """Two items each of glass and metal."""
    rng = np.random.default_rng(0)
    for name, colour in {"glass": (90, 140, 60), "metal": (125, 110, 110)}.items():
        (tmp_path / "items" / name).mkdir(parents=True)
        for number in range(2):
            photo = np.full((96, 128, 3), 225, np.uint8)
            cv2.ellipse(photo, (64, 48), (30, 22), 20 * number, 0, 360, colour, -1)
            noisy = np.clip(photo + rng.normal(0, 2, photo.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "items" / name / f"{number}.png"), noisy)
    return tmp_path / "items"


def test_what_is_drawn_stands_in_the_settings(items: Path, tmp_path: Path) -> None:
    packaged = (ASSETS / "dirt.toml").read_text(encoding="utf-8")
    file = tmp_path / "dirt.toml"
    file.write_text(packaged.replace("clean     = 0.33", "clean     = 1.0"), encoding="utf-8")
    done = beltsight("soil", items, "--out", tmp_path / "new", "--settings", file, "--json")
    assert done.status == 0, done.err
    assert done.json["levels"] == {"clean": 12}


@pytest.mark.usefixtures("items")
def test_a_soiled_data_set_is_written_and_summed_up(tmp_path: Path) -> None:
    out = tmp_path / "soiled"
    done = spawn("soil", str(tmp_path / "items"), "--out", str(out), "--kind", "mud", "--json")
    record = json.loads(done.stdout)
    assert record["n_photos"] == 12 and record["simulated"] is True
    assert record["items"]["glass"] == {"used": 2, "photos": 2}
    rows = (out / "labels.csv").read_text(encoding="utf-8")
    assert "mud:" in rows and "grease:" not in rows
    flat = np.full((96, 128, 3), 200, np.uint8)
    for number in range(2):
        cv2.imwrite(str(tmp_path / "items" / "metal" / f"{number}.png"), flat)
    call = ("soil", str(tmp_path / "items"), "--out")
    fewer = spawn(*call, str(tmp_path / "fewer"))
    assert fewer.returncode == 0 and "metal: no item whose outline can be trusted" in fewer.stderr
    more = spawn(*call, str(tmp_path / "more"), "--originals", "--json")
    assert json.loads(more.stdout)["n_photos"] == 6 + 4 and "--originals keeps" not in more.stderr
    again = spawn("soil", str(tmp_path / "items"), "--out", str(out))
    assert again.returncode == 1 and "holds a data set already" in again.stderr
    labels = "path,material,colour\nglass/0.png,glass,red\nglass/1.png,metal,red\n"
    (tmp_path / "items" / "labels.csv").write_text(labels, encoding="utf-8")
    fewer_columns = spawn(*call, str(tmp_path / "columns"), "--copies", "1")
    assert fewer_columns.returncode == 0 and "the columns colour; to keep" in fewer_columns.stderr


def test_a_seed_below_nothing_is_refused_before_the_folder_is_begun(
    items: Path, tmp_path: Path
) -> None:
    done = beltsight("soil", items, "--out", tmp_path / "new", "--seed", -1)
    assert done.status == 2 and "--seed" in done.err
    assert not (tmp_path / "new").exists()
