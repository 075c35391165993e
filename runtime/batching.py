"""Many texts: cut into micro-batches of like length, run by several workers, answered in order, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["TOKENS", "WINDOW", "WINDOW_SIZE", "micro_batches", "run_in_order"]

T = TypeVar("T")
R = TypeVar("R")
# Tokens in a micro-batch, padding included. Measured: studies/reports/batches.json.
TOKENS = 1024
# Rows that are read, sorted by length and cut at a time.
WINDOW = 4096
# Their size, in characters of text, at which fewer are taken.
WINDOW_SIZE = 1 << 22


def micro_batches(lengths: ArrayLike, *, batch_size: int | None, tokens: int = TOKENS) -> list[NDArray[np.int64]]:
    """Cut rows into batches of like length, longest first.

    :param lengths: int [rows], tokens of each row.
    :param batch_size: most rows in a batch; None: only ``tokens`` bounds them.
    :param tokens: most tokens in a batch, padding included; a longer row has a batch of its own.
    :returns: each batch's rows; together every row once.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) == 1:  # one text: nothing to sort
        return [np.zeros(1, dtype=np.int64)]
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, int(sizes[order[start]]))  # of the batch's first row, its longest
        count = max(1, tokens // width)
        stop = start + (count if batch_size is None else min(count, batch_size))
        batches.append(order[start:stop])
        start = stop
    return batches


def run_in_order(
    items: Iterable[T],
    plan: Callable[[list[T]], list[Callable[[], list[tuple[int, R]]]]],
    *,
    window: int,
    workers: int,
    size: Callable[[T], int] = lambda item: 1,
) -> Iterator[R]:
    """Run items window by window and yield a result for each, in the order of the items.

    :param plan: turns a window's items into jobs, each of which returns (place in the window, result) pairs.
    :param window: most items taken at a time; at most three windows are held, whatever the length of ``items``.
    :param workers: jobs that run at once; 1: in the caller's thread.
    :param size: of an item; a window ends where its items' sizes reach `WINDOW_SIZE`.
    """
    windows = _windows(items, window, size)
    if workers == 1:
        for taken in windows:
            yield from _ordered(len(taken), (job() for job in plan(taken)))
        return
    failure: Exception | None = None
    with ThreadPoolExecutor(workers) as pool:
        running: deque[tuple[int, list[Future[Any]]]] = deque()
        try:
            while failure is None:
                try:
                    taken = next(windows, [])
                    if not taken:
                        break
                    running.append((len(taken), [pool.submit(job) for job in plan(taken)]))
                except Exception as error:  # what was read before it is answered first, as with one worker
                    failure = error
                if len(running) > 2:  # one is run, the next waits for its end, and one has its results taken
                    yield from _results(*running.popleft())
            while running:
                yield from _results(*running.popleft())
        finally:  # an error, or a caller that wants no more
            pool.shutdown(wait=False, cancel_futures=True)  # those of a window that was not all submitted too
    if failure is not None:
        raise failure


def _windows(items: Iterable[T], window: int, size: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut items into lists; where reading them fails, those before are given out first."""
    taken: list[T] = []
    total = 0
    try:
        for item in items:
            taken.append(item)
            total += size(item)
            if len(taken) == window or total >= WINDOW_SIZE:
                yield taken
                taken, total = [], 0
    except Exception:
        if taken:
            yield taken
        raise
    if taken:
        yield taken


def _results(count: int, futures: list[Future[list[tuple[int, R]]]]) -> list[R]:
    return _ordered(count, (future.result() for future in futures))


def _ordered(count: int, results: Iterable[list[tuple[int, R]]]) -> list[R]:
    ordered: list[Any] = [None] * count
    for pairs in results:
        for place, result in pairs:
            ordered[place] = result
    return ordered
