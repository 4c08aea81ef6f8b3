"""Archives in stores: how they are compressed, what their members are called, stores that fail."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beltsight.errors import DatasetError, DecodeError
from beltsight.sources import StoredPhoto, find_sources, name_of, shown_path

fsspec: Any = pytest.importorskip("fsspec", reason="the extra 'archive' is not installed")

PHOTOS = {f"{n}.jpg": bytes([n]) * 5000 for n in range(9)}


def tar_of(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def store() -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def found(*paths: str, listed: bytes = b"") -> Iterator[StoredPhoto]:
    for photo in find_sources(paths, io.BytesIO(listed)):
        assert isinstance(photo, StoredPhoto)
        yield photo


class Unreliable(io.BytesIO):
    """Content that cannot be read to its end."""

    def __init__(self, content: bytes, error: Exception, after: int) -> None:
        super().__init__(content)
        self._error, self._after = error, after

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._after:
            raise self._error
        return super().read(size)


@pytest.fixture
def fail(store: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception, int], None]:
    """Makes reading any file of the store fail after some bytes."""

    def fail(error: Exception, after: int) -> None:
        monkeypatch.setattr(
            type(store),
            "open",
            lambda self, path, *_, **__: Unreliable(self.store[path].getvalue(), error, after),
        )

    return fail


class ServerDisconnectedError(Exception):
    """As aiohttp has it: of no kind that Python knows."""


@pytest.mark.parametrize("form", [bytes, gzip.compress])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConnectionResetError(104, "Connection reset by peer"), "reset by peer"),
        (ServerDisconnectedError(), "ServerDisconnectedError"),
        (PermissionError("the token has expired"), "has expired"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_store_that_fails_in_the_middle_ends_the_walk(
    store: Any,
    fail: Callable[[Exception, int], None],
    form: Callable[[bytes], bytes],
    error: Exception,
    told: str,
) -> None:
    """Else a run that is resumed would meet other photos than those it has answered."""
    noise = np.random.default_rng(0)  # which gzip cannot make small
    content = form(tar_of({name: noise.bytes(30_000) for name in PHOTOS}))
    store.pipe("/in/1.tar", content)
    store.pipe("/in/2.tar", content)
    fail(error, len(content) // 2)
    walk = found("memory://in/*.tar")
    before: list[str] = []
    with pytest.raises(DatasetError) as ended:
        before.extend(photo.name for photo in walk)
    assert 0 < len(before) < len(PHOTOS)
    assert str(ended.value).startswith("memory:///in/1.tar: the store failed while")
    assert told in str(ended.value)


def test_a_connection_that_is_cut_ends_the_walk(web: str, tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(tar_of(PHOTOS))
    with pytest.raises(DatasetError, match=r"/cut\.tar\?\.\.\.: the store failed") as ended:
        list(found(f"{web}/cut.tar?signature=verysecret"))
    assert "verysecret" not in str(ended.value)


@pytest.mark.parametrize(
    "error", [OSError, tarfile.ReadError, gzip.BadGzipFile, zipfile.BadZipFile]
)
def test_no_error_of_an_archive_shows_credentials(
    store: Any, fail: Callable[[Exception, int], None], error: type[Exception]
) -> None:
    store.pipe("/me:verysecret@plant/s.tar", tar_of(PHOTOS))
    fail(error("GET memory://me:verysecret@plant/s.tar"), 20_000)
    told = ""
    try:
        for photo in found("memory://me:verysecret@plant/s.tar"):
            photo.read()
    except (DatasetError, DecodeError) as problem:
        told = str(problem)
    assert "GET memory://plant/s.tar" in told
    assert ("damaged tar archive" in told) is (error is not OSError)
    assert "verysecret" not in told


def test_gzip_is_told_by_what_an_archive_holds(web: str, tmp_path: Path) -> None:
    """Not by its address, which may end in a query or in another archive."""
    plain, packed = tar_of(PHOTOS), gzip.compress(tar_of(PHOTOS))
    (tmp_path / "x.tar.gz").write_bytes(packed)
    (tmp_path / "outer.tar.gz").write_bytes(gzip.compress(tar_of({"x.tar": plain})))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.writestr("x.tar.gz", packed)
    for address in (
        f"{web}/x.tar.gz?sig=abcdef",
        f"{web}/x.tar.gz",
        f"zip://x.tar.gz::{tmp_path}/z.zip",
        f"tar://x.tar::{tmp_path}/outer.tar.gz",
    ):
        assert [photo.read() for photo in found(address)] == list(PHOTOS.values()), address


def test_members_that_look_like_credentials_are_found_again_by_their_names(
    store: Any, tmp_path: Path
) -> None:
    members = {"cam@1/a.jpg": b"1", "cam@2/a.jpg": b"2", "a?b=cde.jpg": b"3", "a?b=fgh.jpg": b"4"}
    (tmp_path / "m.tar").write_bytes(tar_of(members))
    once = list(found("-", listed=f"{tmp_path}/m.tar".encode()))
    names = [photo.name for photo in once]
    assert names == [f"tar://{member}::{tmp_path}/m.tar" for member in members]
    again = list(found("-", listed="\n".join(names).encode()))
    assert [photo.name for photo in again] == names
    assert [photo.read() for photo in again] == list(members.values())


def test_what_stands_behind_a_member_is_still_not_shown(store: Any) -> None:
    store.pipe("/me:verysecret@plant/m.tar", tar_of({"cam@1/a.jpg": b"1"}))
    address = "tar://cam@1/a.jpg::memory://me:verysecret@plant/m.tar"
    (photo,) = found(address)
    assert photo.name == shown_path(address) == "tar://cam@1/a.jpg::memory://plant/m.tar"
    assert photo.read() == b"1"
    assert [name_of(photo) for photo in find_sources(["-"], io.BytesIO(address.encode()))] == [
        photo.name
    ]


def test_an_archive_that_a_store_does_not_give_now_ends_the_walk(web: str, tmp_path: Path) -> None:
    """Passed over, it would be there when the run is resumed, and its photos others."""
    (tmp_path / "down").touch()
    with pytest.raises(DatasetError, match=r"/s\.tar: cannot be read \(503.*is well again"):
        list(found(f"{web}/s.tar"))
    (photo,) = found(f"{web}/a.jpg")
    with pytest.raises(DecodeError, match=r"/a\.jpg: cannot be read \(503"):
        photo.read()
    (tmp_path / "down").unlink()
    assert [name_of(one) for one in found(f"{web}/s.tar")] == [f"tar://in.jpg::{web}/s.tar"]
    (gone,) = found(f"{web}/gone.tar")
    with pytest.raises(DecodeError, match="does not exist; expected a tar archive"):
        gone.read()


def test_a_pipe_behind_an_address_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.tar"):
        os.mkfifo(tmp_path / name)
        (pipe,) = found(f"file://{tmp_path / name}")
        with pytest.raises(DecodeError, match="is not a file"):
            pipe.read()
