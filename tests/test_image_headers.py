"""What a header claims beside the photo's size is bounded, too, however it is written down."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from beltsight.errors import DecodeError, TooLargeError
from beltsight.image import prepare

MAX_MEMORY_MB = 512
LONG, SLONG8, IFD8 = 4, 17, 18
Tags = list[tuple[int, int, int]]


def tiled_tiff(width: int, height: int, tiles: Tags | None = None, side: int = 64) -> bytes:
    """A grey TIFF of one deflated tile: (tag, type, value or place of it) as given."""
    tile = zlib.compress(np.full(width * height, 77, np.uint8).tobytes())
    numbers = struct.pack("<qq", width, height)
    tags = [
        (256, 3, side), (257, 3, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1),
        *(tiles or [(322, LONG, width), (323, LONG, height)]),
        (324, 4, 24), (325, 4, len(tile)),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 24 + len(tile)) + numbers
    return head + tile + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def big_tiff(width: int, height: int) -> bytes:
    """The same with 64-bit places."""
    tile = zlib.compress(np.full(width * height, 77, np.uint8).tobytes())
    shorts = ((256, 64), (257, 64), (258, 8), (259, 8), (262, 1), (277, 1))
    entries = b"".join(struct.pack("<HHQQ", tag, 3, 1, value) for tag, value in shorts)
    longs = ((322, width), (323, height), (324, 16), (325, len(tile)))
    entries += b"".join(struct.pack("<HHQQ", tag, LONG, 1, value) for tag, value in longs)
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16 + len(tile))
    return head + tile + struct.pack("<Q", 10) + entries + bytes(8)


def test_a_small_photo_in_a_larger_tile_is_taken() -> None:
    for data in (tiled_tiff(512, 256), tiled_tiff(32, 16, side=16), big_tiff(512, 256)):
        assert (prepare(data)[112] == 77).all()


@pytest.mark.parametrize("make", [tiled_tiff, big_tiff])
def test_a_tile_larger_than_any_photo_is_refused(make: Any) -> None:
    with pytest.raises(TooLargeError, match="tiles of 6000 x 6001 pixels; the limit is 36"):
        prepare(make(6_000, 6_001))


@pytest.mark.parametrize("kind", [SLONG8, IFD8])
def test_a_tile_that_only_its_decoder_can_read_is_refused(kind: int) -> None:
    places = [(322, kind, 8), (323, kind, 16)]
    small = [(322, LONG, 64), (323, LONG, 64)]
    for tiles in (places, places + small, small + places):
        with pytest.raises(DecodeError, match="tiles of no clear size; save it in strips"):
            prepare(tiled_tiff(6_000, 6_001, tiles))


def test_of_two_sizes_the_larger_counts() -> None:
    large, small = [(322, LONG, 6_000), (323, LONG, 6_001)], [(322, LONG, 64), (323, LONG, 64)]
    for tiles in (large + small, small + large):
        with pytest.raises(TooLargeError, match="tiles of 6000 x 6001"):
            prepare(tiled_tiff(6_000, 6_001, tiles))


def strip_jpeg(path: Path, width: int, height: int, mode: str = "RGB", **options: Any) -> None:
    """Without a shared resolution of its colours, which needs the most memory."""
    picture = Image.linear_gradient("L").resize((width, height)).convert(mode)
    picture.save(path, "JPEG", subsampling=0, **options)


def progressive_claiming(path: Path, width: int, height: int, mode: str) -> None:
    """Only a header, which says how the rest is stored."""
    strip_jpeg(path, 16, 16, mode, progressive=True)
    content = path.read_bytes()
    size = content.index(b"\xff\xc2") + 5
    path.write_bytes(content[:size] + struct.pack(">HH", height, width) + content[size + 4 :])


def jpeg_of_three_scans(path: Path, width: int, height: int) -> None:
    """A plain grey in baseline, with a scan for each colour."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (128, 128, 128)).save(stream, "JPEG", subsampling=0)
    one = stream.getvalue()
    size = one.index(b"\xff\xc0") + 5
    head = one[:size] + struct.pack(">HH", height, width) + one[size + 4 :]
    parts = [head[: head.index(b"\xff\xda")]]
    n_fours = -(-(-(-width // 8) * -(-height // 8)) // 4)
    # Four blocks of "no change, end of block" in the codes of brightness and of colour.
    for colour, codes, blocks in ((1, 0, b"\x28\xa2\x8a"), (2, 17, b"\0\0"), (3, 17, b"\0\0")):
        scan = struct.pack(">HBBBBBB", 8, 1, colour, codes, 0, 63, 0)
        parts.append(b"\xff\xda" + scan + blocks * n_fours)
    path.write_bytes(b"".join(parts) + b"\xff\xd9")


def test_a_jpeg_of_three_scans_is_a_photo(tmp_path: Path) -> None:
    jpeg_of_three_scans(tmp_path / "a.jpg", 640, 640)
    assert (prepare(tmp_path / "a.jpg") == 128).all()


@pytest.mark.parametrize("kind", ["progressive", "three scans", "CMYK", "padded"])
def test_a_long_jpeg_whose_decoder_keeps_it_all_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.jpg"
    if kind == "CMYK":
        progressive_claiming(path, 65_500, 560, "CMYK")
    elif kind == "three scans":
        jpeg_of_three_scans(path, 65_500, 890)
    else:
        progressive_claiming(path, 65_500, 890, "RGB")
    if kind == "padded":  # a marker may begin with any number of these
        path.write_bytes(path.read_bytes().replace(b"\xff\xc2", b"\xff\xff\xc2", 1))
    limit = "36,000,000" if kind == "CMYK" else "44,000,000"
    with pytest.raises(TooLargeError, match=f"the limit of this kind of file is {limit}"):
        prepare(path)


PREPARE = """
import json, sys
from beltsight.image import prepare
print(json.dumps(prepare(sys.argv[1]).tolist()[112][100]))
"""


# The largest that are taken.
LARGEST: dict[str, Any] = {
    "three scans": lambda path: jpeg_of_three_scans(path, 65_500, 670),
    "three scans, halved": lambda path: jpeg_of_three_scans(path, 65_500, 976),
    "progressive": lambda path: strip_jpeg(path, 65_500, 670, progressive=True),
    "CMYK": lambda path: strip_jpeg(path, 65_500, 548, "CMYK", progressive=True),
    "baseline": lambda path: strip_jpeg(path, 65_500, 890),
    "tile": lambda path: path.write_bytes(tiled_tiff(6_000, 6_000)),
    "tile of all": lambda path: path.write_bytes(tiled_tiff(6_000, 6_000, side=6_000)),
}


@pytest.mark.parametrize("name", list(LARGEST))
def test_the_largest_of_each_stays_under_512_mb(name: str, tmp_path: Path, run_alone: Any) -> None:
    path = tmp_path / "largest"
    LARGEST[name](path)
    run = run_alone(PREPARE, str(path))
    path.unlink()
    print(f"{name}: {run.peak_mb:.0f} MB")
    assert len(json.loads(run.stdout)) == 3
    assert 20 < run.peak_mb < MAX_MEMORY_MB
