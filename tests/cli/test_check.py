from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.cli.program import beltsight as invoke
from tests.cli.program import spawn
from tests.dataset.scenes import class_folders, jpeg, put, scene
from tests.tiny import write_tiny

from beltsight.dataset import load_dataset
from beltsight.dataset.health import check_health
from beltsight.report.check import check_page

SCRIPT = "<script>alert(1)</script>"


def beltsight(*arguments: object) -> subprocess.CompletedProcess[str]:
    return spawn(*arguments, NO_COLOR="1", COLUMNS="200")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A leak with two labels, a near pair, a corrupt file, a hostile name."""
    root = class_folders(tmp_path_factory.mktemp("data"), {"glass": 12, "paper": 12})
    put(root / "paper/twin.jpg", (root / "glass/000.jpg").read_bytes())
    put(root / "glass/again.jpg", jpeg(scene(2, 96, 128), 40))
    put(root / "paper/broken.jpg", b"<html>no</html>")
    put(root / "paper/<b>&.jpg", jpeg(scene(90, 96, 128)))
    rows = ["path,material,split"]
    for path in sorted(root.rglob("*.jpg")):
        split = "test" if path.stem == "twin" else "train"
        rows.append(f"{path.relative_to(root).as_posix()},{path.parent.name},{split}")
    put(root / "splits.csv", "\n".join(rows).encode())
    return root


def test_table(data: Path) -> None:
    run = beltsight("check", data)
    assert run.returncode == 0, run.stderr
    assert "28 photos (train 27, test 1)" in run.stdout
    assert re.search(r"glass\s+13\s+0\s+13", run.stdout)
    assert re.search(r"paper/broken\.jpg\s+not a photo: it is a web page", run.stdout)
    assert "material: two labels" in run.stdout and "across splits" in run.stdout
    found = "Found: 1 corrupt, 1 exact duplicates, 1 near duplicates, 1 conflicting labels"
    assert found in run.stdout


def test_json_and_strict(data: Path, tmp_path: Path) -> None:
    run = beltsight("check", data, "--json", "--strict")
    assert run.returncode == 1
    record = json.loads(run.stdout)
    assert record["problems"] == {
        "corrupt": 1, "exact_duplicates": 1, "near_duplicates": 1, "conflicting_labels": 1,
        "across_splits": 1,
    }  # fmt: skip
    assert record["exact"][0]["splits"] == ["train", "test"]
    healthy = class_folders(tmp_path, {"glass": 10, "paper": 10})
    run = beltsight("check", healthy, "--strict")
    assert run.returncode == 0 and "No problems found." in run.stdout


def test_what_cannot_be_checked(data: Path, tmp_path: Path) -> None:
    for arguments, status, message in (
        (("check", tmp_path / "none"), 1, "no such folder or CSV"),
        (("check", data, "--task", "shape"), 1, "no label column 'shape'"),
        (("check", data, "--taxonomy", tmp_path / "none.toml"), None, "no such file"),
        (("check", data, "--model", tmp_path / "none.onnx"), 1, "none.onnx"),
        (("check",), 2, "Missing argument"),
        (("check", data, "--seed", -1), 2, "--seed"),
        (("check", data, "--html", data / "glass/000.jpg/x.html"), 1, "cannot be written"),
    ):
        run = beltsight(*arguments)
        assert run.returncode == (status or run.returncode) != 0, (arguments, run.stderr)
        assert message in run.stderr and "Traceback" not in run.stderr and not run.stdout


class Page(HTMLParser):
    """Tags, texts and sources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_shows_the_pairs_and_escapes_names(data: Path, tmp_path: Path) -> None:
    run = beltsight("check", data, "--html", tmp_path / "new/page.html")
    assert run.returncode == 0 and "the page is" in run.stderr
    page = Page((tmp_path / "new/page.html").read_text(encoding="utf-8"))
    assert page.sources and all(s.startswith("data:image/jpeg;base64,") for s in page.sources)
    assert len(page.sources) == 4  # two pairs
    for shown in ("000.jpg", "twin.jpg", "different labels", "train + test", "paper/broken.jpg"):
        assert shown in page.text
    assert "script" not in page.tags


def test_page_escapes_labels_and_findings(tmp_path: Path) -> None:
    root = class_folders(tmp_path, {"glass": 3})
    put(root / f"{SCRIPT.replace('/', '')}/a.jpg", (root / "glass/000.jpg").read_bytes())
    put(root / "glass/<img src=x>.jpg", b"broken")
    dataset = load_dataset(root)
    page = check_page(check_health(dataset), dataset)
    assert "<script>" not in page and "<img src=x" not in page and "&lt;script&gt;" in page


def test_page_of_a_healthy_set_says_so(tmp_path: Path) -> None:
    dataset = load_dataset(class_folders(tmp_path, {"glass": 10, "paper": 10}))
    page = check_page(check_health(dataset), dataset)
    assert "No problems found." in page and "Probably mislabelled" not in page


def test_probably_mislabelled_with_a_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    root = tmp_path / "data"
    for label, channel in (("blue", 2), ("green", 1), ("red", 0)):
        for number in range(12):
            photo = rng.integers(0, 90, (48, 48, 3)).astype(np.uint8)
            photo[:, :, channel] = rng.integers(160, 250, (48, 48))
            folder = "red" if (label, number) == ("green", 4) else label
            put(root / folder / f"{label}{number}.jpg", jpeg(photo))
    model = write_tiny(tmp_path / "tiny.onnx")
    page = tmp_path / "page.html"
    run = beltsight("check", root, "--model", model, "--html", page)
    assert run.returncode == 0, run.stderr
    assert re.search(r"red/green4\.jpg\s+material\s+red\s+green", run.stdout)
    assert "Probably mislabelled" in page.read_text(encoding="utf-8")
    record = json.loads(beltsight("check", root, "--model", model, "--json").stdout)
    assert record["suspects"][0]["photo"]["path"] == "red/green4.jpg"


def test_a_misspelt_column_is_said(tmp_path: Path) -> None:
    class_folders(tmp_path, {"glass": 2, "metal": 2})
    rows = [
        f"{path.relative_to(tmp_path)},{path.parent.name},clean,1,2"
        for path in sorted(tmp_path.rglob("*.jpg"))
    ]
    text = "\n".join(["file,material,contaminaton,grp,share", *rows])
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    run = invoke("check", tmp_path / "labels.csv")
    assert "passed over: contaminaton (did you mean 'contamination'?), grp (did you" in run.err


def test_groups_across_splits_are_shown(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", {"glass": 10, "paper": 10})
    rows = ["path,material,group,split"]
    for path in sorted(root.rglob("*.jpg")):
        name, number = path.parent.name, int(path.stem)
        group = SCRIPT if name == "glass" and number < 3 else ""
        split = "test" if number < 2 else "train"
        rows.append(f"{name}/{path.name},{name},{group},{split}")
    put(root / "splits.csv", "\n".join(rows).encode())
    run = invoke("check", root, "--html", tmp_path / "page.html", "--strict")
    assert run.status == 1 and "Found: 1 groups across splits." in run.out
    shown = " ".join(run.out.split())
    assert f"{SCRIPT} train 1 glass/002.jpg test 2 glass/000.jpg" in shown
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "1 groups lie across splits" in page.text and "1 train + 2 test" in page.text
    assert len(page.sources) == 2 and SCRIPT in page.text and "<script" not in text


def test_a_page_that_cannot_be_written_is_said_before_scanning(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scanned(*_: Any, **__: Any) -> Any:
        raise AssertionError("scanned first")

    monkeypatch.setattr("beltsight.dataset.health.check_health", scanned)
    (tmp_path / "file").touch()
    for html, said in ((tmp_path, "a file is needed here"),
                       (tmp_path / "file" / "x.html", "a folder is needed here")):  # fmt: skip
        run = invoke("check", data, "--html", html)
        assert run.status == 1 and "cannot be written" in run.err and said in run.err
