from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from beltsight.errors import ConfigError, DecodeError
from beltsight.sources import FoundPhoto, count_files, find_sources, name_of


def names(found: object) -> list[str | None]:
    return [name_of(photo) for photo in found]  # type: ignore[attr-defined]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("a.jpg", "sub/b.png", "notes.txt", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for shard in ("sub/1.tar", "sub/2.tgz"):
        with tarfile.open(tmp_path / shard, "w:gz" if shard.endswith("gz") else "w") as tar:
            tar.add(tmp_path / "a.jpg", "in.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_give_photos_and_archives_are_read_where_they_are_named(tree: Path) -> None:
    assert names(find_sources(["."])) == ["./a.jpg", "./odd[1].jpg", "./sub/b.png"]
    assert names(find_sources(["sub/*"])) == ["sub/b.png"]
    assert names(find_sources(["sub/1.tar", "a.jpg"])) == ["tar://in.jpg::sub/1.tar", "a.jpg"]
    assert names(find_sources(["*/*.t*"])) == []
    assert names(find_sources(["sub/*.tar"])) == ["tar://in.jpg::sub/1.tar"]
    assert names(find_sources(["s*/?.tgz"])) == ["tar://in.jpg::sub/2.tgz"]


def test_a_folder_named_like_an_archive_is_a_folder(tree: Path) -> None:
    (tree / "old.tar").mkdir()
    (tree / "old.tar" / "c.jpg").touch()
    assert names(find_sources(["old.tar"])) == ["old.tar/c.jpg"]
    assert names(find_sources(["old.tar/"])) == ["old.tar/c.jpg"]


def test_a_folder_that_cannot_be_listed_says_so(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refused)
    (photo,) = find_sources(["sub"])
    assert not isinstance(photo, str)
    with pytest.raises(DecodeError, match="sub/: this folder cannot be listed; check its owner"):
        photo.read()


def test_a_list_may_name_all_but_patterns(tree: Path) -> None:
    listed = io.BytesIO(b"sub\nodd[1].jpg\n*.jpg\nsub/1.tar\nmissing.jpg\n")
    assert names(find_sources(["a.jpg", "-"], listed)) == [
        "a.jpg", "sub/b.png", "odd[1].jpg", "*.jpg", "tar://in.jpg::sub/1.tar", "missing.jpg"
    ]  # fmt: skip


def test_a_list_is_read_as_it_is_asked_for(tree: Path) -> None:
    class Slow(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            return super().read1(6)

    listed = Slow(b"1.jpg\n2.jpg\n3.jpg\n")
    found = find_sources(["-"], listed)
    assert next(iter(found)) == "1.jpg"
    assert listed.tell() == 6


def test_a_list_that_is_not_there_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match="standard input"):
        list(find_sources(["-"]))


def test_files_are_counted_where_that_is_quick(tree: Path) -> None:
    assert count_files(["."]) == 3
    assert count_files(["a.jpg", "*.jpg"]) == 3
    for unknown in ("-", "sub/1.tar", "s3://bucket/in"):
        assert count_files(["a.jpg", unknown]) is None
    many = tree / "many"
    many.mkdir()
    for n in range(300):
        (many / f"{n}.jpg").touch()
    times = iter([0.0, 0.1, 99.0, 99.0])
    assert count_files([many], seconds=1, clock=lambda: next(times)) == 300
    times = iter([0.0, 99.0])
    assert count_files([many], seconds=1, clock=lambda: next(times)) is None


def test_sources_are_paths_or_stored(tree: Path) -> None:
    found: list[FoundPhoto] = list(find_sources(["a.jpg", "sub/1.tar"]))
    assert found[0] == "a.jpg"
    assert not isinstance(found[1], str)
    assert found[1].read() == b"x"
