"""A photo that fits into one strip takes a shorter way, to the same pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beltsight import image as image_module
from beltsight.config import ASSETS
from beltsight.image import Preparation, Source, decode, letterbox_box, prepare
from beltsight.records import Photo

PREPARATION = Preparation(96, 128, (10, 128, 200))
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "I")
DEMO = sorted((ASSETS / "demo").rglob("*.jpg"))


def drawn(mode: str) -> Image.Image:
    """Noise of some size that is no multiple of anything, in one of Pillow's modes."""
    noise = np.random.default_rng(1).integers(0, 256, (61, 83, 4), np.uint8)
    if mode == "I":
        return Image.fromarray(noise[:, :, 0].astype(np.int32) * 200)
    way = "LA" if mode == "PA" else "RGBA"
    return Image.fromarray(noise).convert(way).convert(mode)


def palette_with_a_clear_entry() -> bytes:
    stream = io.BytesIO()
    drawn("P").save(stream, "PNG", transparency=3)
    return stream.getvalue()


def turned(orientation: int) -> Image.Image:
    image = drawn("RGB")
    image.getexif()[0x0112] = orientation
    return image


FORMS: dict[str, Any] = {
    **{mode: drawn(mode) for mode in MODES},
    **{f"turned {n}": turned(n) for n in range(1, 9)},
    "palette with a clear entry": palette_with_a_clear_entry(),
    "grey array": np.asarray(drawn("L")),
    "16-bit array": np.asfortranarray(np.asarray(drawn("RGB")).astype(np.uint16) * 257),
    "RGBA array": np.asarray(drawn("RGBA"))[::-1, ::2],
}


def in_rows(source: Source, monkeypatch: pytest.MonkeyPatch) -> tuple[Photo, Photo]:
    """Decoded and prepared row by row."""
    with monkeypatch.context() as patched:
        patched.setattr(image_module, "_STRIP_PIXELS", 1)
        return decode(source), prepare(source, PREPARATION)


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS.keys())
def test_one_strip_or_many_show_the_same(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, prepared = in_rows(source, monkeypatch)
    np.testing.assert_array_equal(decode(source), photo)
    np.testing.assert_array_equal(prepare(source, PREPARATION), prepared)
    for found in (decode(source), prepare(source, PREPARATION)):
        assert found.flags.writeable
        assert found.flags.c_contiguous


def by_definition(path: Path, preparation: Preparation) -> NDArray[np.uint8]:
    """Pillow's pixels, scaled by OpenCV and laid on a plate of the fill."""
    with Image.open(path) as image:
        photo = np.array(image.convert("RGB"))
    height, width = photo.shape[:2]
    x0, y0, x1, y1 = letterbox_box(height, width, preparation)
    plate = np.empty((preparation.height, preparation.width, 3), np.uint8)
    plate[:] = preparation.fill
    plate[y0:y1, x0:x1] = cv2.resize(photo, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
    return plate


@pytest.mark.parametrize("preparation", [Preparation(fill=(1, 2, 3)), Preparation(256, 200)])
def test_the_packaged_photos_are_what_pillow_and_opencv_make_of_them(
    preparation: Preparation,
) -> None:
    assert len(DEMO) == 36
    for path in DEMO:
        expected = by_definition(path, preparation)
        np.testing.assert_array_equal(prepare(path, preparation), expected)
        np.testing.assert_array_equal(prepare(path.read_bytes(), preparation), expected)


def test_a_reduced_photo_is_of_means_and_can_be_written() -> None:
    photo = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    means = photo.reshape(20, 2, 30, 2, 3).mean(axis=(1, 3))
    for source in (photo, stream.getvalue()):
        got = decode(source, enough=(30, 20))
        assert got.flags.writeable
        assert got.shape == (20, 30, 3)
        assert np.abs(got - means).max() <= 0.5


def test_a_photo_of_one_strip_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> None:
        raise AssertionError("a copy that nobody needs")

    image, whole = drawn("RGB"), decode(drawn("RGB"))
    monkeypatch.setattr(Image.Image, "crop", cut)
    np.testing.assert_array_equal(decode(image), whole)


def test_an_array_of_the_callers_stays_as_it_is() -> None:
    photo = np.asarray(drawn("RGB"))
    assert not photo.flags.writeable
    assert decode(photo) is photo
