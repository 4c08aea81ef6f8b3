"""The bounds of ``prepare``: pixels, bytes, memory and time, at and beyond the largest photo."""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from beltsight import image as image_module
from beltsight.errors import TooLargeError
from beltsight.image import MAX_BYTES, MAX_PIXELS, MAX_SIDE, Preparation, decode, prepare

MAX_MEMORY_MB = 512


def png_claiming(width: int, height: int, body: bytes = b"\0" * 64) -> bytes:
    """An RGB PNG whose header claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(body, 1)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("width", "height", "said"),
    [
        (60_000, 60_000, "over 64,000,000 pixels"),
        (12_000, 12_000, "64,000,000"),  # where Pillow warns on its own
        (8_000, 8_001, "8000 x 8001 pixels; the limit is 64,000,000"),
        (65_536, 1, "the limit of a side is 65,535"),
        (1, 65_536, "the limit of a side is 65,535"),
    ],
)
def test_a_header_that_claims_too_much_is_refused_unread(
    width: int, height: int, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(width, height))
    began_s = time.perf_counter()
    with pytest.raises(TooLargeError, match=said) as caught:
        prepare(path)
    assert time.perf_counter() - began_s < 0.5
    assert str(caught.value).startswith(f"{path}: ")


def test_the_same_bounds_hold_for_arrays_and_images() -> None:
    wide = np.broadcast_to(np.uint8(0), (8_001, 8_000, 3))
    with pytest.raises(TooLargeError, match="array: 8000 x 8001 pixels"):
        prepare(wide)
    with pytest.raises(TooLargeError, match="image: 65536 x 1 pixels"):
        prepare(Image.new("L", (MAX_SIDE + 1, 1)))


def test_too_many_bytes_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(TooLargeError, match=r"long\.jpg: 256,000,001 bytes; the limit is"):
        prepare(path)
    monkeypatch.setattr(image_module, "MAX_BYTES", 10)
    with pytest.raises(TooLargeError, match="image bytes: 11 bytes"):
        prepare(b"\xff" * 11)


def run_length_bmp(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8-bit runs, each two bytes: its length and a grey."""
    greys = b"".join(bytes((grey, grey, grey, 0)) for grey in range(256))
    start, form = 14 + 40 + len(greys), (1, 8, 1)  # planes, bits, run-length
    sizes = (width, height, *form, len(runs), 0, 0, 256, 0)
    head = struct.pack("<IHHI", start + len(runs), 0, 0, start)
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, *sizes) + greys + runs


@pytest.mark.parametrize("form", ["WEBP", "TIFF", "CMYK JPEG", "plain PPM", "run-length BMP"])
def test_forms_whose_decoders_are_hungry_have_bounds_of_their_own(form: str) -> None:
    stream = io.BytesIO()
    if form == "WEBP":
        Image.new("L", (5_000, 4_001)).save(stream, "WEBP", method=0)
    elif form == "TIFF":
        Image.new("1", (6_000, 6_001)).save(stream, "TIFF", compression="group4")
    elif form == "CMYK JPEG":
        Image.new("CMYK", (8_000, 6_001)).save(stream, "JPEG")
    elif form == "plain PPM":
        stream.write(b"P2 2000 2001 255\n1 1 1")
    else:
        stream.write(run_length_bmp(2_000, 2_001, b"\xff\x07" * 10))
    with pytest.raises(TooLargeError, match="the limit of this kind of file is"):
        prepare(stream.getvalue())


def ramp(width: int, height: int) -> Image.Image:
    values = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)
    return Image.fromarray(values)


def saved(mode: str, form: str, side: int = 8_000, **options: Any) -> Callable[[Path], None]:
    """Writes the largest photo of a kind."""

    def save(path: Path) -> None:
        picture = ramp(side, side)
        if mode == "I;16":
            picture = Image.fromarray(np.asarray(picture).astype(np.uint16) << 8)
        elif mode in ("RGBA", "LA"):
            opacity = picture
            picture = picture.convert(mode)
            picture.putalpha(opacity)
        elif mode != "L":
            picture = picture.convert(mode)
        picture.save(path, form, **options)

    return save


def deep_tiff(path: Path) -> None:
    """Four 16-bit values per pixel in one compressed strip: all of it is decoded at once."""
    options = [cv2.IMWRITE_TIFF_ROWSPERSTRIP, 6_000, cv2.IMWRITE_TIFF_COMPRESSION, 5]
    cv2.imwrite(str(path.with_suffix(".tif")), np.zeros((6_000, 6_000, 4), np.uint16), options)
    path.with_suffix(".tif").rename(path)


def bomb_png(path: Path) -> None:
    """64 million pixels in 200 kB: just under the limit, so it must be taken."""
    path.write_bytes(png_claiming(8_000, 8_000, b"\0" * (8_000 * 24_001)))


def short_runs_bmp(path: Path) -> None:
    """A run for each pixel."""
    row = b"".join(bytes((1, 8 * column % 251)) for column in range(2_000))
    path.write_bytes(run_length_bmp(2_000, 2_000, (row + b"\0\0") * 2_000 + b"\0\1"))


def netpbm(magic: str, side: int, white: int) -> Callable[[Path], None]:
    """Binary, of 12 or 16 bits."""

    def save(path: Path) -> None:
        row = np.arange(side) * white // side
        rows = np.repeat(row.astype(">u2"), 3 if magic == "P6" else 1).tobytes() * side
        path.write_bytes(f"{magic} {side} {side} {white}\n".encode() + rows)

    return save


def plain_pgm(path: Path) -> None:
    """Numbers as text."""
    row = b"".join(b"%d\n" % column for column in range(2_000))
    path.write_bytes(b"P2 2000 2000 4095\n" + row * 2_000)


EXIF_TURNED = Image.Exif()
EXIF_TURNED[0x0112] = 6
LARGEST: dict[str, Callable[[Path], None]] = {
    "JPEG": saved("RGB", "JPEG", exif=EXIF_TURNED),
    "JPEG progressive": saved("RGB", "JPEG", progressive=True, subsampling=0),
    "JPEG CMYK progressive": saved("CMYK", "JPEG", side=6_900, progressive=True, subsampling=0),
    "PNG bomb": bomb_png,
    "PNG RGBA turned": saved("RGBA", "PNG", compress_level=1, exif=EXIF_TURNED),
    "PNG LA": saved("LA", "PNG", compress_level=1),
    "PNG palette": saved("P", "PNG", compress_level=1),
    "PNG 16-bit": saved("I;16", "PNG", compress_level=1),
    "GIF": saved("P", "GIF"),
    "BMP": saved("RGB", "BMP"),
    "BMP run-length": short_runs_bmp,
    "PPM": saved("RGB", "PPM"),
    "PPM 12-bit": netpbm("P6", 6_500, 4_095),
    "PGM as text": plain_pgm,
    "PGM 12-bit": netpbm("P5", 8_000, 4_095),
    "PGM 16-bit": netpbm("P5", 8_000, 65_535),
    "TIFF RGBA": saved("RGBA", "TIFF", side=6_000, compression="tiff_lzw"),
    "TIFF 16-bit RGBA": deep_tiff,
    "WebP": saved("RGB", "WEBP", side=4_472, method=0),
    "WebP lossless": saved("RGB", "WEBP", side=4_472, lossless=True, method=0, quality=0),
}

PLAIN = ("PNG bomb", "TIFF 16-bit RGBA")  # all black
PREPARE = """
import json, sys, time
from beltsight.image import prepare
began_s = time.perf_counter()
photo = prepare(sys.argv[1])
spread = int(photo.max()) - int(photo.min())
print(json.dumps({"seconds": time.perf_counter() - began_s, "spread": spread}))
"""


@pytest.mark.parametrize("name", list(LARGEST))
def test_the_largest_photo_of_each_kind_stays_under_512_mb(
    name: str, tmp_path: Path, run_alone: Any
) -> None:
    path = tmp_path / "largest"
    LARGEST[name](path)
    run = run_alone(PREPARE, str(path))
    path.unlink()
    found = json.loads(run.stdout)
    print(f"{name}: {run.peak_mb:.0f} MB, {found['seconds']:.2f} s")
    assert 20 < run.peak_mb < MAX_MEMORY_MB
    assert found["seconds"] < 20
    assert (found["spread"] > 10) == (name not in PLAIN)


def test_a_48_megapixel_jpeg_takes_under_a_second(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    grain = np.random.default_rng(0).normal(128, 12, (500, 500, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(np.tile(grain, (12, 16, 1))).save(path, quality=85)
    assert path.stat().st_size > 10_000_000  # as detailed as a phone's
    times_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        prepare(path)
        times_s.append(time.perf_counter() - began_s)
    print(f"48 MP JPEG: {min(times_s):.3f} s")
    assert min(times_s) < 1.0


def test_a_reduced_photo_is_never_smaller_than_enough() -> None:
    for width, height in ((1_000, 700), (897, 896), (3_000, 450), (449, 5_000)):
        stream = io.BytesIO()
        Image.new("RGB", (width, height)).save(stream, "JPEG")
        for source in (stream.getvalue(), np.zeros((height, width, 3), np.uint8)):
            got = decode(source, enough=(448, 300))
            assert got.shape[0] >= min(300, height)
            assert got.shape[1] >= min(448, width)
    largest = np.full((MAX_PIXELS // 8_000, 8_000), 9, np.uint8)
    assert (prepare(largest, Preparation(64, 64)) == 9).all()
