"""A file of answers that grows safely: after a kill at any moment the run can go on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

from beltsight.answers.forms import Form
from beltsight.answers.state import RunState, chain_name, read_state, state_path, write_state
from beltsight.errors import BeltsightError, ResumeError

S = TypeVar("S")
_OTHER_PHOTOS = "give the same photos in the same order, or another --out"
# At most this much work is done again after a kill; each time costs a flush to disk.
_SAVE_EVERY_S = 1.0
_BUFFER_BYTES = 262_144


class AnswerFile:
    """Answers being written. Use as a context manager; made by :meth:`begin` or :meth:`resume`.

    Leaving it without :meth:`finish` keeps all that was added, for :meth:`resume`.

    Args:
        out: the file.
        form: how answers are written.
        state: how far the run has come.
        rows: locked, and at the end of what the state counts.
        clock: seconds, monotonic.
    """

    def __init__(
        self, out: Path, form: Form, state: RunState, rows: IO[bytes], clock: Callable[[], float]
    ) -> None:
        self.out = out
        self.form = form
        self.state = state
        self._clock = clock
        self._saved_s = clock()
        self._rows = rows
        if not state.size_bytes:
            head = form.head()
            with _translated(out):
                self._rows.write(head)
            self.state = RunState(state.settings, size_bytes=len(head))

    @classmethod
    def begin(
        cls,
        out: Path,
        form: Form,
        settings: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> AnswerFile:
        """A new file.

        Raises:
            ResumeError: the file, or an unfinished run of it, is already there.
            BeltsightError: it cannot be written.
        """
        with _translated(out):
            if state_path(out).exists():
                raise ResumeError(
                    f"{out}: an unfinished run is there; go on with --resume, or delete it and "
                    f"{state_path(out).name} to begin again"
                )
            for path in (out, form.rows_path(out)):
                if path.exists() or path.is_symlink():  # also one that leads nowhere
                    raise ResumeError(
                        f"{path}: is already there; delete it, or choose another name"
                    )
            out.parent.mkdir(parents=True, exist_ok=True)
            write_state(state_path(out), RunState(dict(settings)))
        return cls._opened(out, form, settings, clock)

    @classmethod
    def resume(
        cls,
        out: Path,
        form: Form,
        settings: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> AnswerFile:
        """Go on with an unfinished file, or begin where there is none.

        Raises:
            ResumeError: the file is complete, damaged, or was begun with other settings.
            BeltsightError: it cannot be written.
        """
        with _translated(out):
            is_begun, is_there = state_path(out).exists(), out.exists()
        if is_begun:
            return cls._opened(out, form, settings, clock)
        if is_there:
            raise _nothing_to_resume(out)
        return cls.begin(out, form, settings, clock)

    @classmethod
    def _opened(
        cls, out: Path, form: Form, settings: Mapping[str, str], clock: Callable[[], float]
    ) -> AnswerFile:
        """The file, locked; only then its state is read: until then another process may go on."""
        rows = _locked_rows(out, form)
        try:
            with _translated(out):
                if not state_path(out).exists():  # the other has completed it
                    raise _nothing_to_resume(out)
                state = read_state(state_path(out))
                _check_settings(out, state.settings, dict(settings))
                _cut(rows, form.rows_path(out), state, state_path(out).name)
            return cls(out, form, state, rows, clock)
        except BaseException:
            _close(rows)
            raise

    def skip_answered(self, sources: Iterator[S], name_of: Callable[[S], str]) -> Iterator[S]:
        """Pass over what is answered, so that ``sources`` stands at the first that is not.

        Args:
            sources: the photos of the whole run, in the same order.
            name_of: what they were added as.

        Returns:
            ``sources``.

        Raises:
            ResumeError: they are not the photos that were answered.
        """
        names, last = "", ""
        for number in range(self.state.answered):
            source = next(sources, None)
            if source is None:
                raise ResumeError(
                    f"{self.out}: {self.state.answered:,} photos are answered, but now there are "
                    f"only {number:,}; {_OTHER_PHOTOS}"
                )
            last = name_of(source)
            names = chain_name(names, last)
        if names != self.state.names:
            what = (
                f"photo {self.state.answered:,} was {self.state.last} and is now {last}"
                if last != self.state.last
                else f"one before photo {self.state.answered:,} is another, or their order is"
            )
            raise ResumeError(f"{self.out}: the photos have changed: {what}; {_OTHER_PHOTOS}")
        return sources

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """Add one answer.

        Args:
            name: the photo's, as :meth:`skip_answered` will find it.
            record: of :func:`beltsight.records.prediction_record`.

        Raises:
            BeltsightError: it cannot be written.
        """
        row = self.form.row(record)
        failed = record["error"] is not None
        with _translated(self.out):
            self._rows.write(row)
        # In one step: an interrupt comes before it or after.
        self.state = self.state.after(name, failed, len(row))
        if self._clock() - self._saved_s >= _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Bring all that was added safely to disk.

        Raises:
            BeltsightError: it cannot be written.
        """
        if self._rows.closed:  # by finish, which has saved
            return
        with _translated(self.out):
            self._rows.flush()
            os.fsync(self._rows.fileno())
            write_state(state_path(self.out), self.state)
        self._saved_s = self._clock()

    def finish(self) -> None:
        """Complete the file: from now on nothing says that it is unfinished.

        Raises:
            BeltsightError: it cannot be written.
        """
        self.save()
        with _translated(self.out):
            self.form.finish(self.out, self.state.settings)
            state_path(self.out).unlink()
            self._rows.close()  # and with it the lock: until here another run must wait
            if self.form.rows_path(self.out) != self.out:
                self.form.rows_path(self.out).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rows.closed:
            return
        try:
            self.save()
        except BeltsightError:
            if error is None:
                raise
        finally:
            _close(self._rows)


def _locked_rows(out: Path, form: Form) -> IO[bytes]:
    """The rows, locked; a file for them is made where no answer is recorded yet."""
    path, mark = form.rows_path(out), state_path(out)
    with _translated(out):
        is_there = path.exists()
        if not is_there and (answered := read_state(mark).answered):
            raise ResumeError(
                f"{path}: is gone, though {answered:,} photos are answered; delete {mark.name} to "
                "begin again"
            )
        rows = path.open("r+b" if is_there else "x+b", buffering=_BUFFER_BYTES)
        try:
            _lock(rows, path)
        except BaseException:
            _close(rows)
            raise
    return rows


def _cut(rows: IO[bytes], path: Path, state: RunState, mark: str) -> None:
    """Cut off what is written beyond the state."""
    size = rows.seek(0, os.SEEK_END)
    if size < state.size_bytes:
        raise ResumeError(
            f"{path}: {size:,} bytes, but {state.size_bytes:,} were written: it was changed. "
            f"Delete it and {mark} to begin again"
        )
    rows.truncate(state.size_bytes)
    rows.seek(state.size_bytes)


def _nothing_to_resume(out: Path) -> ResumeError:
    return ResumeError(
        f"{out}: there is nothing to resume: no unfinished run is recorded in "
        f"{state_path(out).name}, so it is complete. To answer again, choose another name"
    )


def _lock(rows: IO[bytes], path: Path) -> None:
    """One process at a time; the system lets go of it when the process ends, however it does."""
    try:
        fcntl = import_module("fcntl")
    except ImportError:  # not on Windows
        return
    try:
        fcntl.flock(rows.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ResumeError(f"{path}: another process is writing it; wait until it ends") from error
    except OSError:  # a file system without locks
        return


def _check_settings(out: Path, then: dict[str, str], now: dict[str, str]) -> None:
    changed = [
        f"{name} was {then.get(name) or 'none'} and is now {now.get(name) or 'none'}"
        for name in dict.fromkeys((*then, *now))
        if then.get(name) != now.get(name)
    ]
    if changed:
        raise ResumeError(
            f"{out}: was begun otherwise: {'; '.join(changed)}; go on with what it was begun with, "
            "or choose another --out"
        )


def _close(rows: IO[bytes]) -> None:
    with suppress(OSError):  # what could not be written has been said already
        rows.close()


@contextmanager
def _translated(out: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise BeltsightError(
            f"{out}: cannot be written: {error.strerror}; check the owner and mode of it and its "
            "folder, or choose another --out"
        ) from error
    except OSError as error:
        raise BeltsightError(
            f"{out}: cannot be written: {error.strerror}; what is recorded as answered is kept, "
            "and --resume goes on from there"
        ) from error
