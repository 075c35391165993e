"""Runs many items in order and in bounded memory, window by window, on several workers."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
WINDOW = 4096  # rows that are read, sorted by length and cut together
_WINDOW_SIZE = 1 << 22  # characters of text at which a window ends earlier


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
