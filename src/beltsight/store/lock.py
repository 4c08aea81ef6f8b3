"""One process writes a line's log; the system lets go when it ends, however it does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import IO

from beltsight.errors import StoreError


def busy_line(name: str, line: str) -> StoreError:
    """The error of a second writer."""
    return StoreError(
        f"{name}: the log of line {line!r} is being written by another process; end that one, or "
        "give this line a name of its own"
    )


class LineLock:
    """A lock on a file beside SQLite's, held until :meth:`release`.

    Raises:
        StoreError: another process holds it, or the file cannot be made.
    """

    def __init__(self, store: Path, line: str) -> None:
        path = store.with_name(f"{store.name}.{line}.lock")
        try:
            self._file: IO[bytes] = path.open("ab")
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be made: {error.strerror}; see that its folder exists and may be "
                "written"
            ) from error
        try:
            fcntl = import_module("fcntl")
        except ImportError:  # not on Windows
            return
        try:
            fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise busy_line(str(store), line) from error
        except OSError:  # a file system without locks
            return

    def release(self) -> None:
        """Let go. The file stays: deleting it could take a lock away that is just being made."""
        self._file.close()
