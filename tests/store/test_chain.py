from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest

from beltsight.errors import StoreError
from beltsight.store import Chain, Head, HeadFile, read_heads, read_key

KEY = b"0123456789abcdef"


def test_a_mac_is_hmac_sha256_of_line_number_mac_before_and_body() -> None:
    chain = Chain("nörd", bytes(range(16)), KEY)
    message = (
        b"beltsight log 1\0" + bytes(range(16)) + b"\0\x05n\xc3\xb6rd"
        + b"\0\0\0\0\0\0\0\x07" + b"m" * 32 + b"{}"
    )  # fmt: skip
    assert chain.mac(7, b"m" * 32, b"{}") == hmac.new(KEY, message, hashlib.sha256).digest()
    bare = Chain("nörd", bytes(range(16)))
    assert bare.mac(7, b"m" * 32, b"{}") == hashlib.sha256(message).digest()


def test_the_key_check_tells_keys_apart_and_the_key_is_never_shown() -> None:
    chain = Chain("a", bytes(16), KEY)
    assert chain.key_check != Chain("a", bytes(16), KEY + b"!").key_check
    assert "0123" not in repr(chain)


def test_a_key_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BELTSIGHT_LOG_KEY", raising=False)
    assert read_key() is None
    monkeypatch.setenv("BELTSIGHT_LOG_KEY", " of the environment ")
    assert read_key() == b"of the environment"
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    assert read_key(file) == KEY


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 5000])
def test_a_key_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(StoreError, match="openssl rand"):
        read_key(file)
    with pytest.raises(StoreError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_heads_are_written_and_read(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "heads")
    heads = [Head("a", "00" * 16, n, "ff" * 32, 1.5 * n) for n in (1, 2)]
    for head in heads:
        file(head)
    assert read_heads(file.path) == heads


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    file = HeadFile(tmp_path / "heads")
    file(Head("a", "00" * 16, 1, "ff" * 32, 1.0))
    with file.path.open("ab") as rest:
        rest.write(b'{"chain": "00')
    file(Head("a", "00" * 16, 3, "ff" * 32, 3.0))
    assert [head.sequence for head in read_heads(file.path)] == [1, 3]


@pytest.mark.parametrize(
    "line",
    ['{"a":1}', '{"chain":"zz","line":"a","mac":"00","sequence":1,"wall_s":1}', "x" * 3000 + "}"],
)
def test_what_is_no_head_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "heads"
    file.write_text(line + "\n", encoding="utf-8")
    with pytest.raises(StoreError, match="line 1: expected a head"):
        read_heads(file)


def test_heads_that_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no head can be written"):
        HeadFile(tmp_path / "none" / "heads")(Head("a", "00", 1, "ff", 1.0))
    with pytest.raises(StoreError, match="cannot be read"):
        read_heads(tmp_path / "none")
