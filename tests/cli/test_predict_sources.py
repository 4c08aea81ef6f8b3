"""``beltsight predict`` over lists, archives and stores."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.cli.program import beltsight
from tests.tiny import paint, write_tiny

from beltsight.image import decode

COLOURS = {"red": (220, 30, 40), "green": (30, 210, 50), "blue": (20, 40, 230)}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "m.onnx")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, colour in COLOURS.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), paint(colour, 48)[:, :, ::-1])
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name in COLOURS:
            tar.add(tmp_path / f"{name}.png", f"in/{name}.png")
        info = tarfile.TarInfo("in/bad.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"bad"))
    return tmp_path


def feed(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def answers(result: Any) -> list[tuple[str, str | None]]:
    labels = [line["tasks"]["material"] for line in result.lines]
    return [
        (line["path"], label and label["label"])
        for line, label in zip(result.lines, labels, strict=True)
    ]


def test_a_list_on_standard_input(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed(monkeypatch, b"blue.png\nmissing.png\nred.png\n")
    result = beltsight("predict", model, "-", "--json")
    assert answers(result) == [("blue.png", "blue"), ("missing.png", None), ("red.png", "red")]
    assert result.status == 1
    feed(monkeypatch, b"blue.png\0red.png\0")
    result = beltsight("predict", model, "-", "--null", "--json")
    assert answers(result) == [("blue.png", "blue"), ("red.png", "red")]
    feed(monkeypatch, b"blue.png\0red.png\0")
    assert "--null" in beltsight("predict", model, "-").err
    feed(monkeypatch, b"")
    assert "no photos found" in beltsight("predict", model, "-").err


def test_a_list_without_standard_input_is_wrong_use(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it after '<&-'
    result = beltsight("predict", model, "-")
    assert result.status == 2
    assert "'-' stands for a list on standard input, and there is none" in result.err


def test_an_archive_is_answered_and_never_unpacked(model: Path, photos: Path) -> None:
    before = sorted(path.name for path in photos.rglob("*"))
    result = beltsight("predict", model, "s.tar", "--json")
    assert answers(result) == [
        ("tar://in/red.png::s.tar", "red"), ("tar://in/green.png::s.tar", "green"),
        ("tar://in/blue.png::s.tar", "blue"), ("tar://in/bad.jpg::s.tar", None),
    ]  # fmt: skip
    assert result.lines[3]["error"].startswith("tar://in/bad.jpg::s.tar: not a photo")
    assert result.status == 1
    assert sorted(path.name for path in photos.rglob("*")) == before


def test_maps_of_photos_in_an_archive_are_those_of_the_files(model: Path, photos: Path) -> None:
    beltsight("predict", model, "s.tar", "--explain", "archive")
    beltsight("predict", model, "red.png", "green.png", "blue.png", "--explain", "files")
    names = sorted(path.name for path in (photos / "files").iterdir())
    assert names == [f"00000{n}-{c}-material.jpg" for n, c in enumerate(COLOURS, 1)]
    for name in names:
        one, other = decode(photos / "archive" / name), decode(photos / "files" / name)
        np.testing.assert_array_equal(one, other)


def test_a_photo_is_decoded_once_for_the_maps_of_all_its_tasks(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.cli.overlays import Overlays
    from beltsight.model import Model
    from beltsight.records import Answer, Prediction
    from beltsight.sources import StoredPhoto

    model = Model.load(write_tiny(photos / "m.onnx"), threads=1)
    read: list[str] = []

    def content() -> bytes:
        read.append("red")
        return (photos / "red.png").read_bytes()

    answer = Answer("red", 1.0, {"red": 1.0})
    two = Prediction("tar://red.png::s.tar", {"material": answer, "again": answer})
    monkeypatch.setattr("beltsight.explain.explain", lambda *_: np.zeros((48, 48), np.float32))
    Overlays(model, photos / "maps").write(StoredPhoto("tar://red.png::s.tar", content), two, 7)
    assert read == ["red"]
    names = sorted(path.name for path in (photos / "maps").iterdir())
    assert names == ["000007-red-again.jpg", "000007-red-material.jpg"]


def test_an_address_is_answered(model: Path, photos: Path) -> None:
    fsspec: Any = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    try:
        store.put(str(photos / "green.png"), "/plant/green.png")
        result = beltsight("predict", model, "memory://plant", "--json")
        assert answers(result) == [("memory:///plant/green.png", "green")]
    finally:
        store.store.clear()


def test_a_store_that_fails_in_an_archive_ends_the_run_and_it_is_resumed(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec: Any = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 30_000:
                raise ConnectionResetError(104, "Connection reset by peer")
            return super().read(size)

    with tarfile.open(photos / "many.tar", "w") as tar:
        for number in range(60):
            tar.add(photos / f"{list(COLOURS)[number % 3]}.png", f"{number:02}.png")
    command = ["predict", model, "memory://plant/*.tar", "--out", "a.jsonl", "--batch-size", 1]
    try:
        for shard in "12":
            store.put(str(photos / "many.tar"), f"/plant/{shard}.tar")
        with monkeypatch.context() as patched:
            content = (photos / "many.tar").read_bytes()
            patched.setattr(type(store), "open", lambda *_, **__: Broken(content))
            ended = beltsight(*command)
        assert ended.status == 1
        assert "memory:///plant/1.tar: the store failed" in ended.err
        resumed = beltsight(*command, "--resume")
        assert (resumed.status, beltsight(*command[:3], "--out", "b.jsonl").status) == (0, 0)
    finally:
        store.store.clear()
    assert "120 photos answered" in resumed.err
    assert (photos / "a.jsonl").read_bytes() == (photos / "b.jsonl").read_bytes()


def test_no_photos_are_told_without_the_credentials_of_an_address(
    model: Path, photos: Path
) -> None:
    pytest.importorskip("fsspec")
    result = beltsight("predict", model, "memory://me:verysecret@plant/*.jpg", "no*.jpg")
    assert result.status == 1
    assert "no photos found in memory://plant/*.jpg, no*.jpg; expected files" in result.err
    assert "verysecret" not in result.err


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_lines(model: Path, photos: Path, threads: int) -> None:
    paths = [*[f"{name}.png" for name in COLOURS] * 20, "s.tar", "missing.jpg"]
    expected = beltsight("predict", model, *paths, "--json", "--threads", 1)
    got = beltsight("predict", model, *paths, "--json", "--threads", threads, "--batch-size", 3)
    assert len(got.lines) == 65
    assert got.out == expected.out


def test_one_photo_has_all_threads_and_many_have_one_each(
    model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from beltsight.model import Model

    opened: list[tuple[Any, Any]] = []
    load = Model.load

    def spy(*arguments: Any, **options: Any) -> Model:
        opened.append((options["threads"], options["streams"]))
        return load(*arguments, **options)

    monkeypatch.setattr(Model, "load", spy)
    beltsight("predict", model, "red.png", "--threads", 4)
    beltsight("predict", model, "red.png", "blue.png", "--threads", 4)
    assert opened == [(4, 1), (4, 4)]
