"""Threads that read ahead and write behind: the order, the bounds and the errors."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from ibnseg.support.overlapping import WriteBehind, iterate_ahead, read_ahead


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first() -> None:
    def slow_first(i: int) -> int:
        time.sleep(0.02 if i == 0 else 0)
        return i

    assert list(read_ahead(slow_first, range(5))) == [0, 1, 2, 3, 4]
    assert list(read_ahead(slow_first, [])) == []


def test_reading_is_a_few_items_ahead_and_ends_with_its_consumer() -> None:
    begun: list[int] = []
    with closing(read_ahead(begun.append, itertools.count(), threads=2)) as results:
        for _ in range(4):
            next(results)
    assert 4 <= len(begun) <= 4 + 2


def test_what_cannot_be_read_raises_at_its_turn() -> None:
    results = read_ahead(lambda i: 1 / i, [2, 1, 0, 4])
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_iterator_runs_ahead_in_one_thread() -> None:
    threads, ended = set(), []

    def count() -> Iterator[int]:
        try:
            for i in range(5):
                threads.add(threading.get_ident())
                yield i
        finally:
            ended.append(i)

    assert list(iterate_ahead(count())) == [0, 1, 2, 3, 4]
    assert len(threads - {threading.get_ident()}) == 1
    endless = count()
    ahead = iterate_ahead(endless, most=2)
    assert next(ahead) == 0
    ahead.close()
    endless.close()
    assert ended[0] == 4
    assert ended[1] <= 2


def test_an_error_of_an_iterator_comes_after_its_last_item() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    ahead = iterate_ahead(broken())
    assert next(ahead) == 1
    with pytest.raises(KeyboardInterrupt):
        next(ahead)


def test_what_is_written_behind_is_there_at_the_end_even_after_an_error() -> None:
    written: list[int] = []

    def write(i: int) -> None:
        time.sleep(0.01)
        written.append(i)

    with WriteBehind(threads=1) as writer:
        for i in range(4):
            writer.call(write, i)
    assert written == [0, 1, 2, 3]  # one thread keeps the order

    def interrupted() -> None:
        with WriteBehind() as writer:
            writer.call(write, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written[-1] == 4


def test_no_more_calls_wait_than_there_are_threads() -> None:
    go, begun = threading.Event(), []

    def write(i: int) -> None:
        begun.append(i)
        go.wait()

    with WriteBehind(threads=2) as writer:
        timer = threading.Timer(0.05, go.set)
        timer.start()
        for i in range(2):
            writer.call(write, i)
        assert not go.is_set()
        writer.call(write, 2)  # waits for the first
        assert go.is_set()
    assert sorted(begun) == [0, 1, 2]


def test_a_failed_write_is_raised_at_a_later_call_or_at_the_end() -> None:
    def fail() -> None:
        raise OSError("disk full")

    def fail_often(times: int) -> None:
        with WriteBehind(threads=1) as writer:
            for _ in range(times):
                writer.call(fail)

    for times in (1, 3):
        with pytest.raises(OSError, match="disk full"):
            fail_often(times)
