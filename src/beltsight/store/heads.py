"""Heads: the number and mac of the last row, published to a second place.

Who can write the database can cut off its end; what a head elsewhere names cannot go unseen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beltsight.errors import StoreError

Publish = Callable[["Head"], None]
_MAX_LINE_CHARS = 2_000


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a line's log at a time.

    Args:
        line: its name.
        chain: identity of its chain, hexadecimal.
        sequence: number of the last row.
        mac: of that row, hexadecimal.
        wall_s: seconds since 1970 when it was published.
    """

    line: str
    chain: str
    sequence: int
    mac: str
    wall_s: float


class HeadFile:
    """A file of heads, one line of JSON each; on another disk, machine or write-once medium.

    Args:
        path: is made where it is not there; its folder must be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, head: Head) -> None:
        """Add a head and bring it to disk.

        Raises:
            StoreError: it cannot be written.
        """
        line = json.dumps(asdict(head), sort_keys=True).encode() + b"\n"
        try:
            # One write: a reader, or another line's head in the same file, never meets half of one.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                if os.lseek(file, 0, os.SEEK_END) and not self._ends_a_line(file):
                    line = b"\n" + line  # a crash or a full disk cut the last one off
                if os.write(file, line) != len(line):
                    raise OSError(28, "no space left")
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise StoreError(f"{self.path}: no head can be written: {error.strerror}") from error

    @staticmethod
    def _ends_a_line(file: int) -> bool:
        os.lseek(file, -1, os.SEEK_END)
        return os.read(file, 1) == b"\n"


def read_heads(path: Path) -> list[Head]:
    """All heads of a file. A line that a crash cut off is passed over.

    Raises:
        StoreError: the file cannot be read, or another line is no head.
    """
    heads = []
    try:
        with path.open("r", encoding="utf-8", errors="replace") as file:
            number = 0
            while line := file.readline(_MAX_LINE_CHARS):
                number += 1
                whole = line.rstrip()
                if len(line) < _MAX_LINE_CHARS and not whole.endswith("}"):
                    continue
                heads.append(_parse(line, f"{path}, line {number}"))
    except OSError as error:
        raise StoreError(f"{path}: the heads cannot be read: {error.strerror}") from error
    return heads


def heads_of(heads: Iterable[Head], line: str) -> list[Head]:
    """The heads of one line by sequence; the latest of those that say the same."""
    return sorted((h for h in heads if h.line == line), key=lambda h: (h.sequence, h.wall_s))


def _parse(line: str, where: str) -> Head:
    try:
        found: Any = json.loads(line)
        head = Head(**found)
        bytes.fromhex(head.mac)
        bytes.fromhex(head.chain)
        if type(head.sequence) is not int or head.sequence < 1 or not isinstance(head.line, str):
            raise ValueError("wrong types")
        float(head.wall_s)
    except (ValueError, TypeError, RecursionError) as error:
        raise StoreError(f"{where}: expected a head of the log, got {line[:60]!r}") from error
    return head
