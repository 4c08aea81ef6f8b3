from __future__ import annotations

import csv
import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from beltsight.answers import AnswerFile, RunState, answer_columns, form_of
from beltsight.answers.state import read_state, state_path, write_state
from beltsight.errors import BeltsightError, ResumeError
from beltsight.records import TaskSpec

COLUMNS = answer_columns((TaskSpec("material", ("a", "b")),))
SETTINGS = {"model": "cafe", "policy": ""}
NAMES = [f"{n}\n.jpg" if n == 3 else f"{n}.jpg" for n in range(10)]
SUFFIXES = [".jsonl", ".csv", ".parquet"]


def record(name: str) -> dict[str, Any]:
    return {"path": name, "error": "bad" if name == "2.jpg" else None}


def begin(out: Path, settings: dict[str, str] = SETTINGS) -> AnswerFile:
    return AnswerFile.begin(out, form_of(out, COLUMNS), settings)


def resume(out: Path, settings: dict[str, str] = SETTINGS) -> AnswerFile:
    return AnswerFile.resume(out, form_of(out, COLUMNS), settings)


def add(file: AnswerFile, names: list[str]) -> None:
    for name in names:
        file.add(name, record(name))


def go_on(out: Path, names: list[str] = NAMES) -> list[str]:
    """Resume and finish; the names that were answered in this half."""
    with resume(out) as file:
        rest = list(file.skip_answered(iter(names), str))
        add(file, rest)
        file.finish()
    return rest


def paths(out: Path) -> list[str]:
    if out.suffix == ".jsonl":
        return [json.loads(line)["path"] for line in out.read_bytes().splitlines()]
    if out.suffix == ".csv":
        with out.open(encoding="utf-8", newline="") as file:
            return [row["path"] for row in csv.DictReader(file)]
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    found: list[str] = parquet.read_table(out).column("path").to_pylist()
    return found


@pytest.fixture(params=SUFFIXES)
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".parquet":
        pytest.importorskip("pyarrow.parquet")
    return tmp_path / f"answers{request.param}"


def test_a_whole_run_leaves_the_file_alone(out: Path) -> None:
    with begin(out) as file:
        add(file, NAMES)
        assert (file.state.answered, file.state.failed) == (10, 1)
        file.finish()
    assert paths(out) == NAMES
    assert os.listdir(out.parent) == [out.name]


@pytest.mark.parametrize("completes", [False, True])
def test_what_another_process_does_until_the_lock_is_taken_counts(
    out: Path, completes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fcntl")
    from beltsight.answers import file as module

    with begin(out) as file:
        add(file, NAMES[:4])
    real, waiting = module._lock, [out]

    def lock_late(rows: Any, path: Path) -> None:
        if waiting:
            with resume(waiting.pop()) as other:
                add(other, NAMES[4:7])
                if completes:
                    other.finish()
        real(rows, path)

    monkeypatch.setattr(module, "_lock", lock_late)
    if completes:
        with pytest.raises(ResumeError, match="nothing to resume"):
            resume(out)
        assert paths(out) == NAMES[:7]
    else:
        with resume(out) as late:
            assert late.state.answered == 7
        assert go_on(out) == NAMES[7:]
        assert paths(out) == NAMES


@pytest.mark.parametrize("done", [0, 1, 4, 10])
def test_a_stopped_run_goes_on(out: Path, done: int) -> None:
    with begin(out) as file:
        add(file, NAMES[:done])
    assert go_on(out) == NAMES[done:]
    assert paths(out) == NAMES
    assert os.listdir(out.parent) == [out.name]


class Killed(BaseException):
    """Stands for the end of the process: nothing that follows is run."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process die before its nth call that changes the disk."""
    calls = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Killed
            return real(*arguments, **options)

        return call

    monkeypatch.setattr(os, "replace", dying(os.replace))
    monkeypatch.setattr(os, "fsync", dying(os.fsync))
    monkeypatch.setattr(Path, "unlink", dying(Path.unlink))


def dies(out: Path, step: int) -> bool:
    """One half of a run that saves after each answer; whether it died before its end."""
    ticks = itertools.count(0, 10)
    file: AnswerFile | None = None
    with pytest.MonkeyPatch.context() as patched:
        die_at(step, patched)
        try:
            form = form_of(out, COLUMNS)
            file = AnswerFile.resume(out, form, SETTINGS, clock=lambda: float(next(ticks)))
            add(file, list(file.skip_answered(iter(NAMES), str)))
            file.finish()
        except Killed:
            return True
        finally:
            if file is not None:
                file._rows.close()  # as the system does; what was buffered comes after the state
    return False


@pytest.mark.parametrize("step", range(1, 37))
def test_a_run_that_dies_at_any_step_loses_nothing_and_answers_nothing_twice(
    out: Path, step: int
) -> None:
    assert dies(out, step)
    if step > 4 and state_path(out).exists():
        assert read_state(state_path(out)).answered >= (step - 5) // 3
    dies(out, max(3, step // 2))
    if state_path(out).exists() or not out.exists():
        go_on(out)
    assert paths(out) == NAMES
    assert not state_path(out).exists()


def test_rows_beyond_the_state_are_cut_off_and_answered_again(out: Path) -> None:
    with begin(out) as file:
        add(file, NAMES[:5])
    rows = file.form.rows_path(out)
    with rows.open("ab") as torn:
        torn.write(b'{"path": "5.jpg", "err')
    assert go_on(out) == NAMES[5:]
    assert paths(out) == NAMES


def test_a_link_that_leads_nowhere_is_no_free_name(out: Path) -> None:
    out.symlink_to(out.with_name("nowhere"))
    with pytest.raises(ResumeError, match="is already there; delete it"):
        begin(out)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_second_run_never_overwrites(out: Path) -> None:
    with begin(out) as file:
        add(file, NAMES[:2])
    with pytest.raises(ResumeError, match="go on with --resume"):
        begin(out)
    go_on(out)
    before = out.read_bytes()
    with pytest.raises(ResumeError, match="is already there"):
        begin(out)
    with pytest.raises(ResumeError, match="nothing to resume"):
        resume(out)
    assert out.read_bytes() == before


def test_other_settings_are_refused_by_name(out: Path) -> None:
    with begin(out, {"model": "cafe", "policy": "site@1"}) as file:
        add(file, NAMES[:2])
    with pytest.raises(
        ResumeError, match="model was cafe and is now beef; policy was site@1 and is now none"
    ):
        resume(out, {"model": "beef"})
    with resume(out, {"model": "cafe", "policy": "site@1"}) as file:
        assert file.state.answered == 2


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([NAMES[1], NAMES[0], *NAMES[2:]], "one before photo 4 is another, or their order is"),
        (["new.jpg", *NAMES], "photo 4 was 3\n.jpg and is now 2.jpg"),
        (NAMES[1:], "photo 4 was 3\n.jpg and is now 4.jpg"),
        (NAMES[:3], "4 photos are answered, but now there are only 3"),
        ([], "only 0"),
    ],
)
def test_other_photos_are_refused(out: Path, names: list[str], reason: str) -> None:
    with begin(out) as file:
        add(file, NAMES[:4])
    with resume(out) as file, pytest.raises(ResumeError) as told:
        file.skip_answered(iter(names), str)
    assert reason in str(told.value)
    assert "same photos in the same order" in str(told.value)
    assert go_on(out) == NAMES[4:]


def test_photos_added_behind_are_answered(out: Path) -> None:
    with begin(out) as file:
        add(file, NAMES)
    assert go_on(out, [*NAMES, "z.jpg"]) == ["z.jpg"]
    assert paths(out) == [*NAMES, "z.jpg"]


def test_two_processes_do_not_write_one_file(out: Path) -> None:
    pytest.importorskip("fcntl")
    with begin(out) as file:
        add(file, NAMES[:2])
        with pytest.raises(ResumeError, match="another process is writing it"):
            resume(out)
        add(file, NAMES[2:])
        file.finish()
    assert paths(out) == NAMES


def test_a_file_is_locked_until_it_is_complete(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet takes minutes to make at the end of a large run."""
    pytest.importorskip("fcntl")
    refused: list[str] = []
    with begin(out) as file:
        add(file, NAMES)
        real = file.form.finish

        def while_it_is_made(path: Path, notes: Any) -> None:
            with pytest.raises(ResumeError, match="another process is writing it"):
                resume(out)
            refused.append(out.name)
            real(path, notes)

        monkeypatch.setattr(file.form, "finish", while_it_is_made)
        file.finish()
    assert refused == [out.name]
    assert paths(out) == NAMES
    assert os.listdir(out.parent) == [out.name]


def test_rows_that_were_changed_are_refused(out: Path) -> None:
    with begin(out) as file:
        add(file, NAMES[:4])
    rows = file.form.rows_path(out)
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(ResumeError, match="it was changed"):
        resume(out)
    rows.unlink()
    with pytest.raises(ResumeError, match="is gone, though 4 photos are answered"):
        resume(out)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"schema": 1}x', '{"schema": 1, "answered": -1}',
     '{"schema": 1, "answered": "1"}', '{"schema": 1, "settings": {"model": 1}}',
     '{"schema": 1, "strange": 1}', '{"schema": 1, "last": 5}', "9" * 5000],
)  # fmt: skip
def test_a_damaged_state_is_refused(tmp_path: Path, text: str) -> None:
    out = tmp_path / "a.jsonl"
    state_path(out).write_text(text)
    with pytest.raises(ResumeError, match="damaged"):
        resume(out)


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    state_path(out).write_text('{"schema": 99}')
    with pytest.raises(ResumeError, match=r"another version of Beltsight \(schema 99"):
        resume(out)


def test_a_state_is_read_back_whatever_the_name(tmp_path: Path) -> None:
    state = RunState({"model": "é"}).after(os.fsdecode(b"caf\xe9\n.jpg"), True, 7)
    write_state(tmp_path / "s", state)
    assert read_state(tmp_path / "s") == state
    assert (state.answered, state.failed, state.size_bytes) == (1, 1, 7)


def test_saving_goes_by_time(tmp_path: Path) -> None:
    out, now = tmp_path / "a.jsonl", 0.0
    with AnswerFile.begin(out, form_of(out, COLUMNS), SETTINGS, clock=lambda: now) as file:
        add(file, NAMES[:3])
        assert read_state(state_path(out)).answered == 0
        now = 2.5
        add(file, NAMES[3:5])
        assert read_state(state_path(out)).answered == 4
        assert len(out.read_bytes().splitlines()) == 4
    assert read_state(state_path(out)).answered == 5


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BeltsightError, match=r"a\.jsonl: cannot be written: "):
        begin(tmp_path / "file" / "a.jsonl")


def test_a_full_disk_is_said_and_keeps_what_is_recorded(out: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with begin(out) as file:
        add(file, NAMES[:4])
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with (
            pytest.raises(BeltsightError, match=r"cannot be written: No space left .*--resume"),
            resume(out) as file,
        ):
            add(file, NAMES[4:])
            file.save()
    assert go_on(out) == NAMES[4:]
    assert paths(out) == NAMES
