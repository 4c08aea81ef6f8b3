"""What commands print with: tables and JSON to standard output, progress to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def print_json(value: Any) -> None:
    """One JSON document on one line, sent off at once: a reader may be waiting for it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # As escapes it is the same JSON, and cannot steer the terminal: DEL, C1, marks of direction.
    if not text.isprintable() or not _can_write(text):
        text = json.dumps(value, allow_nan=False)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_line(text: str) -> None:
    """One line of a result on standard output, sent off at once."""
    line = one_line(text)
    if not _can_write(line):
        line = line.encode("ascii", "backslashreplace").decode()
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; colours only on a terminal and without ``NO_COLOR``."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width; names must not be cut to one.
        console = Console(width=400)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for row in rows:
        # Text, not markup: file names may hold brackets, and may come from strangers.
        table.add_row(*(Text(_printable(cell)) for cell in row))
    if title:
        console.print(Text(_printable(title), style="bold"), soft_wrap=True)
    console.print(table)


def note(message: str) -> None:
    """A line on standard error, which Python itself opens so that any text can be written."""
    sys.stderr.write(_printable(message) + "\n")


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Go through items with a progress bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(
        items, label, total=total, console=console, transient=True, disable=not console.is_terminal
    )


def _can_write(text: str) -> bool:
    """Whether standard output can hold the text: not a name that is no text, nor a bare ASCII."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """Text without control characters and line ends: a file's name must not forge a line."""
    return _printable(text, keep="")


def _printable(text: str, keep: str = "\n\t") -> str:
    """Text without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() or c in keep else "\N{REPLACEMENT CHARACTER}" for c in text)
