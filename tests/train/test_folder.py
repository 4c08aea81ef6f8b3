from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.train.tiny_settings import tiny

from beltsight.errors import TrainError
from beltsight.train.folder import opened_folder, stored_settings, write_text


def test_a_disk_that_fills_up_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened_folder(tmp_path, tiny(), resume=False):
        pass

    def half(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode(encoding)[: len(text) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(TrainError, match=r"settings\.toml: cannot be written: No space left"):
        write_text(tmp_path / "settings.toml", "seed = 1")
    assert stored_settings(tmp_path) == tiny()
    assert {path.name for path in tmp_path.iterdir()} == {"settings.toml", ".lock"}


def test_drafts_of_a_process_that_was_killed_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.safetensors.123.part").write_bytes(b"half")
    with opened_folder(tmp_path, tiny(), resume=False):
        assert {path.name for path in tmp_path.iterdir()} == {"settings.toml", ".lock"}
