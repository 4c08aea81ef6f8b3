"""A photo is decoded as a viewer would show it, then letterboxed; the expected pixels are known
from how each file is made."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beltsight.errors import DecodeError
from beltsight.image import (
    Preparation,
    decode,
    letterbox,
    prepare,
)
from beltsight.records import Photo

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255,) * 3, (0,) * 3
# What every file below shows: four fields of 16 x 8 pixels.
FIELDS = ((RED, GREEN), (BLUE, WHITE))


def fields(colours: Any = FIELDS, rows: int = 16, columns: int = 8) -> Photo:
    """Fields of plain colour, ``rows`` high and ``columns`` wide each."""
    small = np.array(colours, np.uint8)
    return small.repeat(rows, axis=0).repeat(columns, axis=1)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG made by hand, for the forms that Pillow does not write."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def worst(got: Photo, expected: Photo) -> int:
    assert got.dtype == np.uint8
    assert got.shape == expected.shape
    return int(np.abs(got.astype(int) - expected).max())


def rgb() -> Image.Image:
    return Image.fromarray(fields())


def palette(**transparent: Any) -> bytes:
    image = rgb().quantize(4)
    return encoded(image, "PNG", **transparent)


def rgba(alpha: int) -> Image.Image:
    image = rgb()
    image.putalpha(alpha)
    return image


def mixed(colour: tuple[int, int, int], alpha: int) -> list[int]:
    """A colour of some opacity on white paper."""
    return [round((value * alpha + 255 * (255 - alpha)) / 255) for value in colour]


HALF = [[mixed(colour, 128) for colour in row] for row in FIELDS]
LOSSLESS: dict[str, tuple[Callable[[], bytes], Any]] = {
    "PNG RGB": (lambda: encoded(rgb(), "PNG"), FIELDS),
    "PNG palette": (palette, FIELDS),
    "PNG RGBA opaque": (lambda: encoded(rgba(255), "PNG"), FIELDS),
    "PNG RGBA half": (lambda: encoded(rgba(128), "PNG"), HALF),
    "PNG RGBA clear": (lambda: encoded(rgba(0), "PNG"), ((WHITE, WHITE), (WHITE, WHITE))),
    "PNG 16-bit RGB": (
        lambda: png(
            32, 16, 16, 2, b"".join(b"\0" + b"\x80\xff\x10\0\0\x7f" * 32 for _ in range(16))
        ),
        (((0x80, 0x10, 0x00),) * 4,),
    ),
    "PNG colour key": (
        lambda: png(
            2, 1, 8, 2, b"\0\xff\0\0\0\xff\0", chunk(b"tRNS", struct.pack(">HHH", 255, 0, 0))
        ),
        "red is transparent",
    ),
    "GIF": (lambda: encoded(rgb().quantize(4), "GIF"), FIELDS),
    "BMP": (lambda: encoded(rgb(), "BMP"), FIELDS),
    "PPM": (lambda: encoded(rgb(), "PPM"), FIELDS),
    "WebP lossless": (lambda: encoded(rgb(), "WEBP", lossless=True), FIELDS),
    "WebP lossless half": (lambda: encoded(rgba(128), "WEBP", lossless=True, exact=True), HALF),
    "TIFF RGB": (lambda: encoded(rgb(), "TIFF"), FIELDS),
    "TIFF LZW": (lambda: encoded(rgb(), "TIFF", compression="tiff_lzw"), FIELDS),
    "TIFF RGBA half": (lambda: encoded(rgba(128), "TIFF"), HALF),
}


@pytest.mark.parametrize("name", [name for name in LOSSLESS if name != "PNG colour key"])
def test_lossless_forms_show_exactly_what_was_drawn(name: str) -> None:
    make, colours = LOSSLESS[name]
    expected = fields(colours) if name != "PNG 16-bit RGB" else fields(colours, 16, 8)
    assert worst(decode(make()), expected) == 0


def test_a_colour_key_is_transparent_and_so_white() -> None:
    got = decode(LOSSLESS["PNG colour key"][0]())
    np.testing.assert_array_equal(got, [[WHITE, GREEN]])


def test_a_palette_with_a_transparent_entry_shows_white_there() -> None:
    image = rgb().quantize(4)
    red = image.getpixel((0, 0))
    expected = fields(((WHITE, GREEN), (BLUE, WHITE)))
    assert worst(decode(encoded(image, "PNG", transparency=red)), expected) == 0
    assert worst(decode(encoded(image, "GIF", transparency=red)), expected) == 0


def test_a_palette_with_an_opacity_for_each_entry() -> None:
    image = rgb().quantize(4)
    opacity = bytearray([255] * 4)
    red = image.getpixel((0, 0))
    assert isinstance(red, int)
    opacity[red] = 128
    expected = fields(((mixed(RED, 128), GREEN), (BLUE, WHITE)))
    assert worst(decode(encoded(image, "PNG", transparency=bytes(opacity))), expected) == 0


def grey_steps(dtype: type[np.unsignedinteger[Any]]) -> NDArray[Any]:
    """Every brightness 0 to 255 once, in the high byte, with noise in the low one."""
    steps = np.arange(256, dtype=np.uint32).reshape(16, 16)
    return (steps if dtype == np.uint8 else steps * 256 + (steps * 7) % 256).astype(dtype)


GREY = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


def big_endian_tiff() -> bytes:
    """A big-endian 16-bit grey TIFF made by hand."""
    pixels = grey_steps(np.uint16).astype(">u2").tobytes()
    tags = [
        (256, 3, 16), (257, 3, 16), (258, 3, 16), (259, 3, 1), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 3, 16), (279, 4, len(pixels)),
    ]  # fmt: skip
    entries = b"".join(
        struct.pack(">HHI", tag, kind, 1)
        + struct.pack(">HH" if kind == 3 else ">I", value, *[0] * (kind == 3))
        for tag, kind, value in tags
    )
    start = 8 + len(pixels)
    directory = struct.pack(">H", len(tags)) + entries + struct.pack(">I", 0)
    return b"MM\0*" + struct.pack(">I", start) + pixels + directory


@pytest.mark.parametrize(
    "make",
    [
        lambda: encoded(Image.fromarray(grey_steps(np.uint8)), "PNG"),
        lambda: encoded(Image.fromarray(grey_steps(np.uint8)), "TIFF"),
        lambda: encoded(Image.fromarray(grey_steps(np.uint8)), "BMP"),
        lambda: encoded(Image.fromarray(grey_steps(np.uint16)), "PNG"),
        lambda: encoded(Image.fromarray(grey_steps(np.uint16)), "TIFF"),
        big_endian_tiff,
        lambda: b"P5 16 16 65535\n" + grey_steps(np.uint16).astype(">u2").tobytes(),
        lambda: encoded(Image.fromarray(grey_steps(np.uint16).astype(np.int32)), "TIFF"),
        cv2.imencode(".tiff", grey_steps(np.uint16))[1].tobytes,
    ],
    ids=["PNG 8", "TIFF 8", "BMP 8", "PNG 16", "TIFF II 16", "TIFF MM 16", "PGM 16", "TIFF 32",
         "TIFF 16 by OpenCV"],
)  # fmt: skip
def test_grey_of_any_depth_shows_its_high_byte(make: Callable[[], bytes]) -> None:
    assert worst(decode(make()), GREY) == 0


def test_grey_with_opacity_lies_on_white() -> None:
    image = Image.fromarray(grey_steps(np.uint8))
    image.putalpha(128)
    expected = np.rint((GREY.astype(float) * 128 + 255.0 * 127) / 255).astype(np.uint8)
    assert worst(decode(encoded(image, "PNG")), expected) == 0


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(fields(((BLACK, WHITE), (WHITE, BLACK)))).convert("1")
    for form in ("PNG", "TIFF", "BMP"):
        got = decode(encoded(bits, form))
        assert worst(got, fields(((BLACK, WHITE), (WHITE, BLACK)))) == 0


@pytest.mark.parametrize("bad", [-1, 65536, 2**31 - 1])
def test_deep_grey_without_a_defined_white_is_an_error(bad: int) -> None:
    values = grey_steps(np.uint16).astype(np.int32)
    values[5, 5] = bad
    with pytest.raises(DecodeError, match="no defined brightness"):
        decode(encoded(Image.fromarray(values), "TIFF"))
    with pytest.raises(DecodeError, match="no defined brightness"):
        decode(encoded(Image.fromarray(values.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"subsampling": 0, "optimize": True}),
        ("TIFF", {"compression": "jpeg"}),
        ("WEBP", {"quality": 95}),
        ("MPO", {"save_all": True, "append_images": [Image.new("RGB", (16, 32), "black")]}),
    ],
)
def test_lossy_forms_show_nearly_what_was_drawn(form: str, options: dict[str, Any]) -> None:
    big = fields(rows=64, columns=64)
    got = decode(encoded(Image.fromarray(big), form, **{"quality": 95, **options}))
    centres = np.ix_([32, 96], [32, 96])
    assert worst(got[centres], big[centres]) <= 6


def test_the_inks_of_a_cmyk_jpeg_are_seen_as_colours() -> None:
    inks = Image.merge("CMYK", [
        Image.fromarray(np.full((64, 64), value, np.uint8)) for value in (0, 255, 255, 0)
    ])  # fmt: skip
    data = encoded(inks, "JPEG", quality=95)  # magenta and yellow make red
    assert b"Adobe" in data
    assert worst(decode(data)[32:33, 32:33], np.array([[RED]], np.uint8)) <= 6


def test_a_grey_jpeg() -> None:
    got = decode(encoded(Image.new("L", (64, 64), 77), "JPEG"))
    assert worst(got, np.full((64, 64, 3), 77, np.uint8)) <= 1


def test_the_other_colour_models_of_tiff() -> None:
    for mode in ("YCbCr", "CMYK"):
        got = decode(encoded(rgb().convert(mode), "TIFF"))
        assert worst(got, fields()) <= 2, mode


def test_an_animation_shows_its_first_frame() -> None:
    later = [Image.new("RGB", (16, 32), "black")]
    for form, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True})):
        image = rgb().quantize(4) if form == "GIF" else rgb()
        data = encoded(image, form, save_all=True, append_images=later, **options)
        assert worst(decode(data), fields()) == 0, form


# What a viewer shows of the stored fields ((red, green), (blue, white)), from the EXIF standard:
# the place of row 0 and of column 0, e.g. 6 = row 0 is the right-hand side, column 0 the top.
UPRIGHT = {
    1: ((RED, GREEN), (BLUE, WHITE)),
    2: ((GREEN, RED), (WHITE, BLUE)),
    3: ((WHITE, BLUE), (GREEN, RED)),
    4: ((BLUE, WHITE), (RED, GREEN)),
    5: ((RED, BLUE), (GREEN, WHITE)),
    6: ((BLUE, RED), (WHITE, GREEN)),
    7: ((WHITE, GREEN), (BLUE, RED)),
    8: ((GREEN, WHITE), (RED, BLUE)),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG", "array of PIL"])
@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_photos_are_upright(orientation: int, form: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(fields(rows=64, columns=32))
    sizes = (64, 32) if orientation < 5 else (32, 64)
    expected = fields(UPRIGHT[orientation], *sizes)
    if form == "array of PIL":
        stored.getexif()[0x0112] = orientation
        assert worst(decode(stored), expected) == 0
        return
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(form, {})
    path = tmp_path / f"photo.{form.lower()}"
    stored.save(path, form, exif=exif, **options)  # type: ignore[arg-type]
    got = decode(path)
    assert got.shape == expected.shape
    half_y, half_x = sizes
    centres = np.ix_([half_y // 2, half_y * 3 // 2], [half_x // 2, half_x * 3 // 2])
    assert worst(got[centres], expected[centres]) <= (6 if form == "JPEG" else 0)


def test_a_large_turned_jpeg_is_upright_when_its_decoder_reduces_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    big = Image.fromarray(fields(rows=2000, columns=1000))
    got = prepare(encoded(big, "JPEG", exif=exif), Preparation(112, 224))
    assert decode(encoded(big, "JPEG", exif=exif), enough=(448, 224)).shape == (250, 500, 3)
    assert worst(got[[28, 84]][:, [56, 168]], np.array(UPRIGHT[6], np.uint8)) <= 6


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_passed_over(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert worst(decode(encoded(rgb(), "PNG", exif=exif)), fields()) == 0


def test_a_damaged_exif_block_does_not_refuse_the_photo() -> None:
    data = encoded(
        Image.fromarray(fields(rows=64, columns=64)), "JPEG", exif=b"Exif\0\0" + b"\xff" * 40
    )
    assert decode(data).shape == (128, 128, 3)


def test_all_sources_of_one_photo_agree(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    photo = cv2.resize(noise, (1501, 997), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    image = Image.fromarray(photo)
    path = tmp_path / "photo.png"
    image.save(path, compress_level=1)
    expected = prepare(photo)
    for source in (path, str(path), path.read_bytes(), image):
        np.testing.assert_array_equal(prepare(source), expected)
    # Reduction by a whole factor before the last step is not seen.
    gap = np.abs(expected.astype(int) - letterbox(photo, Preparation()))
    assert gap.mean() < 0.5  # rounding twice instead of once
    assert gap.max() <= 6


def test_arrays_of_every_accepted_form_agree() -> None:
    grey = grey_steps(np.uint8)
    opaque = np.concatenate([GREY, np.full((16, 16, 1), 255, np.uint8)], axis=2)
    strided = np.asfortranarray(GREY)
    forms: list[Any] = [grey, grey[:, :, None], GREY, opaque, GREY.astype(np.uint16) << 8, strided]
    for array in forms:
        np.testing.assert_array_equal(decode(array), GREY)
    half = np.concatenate([fields(), np.full((32, 16, 1), 128, np.uint8)], axis=2)
    np.testing.assert_array_equal(decode(half), fields(HALF))


def test_an_array_is_never_changed_nor_an_image_turned() -> None:
    photo = fields()
    before = photo.copy()
    out = prepare(photo)
    out[:] = 0
    np.testing.assert_array_equal(photo, before)
    assert out.flags.writeable
    assert out.flags.c_contiguous
    assert out.flags.owndata
