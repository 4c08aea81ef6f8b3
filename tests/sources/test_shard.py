from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from beltsight import image
from beltsight.errors import ImageError
from beltsight.sources import StoredPhoto, find_sources, is_shard
from beltsight.sources.shard import read_shard

PHOTOS = [
    ("000.jpg", b"zero"),
    ("./sub/001.PNG", b"one"),
    ("x" * 150 + ".jpg", b"long name"),
    (os.fsdecode(b"caf\xe9.jpg"), b"no text"),
    ("/abs/../../etc/003.jpg", b"three"),
]
OTHERS = [("000.cls", b"3"), ("000.json", b"{}"), (".hid.jpg", b"no"), ("sub/._2.jpg", b"no")]


def tar_bytes(members: list[tuple[str, bytes]], form: int = tarfile.GNU_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def contents(found: list[StoredPhoto]) -> list[bytes | str]:
    got: list[bytes | str] = []
    for photo in found:
        try:
            got.append(photo.read())
        except ImageError as error:
            got.append(str(error))
    return got


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
def test_photos_are_read_in_order_and_the_rest_is_passed_over(
    tmp_path: Path, form: int, suffix: str
) -> None:
    # The oldest form has no room for long names.
    photos = [p for p in PHOTOS if form != tarfile.USTAR_FORMAT or len(p[0]) < 100]
    data = tar_bytes([*photos[:2], *OTHERS, *photos[2:]], form)
    path = tmp_path / f"shard{suffix}"
    path.write_bytes(data if suffix == ".tar" else gzip.compress(data))
    found = list(read_shard(str(path)))
    assert [photo.name for photo in found] == [f"tar://{name}::{path}" for name, _ in photos]
    assert contents(found) == [content for _, content in photos]
    assert [photo.held_bytes for photo in found] == [len(content) for _, content in photos]


def test_fsspec_and_predict_find_a_photo_by_its_name(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    path = tmp_path / "s.tar"
    path.write_bytes(tar_bytes([("a/1.jpg", b"one"), ("./2.jpg", b"two")]))
    for photo in read_shard(str(path)):
        with fsspec.open(photo.name) as file:
            assert file.read() == photo.read()
        (again,) = find_sources([photo.name])
        assert isinstance(again, StoredPhoto)
        assert (again.read(), again.name) == (photo.read(), photo.name)


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
                     tarfile.DIRTYPE):  # fmt: skip
            info = tarfile.TarInfo(f"{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        info = tarfile.TarInfo("good.jpg")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"good"))
    assert contents(list(read_shard(str(path)))) == [b"good"]


def test_gzip_in_parts_is_read_whole(tmp_path: Path) -> None:
    """As pigz and bgzip write it."""
    data = tar_bytes([(f"{n}.jpg", bytes([n]) * 3000) for n in range(9)])
    path = tmp_path / "parts.tar.gz"
    path.write_bytes(b"".join(gzip.compress(data[i : i + 5000]) for i in range(0, len(data), 5000)))
    assert contents(list(read_shard(str(path)))) == [bytes([n]) * 3000 for n in range(9)]


def test_gzip_is_told_by_the_content_and_not_by_the_name(tmp_path: Path) -> None:
    data = tar_bytes(PHOTOS)
    (tmp_path / "plain.tgz").write_bytes(data)
    (tmp_path / "packed.tar").write_bytes(gzip.compress(data))
    for name in ("plain.tgz", "packed.tar"):
        found = list(read_shard(str(tmp_path / name)))
        assert contents(found) == [content for _, content in PHOTOS], name


def test_a_cut_archive_says_so_wherever_it_is_cut(tmp_path: Path) -> None:
    """At any place of the cut: the photos before it, then one record that tells of it."""
    data = tar_bytes([("a.jpg", b"a" * 700), ("b.jpg", b"b" * 100)])
    path = tmp_path / "cut.tar"
    ends = {0: 0, 511: 0, 512: 0, 1200: 0, 1536: 1, 1800: 1, 2100: 1, 2560: 2}
    for cut, whole in ends.items():
        path.write_bytes(data[:cut])
        got = contents(list(read_shard(str(path))))
        assert len(got) == whole + 1, cut
        assert "cut.tar: damaged tar archive" in str(got[-1])
        assert "not answered" in str(got[-1])
    path.write_bytes(data)
    assert len(contents(list(read_shard(str(path))))) == 2


def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path) -> None:
    data = bytearray(tar_bytes([("a.jpg", b"a"), ("b.jpg", b"b"), ("c.jpg", b"c")]))
    data[1024 + 150] ^= 1  # the checksum of the second header
    path = tmp_path / "bad.tar"
    path.write_bytes(data)
    got = contents(list(read_shard(str(path))))
    assert got[0] == b"a"
    assert len(got) == 2
    assert "a header is damaged" in str(got[1])


@pytest.mark.parametrize("junk", [b"", b"no tar at all", b"\x1f\x8b broken gzip", b"\0" * 100])
@pytest.mark.parametrize("name", ["x.tar", "x.tgz"])
def test_what_is_no_archive_is_one_record(tmp_path: Path, junk: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(junk)
    (got,) = contents(list(read_shard(str(tmp_path / name))))
    assert str(got).startswith(f"{tmp_path / name}: damaged tar archive")


def test_an_archive_that_is_missing_or_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    (missing,) = contents(list(read_shard(str(tmp_path / "none.tar"))))
    (pipe,) = contents(list(read_shard(str(tmp_path / "pipe.tar"))))
    assert missing == f"{tmp_path / 'none.tar'}: does not exist; expected a tar archive"
    assert pipe == f"{tmp_path / 'pipe.tar'}: is not a file; expected a tar archive"


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_a_size_that_is_a_lie_neither_hangs_nor_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "lie.tar"
    path.write_bytes(header("notes.txt", 2**60) + b"\0" * 512)
    (skipped,) = contents(list(read_shard(str(path))))
    assert "ends in the middle" in str(skipped)
    path.write_bytes(header("big.jpg", 2**60) + b"\0" * 512)
    large, end = contents(list(read_shard(str(path))))
    assert f"the limit is {image.MAX_BYTES:,}" in str(large)
    assert "ends in the middle" in str(end)
    path.write_bytes(header("@", 2**40, tarfile.XHDTYPE) + b"\0" * 512)
    (extended,) = contents(list(read_shard(str(path))))
    assert "a header of 1,099,511,627,776 bytes" in str(extended)


def test_headers_that_hold_much_are_refused(tmp_path: Path) -> None:
    """tarfile holds a chain of them at once: 300 of a megabyte each were 700 MB."""
    path = tmp_path / "long.tar"
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        path.write_bytes(header("@", 70_000, kind) + b"x" * 70_144)
        (refused,) = contents(list(read_shard(str(path))))
        assert "a header of 70,000 bytes" in str(refused)


def sparse_header() -> bytes:
    """Of a file whose list of parts goes on in further blocks."""
    block = bytearray(header("a.jpg", 100, tarfile.GNUTYPE_SPARSE))
    block[482] = 1
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("form", ["old", "0.0", "0.1", "1.0"])
def test_a_list_of_parts_without_end_is_not_read(tmp_path: Path, form: str) -> None:
    """A few megabytes, compressed, made such lists of gigabytes."""
    given = {"0.0": "size", "0.1": "map", "1.0": "major"}
    path = tmp_path / "sparse.tar"
    if form == "old":
        parts = b"%011o\0%011o\0" % (1, 1) * 21 + b"\1" + b"\0" * 7
        path.write_bytes(sparse_header() + parts * 2000)
    else:
        info = tarfile.TarInfo("a.jpg")
        info.size = 512 * 2000
        info.pax_headers = {f"GNU.sparse.{given[form]}": "1", "GNU.sparse.minor": "0"}
        path.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"1\n" * 256 * 2000)
    tracemalloc.start()
    (refused,) = contents(list(read_shard(str(path))))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "a sparse file; make the archive without --sparse" in str(refused)
    assert most < 200_000


def test_a_photo_over_the_limit_is_a_record_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("beltsight.sources.shard.MAX_BYTES", 10)
    path = tmp_path / "s.tar"
    path.write_bytes(tar_bytes([("a.jpg", b"x" * 11), ("b.jpg", b"x" * 10)]))
    large, good = contents(list(read_shard(str(path))))
    assert str(large).endswith("11 bytes; the limit is 10")
    assert good == b"x" * 10


def test_memory_stays_flat_over_many_members(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.tar"
        path.write_bytes(tar_bytes([(f"{n:06}.jpg", b"x" * 600) for n in range(count)]))
        tracemalloc.start()
        assert sum(1 for _ in read_shard(str(path))) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # Python's table of names grows by whole megabytes, now and then.
    assert min(peak(3000) for _ in range(3)) < peak(100) + 20_000


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.tar", True), ("A.TAR.GZ", True), ("a.tgz", True), ("tar", False), ("a.zip", False)],
)
def test_archives_are_told_by_their_names(name: str, expected: bool) -> None:
    assert is_shard(name) is expected
