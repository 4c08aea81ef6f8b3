from __future__ import annotations

import errno
from pathlib import Path

import pytest

from beltsight.dataset.soil_folder import begin, keep_row, kept_rows
from beltsight.errors import DatasetError

ROWS = [{"path": f"images/{number}.jpg"} for number in range(3)]


def begun(folder: Path) -> Path:
    begin(folder, "digest")
    for row in ROWS:
        keep_row(folder, row)
    return folder


def test_a_row_that_cannot_be_kept_is_a_data_set_error(tmp_path: Path) -> None:
    (tmp_path / "rows.part.jsonl").mkdir()
    with pytest.raises(DatasetError, match=r"rows\.part\.jsonl: cannot be written: Is a dir"):
        keep_row(tmp_path, ROWS[0])


def test_rows_outlive_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(tmp_path)

    def half(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        patch.setattr(Path, "write_text", lambda path, text, **_: half(path, text.encode()))
        with pytest.raises(DatasetError, match="No space left"):
            kept_rows(tmp_path)
    assert list(kept_rows(tmp_path).values()) == ROWS


def test_drafts_of_a_killed_call_are_cleared_away(tmp_path: Path) -> None:
    draft = begun(tmp_path) / "images" / ".0.jpg.123.part"
    draft.parent.mkdir()
    draft.write_bytes(b"half")
    begin(tmp_path, "digest")
    assert not draft.exists() and list(kept_rows(tmp_path).values()) == ROWS
