"""Writing a file so that it is there as a whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DRAFT_SUFFIX = ".part"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` that takes its place at the end, or is removed where that fails.

    A reader sees the file before or after, never half of it; of two who write it, the last wins.
    Where ``path`` is a link, what it leads to is replaced. A device or a pipe cannot be replaced:
    there the draft is ``path`` itself. A process that is killed leaves its draft.

    Args:
        path: to be written; its folder exists.

    Raises:
        OSError: the draft could not take its place.

    Example:
        >>> with whole(Path("figures.json")) as draft:  # doctest: +SKIP
        ...     draft.write_text("{}", encoding="utf-8")
    """
    if path.exists() and not path.is_file():
        yield path
        return
    place = Path(os.path.realpath(path))
    draft = place.with_name(f".{place.name}.{threading.get_native_id()}{DRAFT_SUFFIX}")
    try:
        yield draft
        draft.replace(place)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
