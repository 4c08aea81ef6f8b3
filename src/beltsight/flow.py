"""Work in several threads whose results come in order, and which never runs ahead of its reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from beltsight.errors import ConfigError

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], workers: int, ahead: int
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

    Returns:
        An iterator of results. What the function raises for an item, or ``items`` itself, is raised
        at that item's turn and ends it. When it ends or is closed, what has not begun is dropped,
        what has is waited for, and all threads are gone.

    Raises:
        ConfigError: fewer than one worker or item.

    Example:
        >>> list(ordered_map(lambda x: x * x, range(5), workers=2, ahead=4))
        [0, 1, 4, 9, 16]
    """
    if workers < 1 or ahead < 1:
        raise ConfigError(f"workers and ahead must be at least 1, got {workers} and {ahead}")
    return _results(function, iter(items), workers, ahead)


def _results(
    function: Callable[[T], R], items: Iterator[T], workers: int, ahead: int
) -> Generator[R]:
    read: deque[T] = deque()
    # Two at first: a thread is worth starting for more than one.
    problem = _read(items, read, min(2, ahead))
    if problem and len(read) == 1:
        yield function(read.popleft())
        _raise(problem)
        return
    from concurrent.futures import ThreadPoolExecutor  # one photo does not wait for its import

    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="beltsight-flow")
    try:
        while True:
            if problem is None:
                problem = _read(items, read, ahead - len(pending))
            while read:
                pending.append(pool.submit(function, read.popleft()))
            if not pending:
                _raise(problem)
                return
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(items: Iterator[T], into: deque[T], count: int) -> Exception | None:
    """Read on until ``into`` holds ``count`` items; what ended the items, or None."""
    try:
        while len(into) < count:
            into.append(next(items))
    except Exception as end:  # StopIteration, too: the results before it come first
        return end
    return None


def _raise(problem: Exception | None) -> None:
    if problem is not None and not isinstance(problem, StopIteration):
        raise problem
