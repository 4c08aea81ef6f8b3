"""Object storage through fsspec's memory store, a local web server, and drivers that fail."""

from __future__ import annotations

import importlib
import io
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from beltsight.errors import DatasetError, DecodeError, MissingExtraError, TooLargeError
from beltsight.sources import StoredPhoto, find_sources, name_of
from beltsight.sources.connect import open_store, shown_address

fsspec: Any = pytest.importorskip("fsspec", reason="the extra 'archive' is not installed")


@pytest.fixture
def store() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    for name in ("in/a.jpg", "in/sub/b.PNG", "in/sub/.git/x.jpg", "in/z.jpg", "in/n.txt"):
        files.pipe(f"/{name}", name.encode())
    yield files
    files.store.clear()


def found(*paths: str) -> list[StoredPhoto]:
    photos = list(find_sources(paths))
    assert all(isinstance(photo, StoredPhoto) for photo in photos)
    return [photo for photo in photos if isinstance(photo, StoredPhoto)]


def names(*paths: str) -> list[str]:
    return [photo.name.removeprefix("memory:///") for photo in found(*paths)]


def test_a_folder_is_walked_like_one_of_this_machine(store: Any) -> None:
    assert names("memory://in") == ["in/a.jpg", "in/sub/b.PNG", "in/z.jpg"]
    assert [photo.read() for photo in found("memory://in")][:2] == [b"in/a.jpg", b"in/sub/b.PNG"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("memory://in/*.jpg", ["in/a.jpg", "in/z.jpg"]),
        ("memory://in/**/*.PNG", ["in/sub/b.PNG"]),
        ("memory://i*", ["in/a.jpg", "in/sub/b.PNG", "in/z.jpg"]),
        ("memory://in/?.jpg", ["in/a.jpg", "in/z.jpg"]),
        ("memory://in/*.gif", []),
    ],
)
def test_patterns_match(store: Any, pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected


def test_folders_are_listed_when_the_walk_comes_to_them(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    memory = type(store)
    real = memory.ls

    def ls(self: Any, path: str, **options: Any) -> Any:
        listed.append(path)
        return real(self, path, **options)

    monkeypatch.setattr(memory, "ls", ls)
    walk = find_sources(["memory://in"])
    assert name_of(next(iter(walk))) == "memory:///in/a.jpg"
    assert not any("sub" in path for path in listed)
    assert len(list(walk)) == 2
    assert any("sub" in path for path in listed)


def test_one_photo_is_not_asked_for_before_it_is_read(store: Any) -> None:
    (photo,) = found("memory://in/gone.jpg")
    with pytest.raises(DecodeError, match=r"memory:///in/gone\.jpg: does not exist"):
        photo.read()


def test_a_list_connects_once_to_each_store(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def watched(driver: Any) -> None:
        real = driver.__init__

        def init(self: Any, *arguments: Any, **options: Any) -> None:
            made.append(driver.__name__)
            real(self, *arguments, **options)

        monkeypatch.setattr(driver, "__init__", init)

    watched(type(store))
    watched(fsspec.get_filesystem_class("tar"))
    for shard in "12":
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            for name in "ab":
                (tmp_path / name).write_text(f"{name} of {shard}")
                tar.add(tmp_path / name, f"{name}.jpg")
    lines = ["memory://in/a.jpg", "memory://in/z.jpg", "memory://in/gone.jpg"]
    lines += [f"tar://{name}.jpg::{tmp_path}/{shard}.tar" for shard in "12" for name in "ab"]
    photos = list(find_sources(["-"], io.BytesIO("\n".join([*lines, *lines]).encode())))
    assert [name_of(photo) for photo in photos] == [
        line.replace("memory://", "memory:///") for line in [*lines, *lines]
    ]
    assert made == ["MemoryFileSystem", "TarFileSystem", "TarFileSystem"]
    list(find_sources(["-"], io.BytesIO(b"memory://s/1.tar\nmemory://s/2.tar\n")))
    assert made[3:] == ["MemoryFileSystem", "MemoryFileSystem"]
    content = [photo.read() for photo in photos if not isinstance(photo, str) and "gone" not in
               photo.name]  # fmt: skip
    assert content == 2 * [b"in/a.jpg", b"in/z.jpg", b"a of 1", b"b of 1", b"a of 2", b"b of 2"]


def test_few_connections_are_kept(tmp_path: Path) -> None:
    from beltsight.sources.connect import Connections
    from beltsight.sources.remote import find_remote

    connections: Connections = {}
    for number in range(20):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            tar.add(__file__, "a.jpg")
        (photo,) = find_remote(f"tar://a.jpg::{tmp_path}/{number}.tar", False, connections)
        assert isinstance(photo, StoredPhoto)
        assert photo.read() == Path(__file__).read_bytes()
    assert len(connections) == 8


def test_archives_in_a_store_are_read_through(store: Any) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        info = tarfile.TarInfo("c/1.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"one"))
    store.pipe("/shards/0.tar", made.getvalue())
    store.pipe("/shards/1.tar", made.getvalue()[:400])
    whole, cut = found("memory://shards/*.tar")
    assert whole.name == "tar://c/1.jpg::memory:///shards/0.tar"
    assert whole.read() == b"one"
    with pytest.raises(DecodeError, match=r"memory:///shards/1\.tar: damaged tar archive"):
        cut.read()


def test_a_photo_over_the_limit_is_not_read_whole(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beltsight.sources.remote.MAX_BYTES", 5)
    monkeypatch.setattr("beltsight.sources.remote._CHUNK_BYTES", 2)
    store.pipe("/in/a.jpg", b"123456")
    store.pipe("/in/z.jpg", b"12345")
    large, _, good = found("memory://in")
    with pytest.raises(TooLargeError, match="over 5 bytes"):
        large.read()
    assert good.read() == b"12345"


def test_a_store_that_cannot_be_listed_ends_the_walk_with_a_sentence(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ls(self: Any, path: str, **options: Any) -> Any:
        raise TimeoutError("no answer")

    monkeypatch.setattr(type(store), "ls", ls)
    with pytest.raises(DatasetError, match=r"memory:///in: cannot be listed \(no answer\)"):
        list(find_sources(["memory://in/*.jpg"]))


def test_a_store_that_makes_up_folders_for_ever_ends_the_walk(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ls(self: Any, path: str, **options: Any) -> Any:
        return [{"name": f"{path}/x", "type": "directory"}]

    monkeypatch.setattr(type(store), "ls", ls)
    with pytest.raises(DatasetError, match="over 256 folders deep"):
        list(find_sources(["memory://in"]))


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtraError, match=r"s3:// needs.*'beltsight\[archive\]'"):
        list(find_sources(["s3://bucket/in"]))


@pytest.mark.parametrize(
    ("address", "package", "module"),
    [
        ("s3://bucket/in", "s3fs", "s3fs"),
        ("gs://bucket/in", "gcsfs", "gcsfs"),
        ("https://host/a.jpg", "aiohttp", "aiohttp"),
    ],
)
def test_the_missing_driver_is_named(
    address: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in sys.modules if name.startswith("fsspec.implementations.http")]:
        monkeypatch.delitem(sys.modules, name)
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setattr(registry, "_registry", {})
    monkeypatch.setattr(registry, "registry", {})
    scheme = address.partition("://")[0]
    with pytest.raises(DatasetError, match=f"{scheme}:// needs a driver.*pip install {package}"):
        list(find_sources([address]))


def test_credentials_are_never_shown() -> None:
    address = "nonsense://me:hunter%402@host/a.jpg?token=abcdef&sig=ghijkl"
    with pytest.raises(DatasetError) as told:
        list(find_sources([address]))
    assert "host/a.jpg" in str(told.value)
    for secret in ("hunter", "abcdef", "ghijkl", "me:"):
        assert secret not in str(told.value)


def test_a_password_that_the_driver_decoded_is_not_shown(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Any, path: str, *arguments: Any, **options: Any) -> Any:
        raise PermissionError("no login as me with p@ss word")

    monkeypatch.setattr(type(store), "open", refused)
    (photo,) = found("memory://me:p%40ss%20word@host/a.jpg")
    with pytest.raises(DecodeError, match=r"no login as me with \.\.\."):
        photo.read()


def test_a_web_server_serves_photos_folders_and_archives(web: str) -> None:
    one, folder, archive = found(f"{web}/a.jpg"), found(f"{web}/"), found(f"{web}/s.tar")
    assert [photo.read() for photo in one] == [b"first"]
    assert [photo.name for photo in folder] == [f"{web}/a.jpg", f"{web}/sub/b.png"]
    assert [photo.read() for photo in folder] == [b"first", b"second" * 1000]
    assert [photo.name for photo in archive] == [f"tar://in.jpg::{web}/s.tar"]
    assert [photo.read() for photo in archive] == [b"first"]


def test_the_query_of_a_signed_address_is_used_and_not_shown(web: str) -> None:
    (photo,) = found(f"{web}/a.jpg?signature=verysecret")
    assert photo.name == f"{web}/a.jpg?..."
    assert photo.read() == b"first"
    (gone,) = found(f"{web}/gone.jpg?signature=verysecret")
    with pytest.raises(DecodeError) as told:
        gone.read()
    assert "gone.jpg" in str(told.value)
    assert "verysecret" not in str(told.value)


def test_a_server_that_is_not_there_is_a_record_for_a_photo_and_an_end_for_a_folder(
    web: str,
) -> None:
    nobody = "http://127.0.0.1:9"  # the port 'discard': nothing listens
    (photo,) = found(f"{nobody}/a.jpg")
    with pytest.raises(DecodeError, match=r"127\.0\.0\.1:9/a\.jpg: (cannot be read|does not)"):
        photo.read()
    with pytest.raises((DatasetError, DecodeError)):
        for each in find_sources([f"{nobody}/in/"]):
            assert isinstance(each, StoredPhoto)
            each.read()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("sftp://me:secret@plant1/in/a.jpg", "sftp://plant1/in/a.jpg"),
        ("sftp://plant2:2022/in/a.jpg", "sftp://plant2:2022/in/a.jpg"),
        ("https://h/in/a.jpg?format=jpg", "https://h/in/a.jpg?..."),
        ("https://me:pass@h/2026/pass.jpg?y=2026", "https://h/2026/....jpg?..."),
    ],
)
def test_names_hold_the_host_and_the_whole_path(
    monkeypatch: pytest.MonkeyPatch, address: str, name: str
) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads the web with aiohttp, which is absent")
    monkeypatch.setitem(sys.modules, "paramiko", MagicMock())  # no server is asked here
    store, path = open_store(address, {})
    assert store.name(path) == name
    connections: Any = {}
    for _ in range(2):
        store, path = open_store(address, connections)
    assert store.name(path) == name


@pytest.mark.parametrize("password", ["pa#ssword", "pa/ssword", "pa?ssword", "pa%23ssword"])
def test_a_password_that_nobody_escaped_is_not_shown(password: str) -> None:
    assert shown_address(f"sftp://me:{password}@plant1/in/a.jpg") == "sftp://plant1/in/a.jpg"


def test_what_is_no_login_is_shown() -> None:
    for address in ("https://h:8080/a@2x.jpg", "s3://bucket/a:b/c@d.jpg", "memory://in/a@b.jpg"):
        assert shown_address(address) == address
