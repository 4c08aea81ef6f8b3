from __future__ import annotations

import io
import os
from typing import cast

import pytest

from beltsight.errors import DatasetError
from beltsight.sources import read_list


class Dripping(io.RawIOBase):
    """Gives one byte at a time, as a slow pipe may."""

    def __init__(self, content: bytes) -> None:
        self._rest = io.BytesIO(content)

    def read1(self, size: int = -1) -> bytes:
        return self._rest.read(1)


def listed(content: bytes, *, null: bool = False) -> list[str]:
    whole = list(read_list(io.BytesIO(content), null=null))
    assert list(read_list(cast("io.BufferedIOBase", Dripping(content)), null=null)) == whole
    return whole


def test_lines_of_every_kind() -> None:
    assert listed(b"a.jpg\n\nb c.jpg\r\n d.jpg\n") == ["a.jpg", "b c.jpg", " d.jpg"]
    assert listed(b"last without end") == ["last without end"]
    assert listed(b"") == listed(b"\n\n") == []


def test_a_mark_of_utf8_is_no_part_of_the_first_name() -> None:
    assert listed(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n") == ["a.jpg", "b.jpg"]
    assert listed(b"\xef\xbb\xbf\nb.jpg") == ["b.jpg"]
    assert listed(b"a.jpg\n\xef\xbb\xbfb.jpg") == ["a.jpg", "\ufeffb.jpg"]


def test_nul_lets_a_name_hold_a_line_end() -> None:
    assert listed(b"a\nb.jpg\0c.jpg\r\0", null=True) == ["a\nb.jpg", "c.jpg\r"]


def test_a_name_that_is_no_text_is_kept() -> None:
    (name,) = listed(b"caf\xe9.jpg\n")
    assert os.fsencode(name) == b"caf\xe9.jpg"


def test_a_list_of_nuls_is_told_apart() -> None:
    with pytest.raises(DatasetError, match=r"line 1 of the list holds a NUL.*--null"):
        listed(b"a.jpg\0b.jpg\0")


def test_what_has_no_ends_is_refused_in_bounded_memory() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read1(self, size: int = -1) -> bytes:
            self.given += size
            return b"x" * size

    endless = Endless()
    with pytest.raises(DatasetError, match="entry 2 of the list is over 65,536 bytes"):
        list(read_list(cast("io.BufferedIOBase", _After(b"a.jpg\n", endless))))
    assert endless.given < 300_000


class _After(io.RawIOBase):
    def __init__(self, first: bytes, then: io.RawIOBase) -> None:
        self._first, self._then = first, then

    def read1(self, size: int = -1) -> bytes:
        first, self._first = self._first, b""
        return first or cast("bytes", self._then.read1(size))  # type: ignore[attr-defined]
