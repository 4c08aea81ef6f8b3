from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing

import pytest

from beltsight.errors import ConfigError
from beltsight.flow import ordered_map, still_working

LONG_S = 20.0


def our_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("beltsight-flow")]


class Counted:
    """Endless items that know how many were taken, and by which threads."""

    def __init__(self) -> None:
        self.taken = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        while True:
            self.threads.add(threading.get_ident())
            self.taken += 1
            yield self.taken - 1


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
def test_results_come_in_order_however_long_each_takes(workers: int, count: int) -> None:
    def slow_first(x: int) -> int:
        time.sleep(0.003 if x % 3 == 0 else 0)
        return x * x

    got = list(ordered_map(slow_first, range(count), workers, 2 * workers))
    assert got == [x * x for x in range(count)]
    assert our_threads() == []


def test_as_many_run_at_once_as_there_are_workers() -> None:
    together = threading.Barrier(3)
    # Two workers would never bring three to the barrier.
    got = list(ordered_map(lambda x: together.wait(LONG_S), range(6), workers=3, ahead=3))
    assert sorted(got) == [0, 0, 1, 1, 2, 2]


def test_never_more_run_at_once_than_there_are_workers() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def count(x: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.002)
        with lock:
            running -= 1
        return x

    list(ordered_map(count, range(30), workers=2, ahead=10))
    assert most == 2


def test_a_slow_reader_holds_the_source_back() -> None:
    source = Counted()
    results = ordered_map(lambda x: x, source, workers=2, ahead=5)
    assert source.taken == 0
    assert next(results) == 0
    time.sleep(0.05)  # idle workers must not read on
    assert source.taken == 5
    assert list(itertools.islice(results, 10)) == list(range(1, 11))
    assert source.taken == 15
    results.close()


def test_the_source_is_read_in_the_callers_thread_alone() -> None:
    source = Counted()
    results = ordered_map(lambda x: threading.get_ident(), source, workers=3, ahead=9)
    computed = set(itertools.islice(results, 40))
    results.close()
    assert source.threads == {threading.get_ident()}
    assert threading.get_ident() not in computed


def test_one_item_starts_no_thread() -> None:
    results = ordered_map(lambda x: threading.get_ident(), ["only"], workers=4, ahead=8)
    assert list(results) == [threading.get_ident()]


def test_nothing_starts_before_the_first_result_is_asked_for() -> None:
    source = Counted()
    results = ordered_map(lambda x: x, source, workers=2, ahead=4)
    results.close()
    assert (source.taken, our_threads()) == (0, [])


def test_an_error_comes_at_its_items_turn() -> None:
    def fail_at_3(x: int) -> int:
        if x == 3:
            raise ValueError("item 3")
        time.sleep(0.002)  # the error is there long before its turn
        return x

    results = ordered_map(fail_at_3, itertools.count(), workers=4, ahead=8)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(results)
    assert our_threads() == []
    assert list(results) == []


@pytest.mark.parametrize("good", [0, 1, 2, 7])
def test_an_error_of_the_source_comes_after_the_items_before_it(good: int) -> None:
    def source() -> Iterator[int]:
        yield from range(good)
        raise OSError("gone")

    got = []
    with pytest.raises(OSError, match="gone"):
        for result in ordered_map(lambda x: x, source(), workers=2, ahead=4):
            got.append(result)
    assert got == list(range(good))
    assert our_threads() == []


def test_closing_drops_what_has_not_begun_and_waits_for_what_has() -> None:
    begun: list[int] = []
    ended: list[int] = []
    go = threading.Event()

    def work(x: int) -> int:
        begun.append(x)
        if x:
            go.wait(LONG_S)
        ended.append(x)
        return x

    results = ordered_map(work, itertools.count(), workers=2, ahead=8)
    assert next(results) == 0
    while len(begun) < 3:
        time.sleep(0.001)
    threading.Timer(0.05, go.set).start()
    results.close()
    assert our_threads() == []
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 8


def test_an_interrupt_of_the_reader_leaves_no_thread() -> None:
    def read() -> None:
        for result in ordered_map(lambda x: x, itertools.count(), workers=3, ahead=6):
            if result == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    assert our_threads() == []


def test_ahead_of_one_still_overlaps_nothing_and_loses_nothing() -> None:
    source = Counted()
    results = ordered_map(lambda x: x, source, workers=2, ahead=1)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert source.taken == 5
    results.close()


@pytest.mark.parametrize(("workers", "ahead"), [(0, 1), (1, 0), (-1, 5)])
def test_counts_are_checked_at_once(workers: int, ahead: int) -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ordered_map(lambda x: x, [1], workers, ahead)


def test_nothing_is_read_without_room_but_what_comes_next() -> None:
    source, room = Counted(), True
    results = ordered_map(lambda x: x, source, 2, 6, has_room=lambda: room)
    assert next(results) == 0
    assert source.taken == 6
    room = False
    assert [next(results) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert source.taken == 7  # one at a time, so that it goes on at all
    room = True
    assert next(results) == 7
    assert source.taken == 13
    results.close()


def test_work_is_told_that_its_result_is_no_longer_wanted() -> None:
    ending, begun = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work(x: int) -> int:
        if x:
            begun.set()
            ended.append(ending.wait(LONG_S))
        return x

    results = ordered_map(work, itertools.count(), 2, 4, ending=ending)
    assert next(results) == 0
    assert begun.wait(LONG_S)
    results.close()
    assert ended and all(ended)


def test_an_interrupt_does_not_wait_for_work_that_hangs() -> None:
    go, interrupted = threading.Event(), False

    def work(x: int) -> int:
        if x == 2:
            signal.raise_signal(signal.SIGINT)  # Python hands it to the main thread, which waits
        go.wait(LONG_S if x else 0)
        return x

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    results = ordered_map(work, range(9), workers=2, ahead=4)
    try:
        assert next(results) == 0
        next(results)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted
    assert still_working(0.01)
    go.set()
    assert not still_working(LONG_S)


def test_an_interrupt_where_a_result_is_used_does_not_wait_either() -> None:
    go = threading.Event()

    def work(x: int) -> int:
        go.wait(LONG_S if x else 0)
        return x

    def passed_on() -> Generator[int]:
        with closing(ordered_map(work, range(9), workers=2, ahead=4)) as results:
            yield from results

    with pytest.raises(KeyboardInterrupt), closing(passed_on()) as results:
        assert next(results) == 0
        raise KeyboardInterrupt
    assert still_working(0.01)
    go.set()
    assert not still_working(LONG_S)
