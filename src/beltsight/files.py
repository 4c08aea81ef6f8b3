"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` that takes its place at the end, or is removed where that fails.

    A reader sees the file before or after, never half of it; of two who write it, the last wins.

    Args:
        path: to be written; its folder exists.

    Raises:
        OSError: the draft could not take its place.

    Example:
        >>> with whole(Path("figures.json")) as draft:  # doctest: +SKIP
        ...     draft.write_text("{}", encoding="utf-8")
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield draft
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
