"""What is no usable photo is one error of the project that names the file."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from beltsight.errors import DecodeError, ImageError, TooLargeError
from beltsight.image import MAX_BYTES, prepare, read_photo_bytes


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.full((4, 4, 3), np.nan),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 3), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.array([["a", "b"]]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_unsuitable_array_is_one_error(array: NDArray[Any]) -> None:
    with pytest.raises(ImageError, match=r"^array of .*; expected"):
        prepare(array)


@pytest.mark.parametrize("source", [None, 3, ["a.jpg"], object()])
def test_what_is_no_source_is_one_error(source: Any) -> None:
    with pytest.raises(ImageError, match="expected a path, encoded bytes, a PIL image"):
        prepare(source)


JPEG = encoded("JPEG")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"\0" * 1000, "not a photo; expected JPEG"),
        (b"Dear colleague,\n" * 100, "not a photo; expected JPEG"),
        (JPEG[:2], "not a photo"),
        (JPEG[: len(JPEG) // 2], "truncated or corrupt"),
        (encoded("PNG")[:60], "truncated or corrupt"),
        (encoded("WEBP")[:-20], "truncated or corrupt"),
        (encoded("PDF"), "not a photo"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not a photo"),
    ],
    ids=["empty", "zeros", "text", "JPEG 2 bytes", "JPEG half", "PNG", "WebP", "PDF", "EPS", "SVG"],
)
def test_a_file_that_is_no_whole_photo_is_one_error_naming_it(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=said) as caught:
        prepare(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(DecodeError, match=said) as caught:
        prepare(content)
    assert str(caught.value).startswith("image bytes: ")


def test_a_path_that_is_no_file_is_one_error(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    for path, said in (
        (tmp_path / "none.jpg", "does not exist"),
        (tmp_path, "is not a file"),
        (fifo, "is not a file"),
        (Path("/dev/zero"), "is not a file"),
        ("nul\0byte.jpg", "does not exist"),
        ("", "does not exist"),
    ):
        with pytest.raises(DecodeError, match=said):
            prepare(path)


def test_a_file_without_permission_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(JPEG)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads every file")
    with pytest.raises(DecodeError, match="no permission"):
        prepare(path)


def test_no_permission_is_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a root user, who is refused nothing."""
    path = tmp_path / "secret.jpg"
    path.write_bytes(JPEG)

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DecodeError, match=r"secret\.jpg: no permission to read it"):
        prepare(path)


def test_the_bytes_of_a_photo_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    assert read_photo_bytes(tmp_path / "a.jpg") == JPEG


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "empty", "secret"])
def test_no_bytes_of_what_is_no_readable_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jpg"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else JPEG)
    if kind == "secret":
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    with pytest.raises(DecodeError, match=r"a\.jpg: "):
        read_photo_bytes(path)


def test_no_bytes_of_a_file_over_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(TooLargeError, match=r"a\.jpg: 256,000,001 bytes"):
        read_photo_bytes(path)
