"""Reading ahead and writing behind: threads read, decode, encode and write files while the main
thread computes, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREADS = 2
"""The threads that read ahead, and those that write behind, unless said otherwise; so many results
wait for each other, at most."""


def read_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int = THREADS
) -> Iterator[Result]:
    """Calls a function with each item in threads, and yields the results in the order of the items.

    As many calls as there are threads are begun before their results are asked for. Items are taken
    in the caller's thread.

    Args:
        function: what is called; it is worth a thread only if it releases Python's lock, as the
            reading of files and the decoding of images do.
        items: the arguments; what makes one raises is raised to the caller at once.
        threads: the number of threads.

    Raises:
        What ``function`` raises, at its item's turn.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def iterate_ahead(items: Iterator[Item], most: int = THREADS) -> Iterator[Item]:
    """Yields what an iterator yields, which runs in a thread, at most ``most`` items ahead.

    Raises:
        What the iterator raises, at its place.
    """
    end = object()
    with ThreadPoolExecutor(1) as pool:
        ahead = deque(pool.submit(next, items, end) for _ in range(most))
        try:
            while (item := ahead.popleft().result()) is not end:
                ahead.append(pool.submit(next, items, end))
                yield item
        finally:
            pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Calls functions in threads, at most as many at a time as there are threads.

    Used as a context manager: at the end of the block all calls have ended, also if the block
    raises; so what was handed over is written even if the command is interrupted. One thread keeps
    the order.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._pool, self._threads = ThreadPoolExecutor(threads), threads
        self._waiting: deque[Future] = deque()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._pool.shutdown()
        while kind is None and self._waiting:
            self._waiting.popleft().result()

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Calls a function in a thread, once one is free.

        Raises:
            What an earlier call has raised.
        """
        self._waiting.append(self._pool.submit(function, *args))
        while len(self._waiting) > self._threads:
            self._waiting.popleft().result()
