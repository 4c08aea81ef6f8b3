"""Work in several threads whose results come in order, and which never runs ahead of its reader."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from beltsight.errors import ConfigError

if TYPE_CHECKING:
    from concurrent.futures import Future
    from threading import Event

T = TypeVar("T")
R = TypeVar("R")
_THREAD_NAME = "beltsight-flow"


def ordered_map(
    function: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    ahead: int,
    has_room: Callable[[], bool] = lambda: True,
    ending: Event | None = None,
) -> Generator[R]:
    """Apply a function to items in threads of its own, giving the results in order.

    Items are taken in the caller's thread alone, when the caller asks for a result, so a generator
    is safe and a slow reader slows the reading down. Nothing is read and no thread starts before
    the first result is asked for; a single item is computed in the caller's thread.

    Args:
        function: called from several threads at once.
        items: may be endless; read at most ``ahead`` items beyond the results that were taken.
        workers: threads, at least 1.
        ahead: items read, computed or waiting, at least 1; ``2 * workers`` keeps all threads busy
            while the caller uses a result.
        has_room: asked in the caller's thread before an item is read while others wait, so that
            what is held can be bounded by more than its number.
        ending: set when no more results are wanted, for a long function to look at.

    Returns:
        An iterator of results. What the function raises for an item, or ``items`` itself, is raised
        at that item's turn and ends it. When it ends or is closed, what has not begun is dropped,
        what has is waited for, and all threads are gone. Ctrl-C does not wait, whether it comes
        in here or where a result is used, if that closes this: see :func:`still_working`.

    Raises:
        ConfigError: fewer than one worker or item.

    Example:
        >>> list(ordered_map(lambda x: x * x, range(5), workers=2, ahead=4))
        [0, 1, 4, 9, 16]
    """
    if workers < 1 or ahead < 1:
        raise ConfigError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    return _results(function, iter(items), workers, ahead, has_room, ending)


def still_working(patience_s: float) -> bool:
    """Whether threads that an interrupt left behind go on, after waiting for them so long.

    Such a thread may wait for a peer that never answers, and the process would wait for it.
    """
    import threading

    end_s = time.monotonic() + patience_s
    left = [thread for thread in threading.enumerate() if thread.name.startswith(_THREAD_NAME)]
    for thread in left:
        thread.join(max(0.0, end_s - time.monotonic()))
    return any(thread.is_alive() for thread in left)


def _results(
    function: Callable[[T], R],
    items: Iterator[T],
    workers: int,
    ahead: int,
    has_room: Callable[[], bool],
    ending: Event | None,
) -> Generator[R]:
    read: deque[T] = deque()
    # Two at first: a thread is worth starting for more than one.
    problem = _read(items, read, min(2, ahead), has_room)
    if problem and len(read) == 1:
        yield function(read.popleft())
        _raise(problem)
        return
    from concurrent.futures import ThreadPoolExecutor  # one photo does not wait for its import

    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix=_THREAD_NAME)
    interrupted = False
    try:
        while True:
            if problem is None and (not pending or has_room()):
                problem = _read(items, read, ahead - len(pending), has_room)
            while read:
                pending.append(pool.submit(function, read.popleft()))
            if not pending:
                _raise(problem)
                return
            yield pending.popleft().result()
    except (KeyboardInterrupt, GeneratorExit) as end:
        interrupted = _is_interrupt(end)
        raise
    finally:
        if ending is not None:
            ending.set()
        pool.shutdown(wait=not interrupted, cancel_futures=True)


def _is_interrupt(end: BaseException | None) -> bool:
    """Whether Ctrl-C ended it: itself, or by what closed this while it was handled."""
    while isinstance(end, GeneratorExit):
        end = end.__context__
    return isinstance(end, KeyboardInterrupt)


def _read(
    items: Iterator[T], into: deque[T], count: int, has_room: Callable[[], bool]
) -> Exception | None:
    """Read on until ``into`` holds ``count`` items; what ended the items, or None."""
    try:
        while len(into) < count and (not into or has_room()):
            into.append(next(items))
    except Exception as end:  # StopIteration, too: the results before it come first
        return end
    return None


def _raise(problem: Exception | None) -> None:
    if problem is not None and not isinstance(problem, StopIteration):
        raise problem
