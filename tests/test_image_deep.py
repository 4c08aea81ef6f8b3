"""Photos of more than 8 bits show the brightness that was stored, whatever stands for it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beltsight import image as image_module
from beltsight.errors import DecodeError
from beltsight.image import decode

# Every brightness of 12 bits once, 64 x 64, and what is seen of it.
TWELVE = np.arange(4096, dtype=np.uint16).reshape(64, 64)
SEEN = (TWELVE // 16).astype(np.uint8)


def tiff(bits: int, photometric: int, pixels: bytes, deflated: bool = False) -> bytes:
    """A little-endian grey TIFF of 64 x 64 pixels in one strip."""
    body = zlib.compress(pixels) if deflated else pixels
    tags = (
        (256, 3, 64), (257, 3, 64), (258, 3, bits), (259, 3, 8 if deflated else 1),
        (262, 3, photometric), (273, 4, 8), (277, 3, 1), (278, 3, 64), (279, 4, len(body)),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    return head + body + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def packed(values: NDArray[np.uint16]) -> bytes:
    """Two values of 12 bits in three bytes."""
    first, second = values.reshape(-1, 2).astype(int).T
    three = (first >> 4, (first & 15) << 4 | second >> 8, second & 255)
    return np.stack(three, axis=1).astype(np.uint8).tobytes()


def grey_png(values: NDArray[Any], clear: int) -> bytes:
    """A 16-bit grey PNG where one value is transparent."""
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    data = stream.getvalue()
    body = b"tRNS" + struct.pack(">H", clear)
    at = data.index(b"IDAT") - 4
    return data[:at] + struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body)) + data[at:]


def shown(data: bytes) -> NDArray[np.uint8]:
    """The decoded photo's grey; its three colours are the same."""
    photo = decode(data)
    assert (photo == photo[:, :, :1]).all()
    return photo[:, :, 0]


FORMS: dict[str, Callable[[], bytes]] = {
    "TIFF 12": lambda: tiff(12, 1, packed(TWELVE)),
    "TIFF 12 deflated": lambda: tiff(12, 1, packed(TWELVE), deflated=True),
    "TIFF 16": lambda: tiff(16, 1, (TWELVE << 4).tobytes()),
    "TIFF 16 white is zero": lambda: tiff(16, 0, (~(TWELVE << 4)).tobytes()),
    "TIFF 16 white is zero deflated": lambda: tiff(16, 0, (~(TWELVE << 4)).tobytes(), True),
    "PGM 12": lambda: b"P5 64 64 4095\n" + TWELVE.astype(">u2").tobytes(),
}


@pytest.mark.parametrize("name", list(FORMS))
def test_deep_grey_shows_its_high_8_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(shown(FORMS[name]()), SEEN)
    monkeypatch.setattr(image_module, "_STRIP_PIXELS", 1)  # row by row
    np.testing.assert_array_equal(shown(FORMS[name]()), SEEN)


def test_white_is_zero_at_8_bits_as_at_16() -> None:
    np.testing.assert_array_equal(shown(tiff(8, 0, (255 - SEEN).tobytes())), SEEN)


def test_what_is_transparent_in_deep_grey_is_white(monkeypatch: pytest.MonkeyPatch) -> None:
    values = TWELVE << 4
    expected = SEEN.copy()
    expected[1, 2] = 255  # only this value, not the others of its high byte
    data = grey_png(values, int(values[1, 2]))
    np.testing.assert_array_equal(shown(data), expected)
    monkeypatch.setattr(image_module, "_STRIP_PIXELS", 1)
    np.testing.assert_array_equal(shown(data), expected)


@pytest.mark.parametrize(
    ("magic", "mode", "white"),
    [
        ("P5", "L", 100), ("P5", "I", 1000), ("P5", "I", 4095), ("P6", "RGB", 31),
        ("P6", "RGB", 254), ("PyRGBA", "RGBA", 15), ("PyCMYK", "CMYK", 15),
    ],
)  # fmt: skip
def test_netpbm_of_any_white_is_as_pillow_reads_it(magic: str, mode: str, white: int) -> None:
    """Also values beyond white, which are white."""
    rng = np.random.default_rng(0)
    bands = len(Image.new(mode, (1, 1)).getbands())
    kind: Any = np.uint8 if white < 256 else ">u2"
    values = rng.integers(0, white + 2, (9, 7, bands)).astype(kind)
    data = f"{magic}\n7 9 {white}\n".encode() + values.tobytes()
    loaded = Image.open(io.BytesIO(data))
    loaded.load()
    assert loaded.mode == mode
    np.testing.assert_array_equal(decode(data), decode(loaded))
    np.testing.assert_array_equal(decode(data), decode(Image.open(io.BytesIO(data))))


def test_a_deep_colour_ppm_shows_its_high_bytes() -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, 3)).astype(np.uint16)
    data = b"P6 7 9 65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(data), values >> 8)


def test_a_deep_pgm_that_ends_early_is_an_error() -> None:
    with pytest.raises(DecodeError, match="truncated or corrupt photo"):
        decode(FORMS["PGM 12"]()[:-1])
