from __future__ import annotations

import hashlib
import http.server
import io
import re
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from beltsight.dataset import load_dataset
from beltsight.dataset.fetch import (
    PublicDataset,
    _SameSchemes,
    content_digest,
    download,
    fetch,
    trashnet,
    unpack,
)
from beltsight.errors import FetchError

PHOTOS = {
    f"{name}/{name}{number}.jpg": f"{name} {number}".encode() * 50
    for name in ("glass", "paper")
    for number in range(1, 9)
}


def digest_of(photos: dict[str, bytes]) -> str:
    lines = [f"{n} {hashlib.sha256(photos[n]).hexdigest()}\n" for n in sorted(photos)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pack(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return stream.getvalue()


ARCHIVE = pack(
    {
        **{f"dataset-resized/{name}": content for name, content in PHOTOS.items()},
        "dataset-resized/.DS_Store": b"x",
        "__MACOSX/glass/glass1.jpg": b"resource fork",
    }
)


@dataclass
class Server:
    """What the loopback server gives, and what it was asked for."""

    url: str = ""
    content: bytes = ARCHIVE
    cut_after: list[int] = field(default_factory=list)
    status: int = 200
    location: str = ""
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)
    lie_about_range: bool = False
    with_length: bool = True


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            told.asked.append(asked)
            if told.location:
                self.send_response(302)
                self.send_header("Location", told.location)
                self.end_headers()
                return
            if told.status != 200:
                self.send_error(told.status)
                return
            start = int(asked[6:-1]) if asked and told.ranges else 0
            if start >= len(told.content):
                self.send_error(416)
                return
            body = told.content[start:]
            self.send_response(206 if asked and told.ranges else 200)
            if asked and told.ranges:
                first = start + 5 if told.lie_about_range else start
                total = len(told.content)
                self.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
            if told.with_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: told.cut_after.pop(0)] if told.cut_after else body)

        def log_message(self, *_: object) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    told.url = f"http://127.0.0.1:{httpd.server_address[1]}/a.zip"
    yield told
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def source(*addresses: str, photos: dict[str, bytes] = PHOTOS) -> PublicDataset:
    return PublicDataset(
        name="small",
        addresses=addresses,
        classes=("glass", "paper"),
        n_photos=len(photos),
        content_sha256=digest_of(photos),
        splits={"val": {"glass": [2]}, "test": {"glass": [3], "paper": [1, 2]}},
        max_bytes=100_000,
        licence="MIT",
    )


def test_fetch_makes_the_layout_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    to = tmp_path / "new/small"
    assert fetch(source(server.url), to, progress=lambda *call: calls.append(call))
    assert sorted(p.name for p in to.iterdir()) == ["images", "splits.csv"]
    assert (to / "images/glass/glass1.jpg").read_bytes() == PHOTOS["glass/glass1.jpg"]
    dataset = load_dataset(to)
    assert len(dataset.samples) == 16 and len(dataset.select("test").samples) == 3
    assert {to_name(p) for p in dataset.select("test").samples} == {"glass3", "paper1", "paper2"}
    assert ("Downloading", len(ARCHIVE), len(ARCHIVE)) in calls
    assert calls[-1] == ("Unpacking", 16, 16)
    # A second time there is nothing to do, and nothing is asked of the server.
    assert fetch(source(server.url), to) is False and len(server.asked) == 1


def to_name(sample: object) -> str:
    path = sample.path  # type: ignore[attr-defined]
    return str(path.stem)


def test_a_broken_transfer_goes_on(server: Server, tmp_path: Path) -> None:
    server.cut_after = [1000, 500]
    assert fetch(source(server.url), tmp_path)
    assert server.asked == [None, "bytes=1000-", "bytes=1500-"]


def test_what_came_is_kept_for_the_next_run(server: Server, tmp_path: Path) -> None:
    server.cut_after = [100, 100, 100]
    with pytest.raises(FetchError, match="broke off after 300 of"):
        fetch(source(server.url), tmp_path)
    assert (tmp_path / "small.zip.part").stat().st_size == 300
    assert fetch(source(server.url), tmp_path)
    assert server.asked[-1] == "bytes=300-"


def test_a_server_without_ranges_sends_all_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"old and wrong")
    server.ranges = False
    download(server.url, tmp_path / "x", max_bytes=10**6)
    assert (tmp_path / "x").read_bytes() == ARCHIVE and server.asked == ["bytes=13-"]


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(bytes(len(ARCHIVE) + 10))
    download(server.url, tmp_path / "x", max_bytes=10**6)
    assert (tmp_path / "x").read_bytes() == ARCHIVE and server.asked[-1] is None


def test_a_wrong_range_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(ARCHIVE[:50])
    server.lie_about_range = True
    with pytest.raises(FetchError, match="another part of the file"):
        download(server.url, tmp_path / "x", max_bytes=10**6)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("with_length", [True, False])
def test_a_file_over_the_limit_is_refused(
    server: Server, tmp_path: Path, with_length: bool
) -> None:
    server.with_length = with_length
    with pytest.raises(FetchError, match="over 1,000 bytes"):
        download(server.url, tmp_path / "x", max_bytes=1000)
    assert not (tmp_path / "x").exists()


def test_the_second_address_serves_when_the_first_does_not(server: Server, tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/a.zip"
    assert fetch(source(dead, server.url), tmp_path)


def test_what_to_do_by_hand_is_said(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(FetchError) as caught:
        fetch(source(server.url), tmp_path / "d")
    message = str(caught.value)
    assert "the server says 404" in message and server.url in message
    assert re.search(r"beltsight fetch small --to \S+/d --from FILE\.zip", message)


def test_a_pointer_file_instead_of_the_archive(server: Server, tmp_path: Path) -> None:
    server.content = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    with pytest.raises(FetchError, match="the answer is not a zip archive"):
        fetch(source(server.url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_other_content_is_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = pack({**PHOTOS, "glass/glass1.jpg": b"another photo"})
    with pytest.raises(FetchError, match="is not small as this version knows it: 16 photos"):
        fetch(source(server.url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_archive_by_hand_needs_no_network_and_stays(tmp_path: Path) -> None:
    archive = tmp_path / "by hand.zip"
    archive.write_bytes(pack(PHOTOS, zipfile.ZIP_DEFLATED))
    assert fetch(source("http://127.0.0.1:9/"), tmp_path / "d", archive=archive)
    assert archive.exists() and content_digest(tmp_path / "d/images") == digest_of(PHOTOS)
    with pytest.raises(FetchError, match="no such file"):
        fetch(source(), tmp_path / "e", archive=tmp_path / "none.zip")


def test_splits_of_ones_own_stay(server: Server, tmp_path: Path) -> None:
    fetch(source(server.url), tmp_path)
    published = (tmp_path / "splits.csv").read_bytes()
    (tmp_path / "splits.csv").write_text("file,material,split\nglass/glass1.jpg,glass,test\n")
    own = (tmp_path / "splits.csv").read_bytes()
    assert fetch(source(server.url), tmp_path) is False
    assert (tmp_path / "splits.csv").read_bytes() == own
    (tmp_path / "splits.csv").unlink()
    assert fetch(source(server.url), tmp_path) is False
    assert (tmp_path / "splits.csv").read_bytes() == published


def test_a_folder_that_cannot_be_written_is_a_fetch_error(server: Server, tmp_path: Path) -> None:
    fetch(source(server.url), tmp_path)
    (tmp_path / "splits.csv").unlink()
    # In the way of the draft; a read-only folder would not stop the administrator.
    (tmp_path / f".splits.csv.{threading.get_native_id()}.part").mkdir()
    with pytest.raises(FetchError, match="cannot be written"):
        fetch(source(server.url), tmp_path)


def test_another_data_set_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images/glass").mkdir(parents=True)
    (tmp_path / "images/glass/mine.jpg").write_bytes(b"mine")
    with pytest.raises(FetchError, match="holds another data set"):
        fetch(source(), tmp_path)
    assert (tmp_path / "images/glass/mine.jpg").exists() and not (tmp_path / "splits.csv").exists()


def bomb() -> bytes:
    return pack({"glass/glass1.jpg": bytes(3_000_000)}, zipfile.ZIP_DEFLATED)


def lying_bomb() -> bytes:
    """Declares 10 bytes where 3 million come out."""
    data = bytearray(bomb())
    for start in (22, data.rindex(b"PK\x01\x02") + 24):
        data[start : start + 4] = (10).to_bytes(4, "little")
    return bytes(data)


def link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        info = zipfile.ZipInfo("glass/glass1.jpg")
        info.external_attr = 0o120777 << 16
        zipped.writestr(info, "/etc/passwd")
    return stream.getvalue()


def twice() -> bytes:
    return pack({"a/glass/glass1.jpg": b"1", "b/glass/glass1.jpg": b"2"})


def damaged() -> bytes:
    data = bytearray(pack(PHOTOS))
    data[80] ^= 255
    return bytes(data)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "leaves upwards": (lambda: pack({"../glass/glass1.jpg": b"x"}), "leaves the folder"),
    "leaves within": (lambda: pack({"a/../../glass/glass1.jpg": b"x"}), "leaves the folder"),
    "absolute": (lambda: pack({"/tmp/glass/glass1.jpg": b"x"}), "leaves the folder"),
    "windows": (lambda: pack({"..\\glass\\glass1.jpg": b"x"}), "leaves the folder"),
    "drive": (lambda: pack({"C:/glass/glass1.jpg": b"x"}), "leaves the folder"),
    "link": (link, "is a link"),
    "bomb": (bomb, "unpacks to more than"),
    "lying bomb": (lying_bomb, r"not a sound zip|is over"),
    "twice": (twice, "twice"),
    "too many": (lambda: pack({f"x/{i}": b"" for i in range(20_001)}), "unpacks to more than"),
    "lzma": (lambda: pack({"glass/glass1.jpg": b"x"}, zipfile.ZIP_LZMA), "uncommon method"),
    "nothing in it": (lambda: pack({"readme.txt": b"x"}), "no photos"),
    "damaged": (damaged, "not a sound zip"),
    "no zip": (lambda: b"hello", "not a sound zip"),
    "empty": (lambda: b"", "not a sound zip"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_writes_nothing_outside(kind: str, tmp_path: Path) -> None:
    make, expected = HOSTILE[kind]
    archive = tmp_path / "a.zip"
    archive.write_bytes(make())
    with pytest.raises(FetchError, match=expected):
        fetch(source(), tmp_path / "deep/er/to", archive=archive)
    found = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert found == [archive]


def test_an_encrypted_archive(tmp_path: Path) -> None:
    data = bytearray(pack({"glass/glass1.jpg": b"x" * 20}))
    data[6] |= 1
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(FetchError, match="not a sound zip"):
        unpack(source(), tmp_path / "a.zip", tmp_path / "to")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/etc/passwd", ""])
def test_only_http(address: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="begins with https"):
        download(address, tmp_path / "x", max_bytes=10)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_no_redirect_to_another_scheme(server: Server, tmp_path: Path, target: str) -> None:
    server.location = target
    with pytest.raises(FetchError, match=r"refused to follow|is not allowed"):
        download(server.url, tmp_path / "x", max_bytes=10)


def test_no_redirect_from_https_to_http() -> None:
    handler = _SameSchemes()
    request = urllib.request.Request("https://example.org/a")
    with pytest.raises(FetchError, match="refused to follow"):
        handler.redirect_request(request, io.BytesIO(), 302, "", {}, "http://example.org/a")


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(FetchError, match="cannot be written"):
        fetch(source(), tmp_path / "file")


def test_trashnet_as_pinned_is_the_data_of_this_project(trashnet_dir: Path, tmp_path: Path) -> None:
    known = trashnet()
    assert content_digest(trashnet_dir / "images") == known.content_sha256
    archive = tmp_path / "dataset-resized.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in (trashnet_dir / "images").glob("*/*.jpg"):
            zipped.write(path, f"dataset-resized/{path.parent.name}/{path.name}")
    assert fetch(known, tmp_path / "t", archive=archive)
    assert (tmp_path / "t/splits.csv").read_bytes() == (trashnet_dir / "splits.csv").read_bytes()
    one = replace(known, content_sha256="0" * 64)
    with pytest.raises(FetchError, match="2,527 photos"):
        fetch(one, tmp_path / "u", archive=archive)


@pytest.fixture
def trashnet_dir(data_dir: Path) -> Path:
    folder = data_dir / "trashnet"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    return folder


def test_the_packaged_lists_split_trashnet_as_published() -> None:
    splits = trashnet().splits
    counts = {split: sum(len(n) for n in classes.values()) for split, classes in splits.items()}
    assert counts == {"val": 328, "test": 431}
    assert not any(set(splits["val"][c]) & set(splits["test"][c]) for c in splits["val"])
