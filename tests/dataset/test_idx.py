"""idx files: whole ones against struct, and every damage as one sentence."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from beltsight.dataset.idx import read_idx
from beltsight.errors import DatasetError


def idx(mark: int, shape: tuple[int, ...], values: bytes) -> bytes:
    return bytes([0, 0, mark, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + values


def test_bytes_of_a_known_file(tmp_path: Path) -> None:
    file = tmp_path / "a-idx3-ubyte"
    file.write_bytes(idx(8, (2, 2, 3), bytes(range(12))))
    array = read_idx(file)
    assert array.dtype == np.uint8 and array.shape == (2, 2, 3)
    assert array[1, 0].tolist() == [6, 7, 8]


@pytest.mark.parametrize(("mark", "form"), [(9, "b"), (11, "h"), (12, "i"), (13, "f"), (14, "d")])
def test_types_with_the_high_byte_first(tmp_path: Path, mark: int, form: str) -> None:
    file = tmp_path / "x"
    file.write_bytes(idx(mark, (3,), struct.pack(f">3{form}", -1, 0, 100)))
    array = read_idx(file)
    assert array.tolist() == [-1, 0, 100]
    assert array.dtype.isnative


def test_the_packed_file_stands_for_the_plain_one(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(8, (2,), b"\5\6")))
    assert read_idx(tmp_path / "x").tolist() == [5, 6]
    assert read_idx(tmp_path / "x.gz").tolist() == [5, 6]


WHOLE = idx(8, (2, 3), bytes(6))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"PK\3\4rest", "not an idx file"),
        (idx(7, (2,), b"\0\0"), "not an idx file"),
        (idx(8, (), b""), "1 to 8 dimensions, its header says 0"),
        (WHOLE[:6], "ends within its header"),
        (WHOLE[:-1], "says 2 x 3 values, 6 bytes, but 5 follow"),
        (WHOLE + b"\0", "but more follow"),
        (idx(8, (2**31, 2**31), b""), "over the limit"),
        (gzip.compress(WHOLE)[:-4], "damaged"),
        (gzip.compress(WHOLE)[:10] + b"\xff" * 20, "damaged"),
        (gzip.compress(WHOLE[:-1]), "5 follow"),
    ],
)
def test_damage_is_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "photos"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=says) as caught:
        read_idx(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Far more follows than the header says: it is not read."""
    file = tmp_path / "bomb"
    file.write_bytes(gzip.compress(WHOLE + bytes(200_000_000), 1))
    tracemalloc.start()
    with pytest.raises(DatasetError, match="more follow"):
        read_idx(file)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no such file, nor train\.gz beside it"):
        read_idx(tmp_path / "train")


def test_mnist(data_dir: Path) -> None:
    folder = data_dir / "mnist"
    photos = read_idx(folder / "t10k-images-idx3-ubyte")
    labels = read_idx(folder / "t10k-labels-idx1-ubyte")
    assert photos.shape == (10000, 28, 28) and labels.shape == (10000,)
    # Known of MNIST: the first test digits, and how many zeros there are.
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert int((labels == 0).sum()) == 980
