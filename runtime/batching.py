"""Runs many texts in order and in bounded memory: micro-batches of similar length, on several workers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
BATCH_TOKENS = 1024  # in a micro-batch, padding included: studies/reports/batches.json
WINDOW = 4096  # rows that are read, sorted by length and cut together
_WINDOW_SIZE = 1 << 22  # characters of text at which a window ends earlier


def micro_batches(lengths: ArrayLike, *, batch_size: int | None, tokens: int = BATCH_TOKENS) -> list[NDArray[np.int64]]:
    """Cut rows into batches of similar length, longest first.

    :param lengths: int [rows], in tokens.
    :param batch_size: most rows in a batch; None: only ``tokens`` bounds them.
    :param tokens: most tokens in a batch, padding included; a longer row is a batch by itself.
    :returns: the rows of each batch; every row is in one.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) == 1:  # one text: nothing to sort
        return [np.zeros(1, dtype=np.int64)]
    order = np.argsort(-sizes, kind="stable")
    batches, start = [], 0
    while start < len(order):
        width = max(1, int(sizes[order[start]]))  # of the first row, the longest
        count = max(1, tokens // width)
        stop = start + (count if batch_size is None else min(count, batch_size))
        batches.append(order[start:stop])
        start = stop
    return batches


def length_groups(lengths: ArrayLike, *, least_tokens: int) -> list[NDArray[np.int64]]:
    """Cut rows into groups of similar length, shortest first, each large enough to fill batches.

    A group ends where the next row would be padded to another size (`padded_size`). A group of fewer than
    ``least_tokens``, padding included, runs with the next longer one.

    :param lengths: int [rows], in tokens.
    :returns: the rows of each group; every row is in one.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(sizes, kind="stable")
    groups: list[NDArray[np.int64]] = []
    start = 0
    for stop in range(1, len(order) + 1):
        width, last = int(sizes[order[stop - 1]]), stop == len(order)
        full = (stop - start) * width >= least_tokens
        if last or (full and sizes[order[stop]] > padded_size(width)):
            groups.append(order[start:stop])
            start = stop
    return groups


def padded_size(number: int) -> int:
    """Return the smallest of 1, 2, 3, 4, 6, 8, 12, 16, ... that is not below a number: at most half more."""
    power = 1 << (number - 1).bit_length()
    return power * 3 // 4 if power >= 4 and number <= power * 3 // 4 else power


def run_in_order(
    items: Iterable[_Item],
    plan: Callable[[list[_Item]], list[Callable[[], list[tuple[int, _Result]]]]],
    *,
    window: int,
    workers: int,
    size: Callable[[_Item], int] = lambda item: 1,
) -> Iterator[_Result]:
    """Run items window by window and yield a result for each, in the order of the items.

    :param plan: turns a window's items into jobs; a job returns (index in the window, result) pairs.
    :param window: most items taken at a time; at most three windows are in memory.
    :param workers: jobs that run in parallel; 1: in the caller's thread.
    :param size: of an item; a window ends where the sum of its sizes reaches `_WINDOW_SIZE`.
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
                except Exception as error:  # raised after the answers of earlier items, as with one worker
                    failure = error
                if len(running) > 2:  # one runs, the next waits, and one has its results taken
                    yield from _results(*running.popleft())
            while running:
                yield from _results(*running.popleft())
        finally:  # also after an error, or when the caller stops
            pool.shutdown(wait=False, cancel_futures=True)
    if failure is not None:
        raise failure


def _windows(items: Iterable[_Item], window: int, size: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Cut items into lists; where reading one fails, the items before it are yielded first."""
    taken: list[_Item] = []
    total = 0
    try:
        for item in items:
            taken.append(item)
            total += size(item)
            if len(taken) == window or total >= _WINDOW_SIZE:
                yield taken
                taken, total = [], 0
    except Exception:
        if taken:
            yield taken
        raise
    if taken:
        yield taken


def _results(count: int, futures: list[Future[list[tuple[int, _Result]]]]) -> list[_Result]:
    return _ordered(count, (future.result() for future in futures))


def _ordered(count: int, results: Iterable[list[tuple[int, _Result]]]) -> list[_Result]:
    ordered: list[Any] = [None] * count
    for pairs in results:
        for place, result in pairs:
            ordered[place] = result
    return ordered
