from __future__ import annotations

import ctypes
import platform

import pytest

from beltsight.train.memory import keep_freed_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_glibc_can_be_told() -> None:
    assert keep_freed_memory() is True


def test_another_system_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"no {name}")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert keep_freed_memory() is False
