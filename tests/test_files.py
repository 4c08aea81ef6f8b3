from __future__ import annotations

import os
from pathlib import Path

import pytest

from beltsight.files import whole


def test_it_takes_its_place_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old", encoding="utf-8")
    with whole(path) as draft:
        draft.write_text("new", encoding="utf-8")
        assert draft.parent == tmp_path and draft.name.startswith(".")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new"
    assert os.listdir(tmp_path) == ["figures.json"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_fails_inside_leaves_what_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "figures.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), whole(path) as draft:
        draft.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["figures.json"]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole(tmp_path / "gone" / "figures.json") as draft:
        draft.write_text("new", encoding="utf-8")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("nothing stops the administrator")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError), whole(tmp_path / "figures.json") as draft:
            draft.write_text("new", encoding="utf-8")
    finally:
        tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == []


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "last.json").symlink_to(tmp_path / "runs" / "7.json")
    for text in ("new", "newer"):  # there is none to replace at first
        with whole(tmp_path / "last.json") as draft:
            draft.write_text(text, encoding="utf-8")
        assert (tmp_path / "runs" / "7.json").read_text(encoding="utf-8") == text
    assert (tmp_path / "last.json").is_symlink()
    assert os.listdir(tmp_path / "runs") == ["7.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs on this system")
def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # else opening it to write would wait
    try:
        with whole(pipe) as draft:
            draft.write_text("page", encoding="utf-8")
        assert os.read(reader, 10) == b"page"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and os.listdir(tmp_path) == ["pipe"]
