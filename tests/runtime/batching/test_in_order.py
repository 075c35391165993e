import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastbert.runtime.batching.in_order import _WINDOW_SIZE, run_in_order


def squares(items):
    """Return jobs of two items each, the last items first."""
    places = list(range(len(items)))
    pairs = [places[start : start + 2] for start in range(0, len(places), 2)]
    return [lambda pair=pair: [(place, items[place] ** 2) for place in pair] for pair in reversed(pairs)]


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 7, 23])
def test_results_come_in_order(count, workers):
    assert list(run_in_order(range(count), squares, window=5, workers=workers)) == [i**2 for i in range(count)]


@pytest.mark.parametrize("workers", [1, 2])
def test_only_a_few_windows_are_read_ahead(workers):
    read = itertools.count()
    results = run_in_order((next(read) for _ in itertools.repeat(None)), squares, window=4, workers=workers)
    assert [next(results) for _ in range(10)] == [i**2 for i in range(10)]
    assert next(read) <= 10 + 3 * 4
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_window_ends_where_its_items_are_large(workers):
    windows = []

    def plan(items):
        windows.append(len(items))
        return squares(items)

    results = run_in_order(range(20), plan, window=8, workers=workers, size=lambda item: -(-item * _WINDOW_SIZE // 10))
    assert list(results) == [i**2 for i in range(20)]
    assert windows == [5, 2, 2, 2, *[1] * 9]


@pytest.mark.parametrize("workers", [1, 2])
def test_items_before_a_failure_are_answered_first(workers):
    def broken():
        yield from range(11)
        raise ValueError("line 12")

    results, found = run_in_order(broken(), squares, window=4, workers=workers), []
    with pytest.raises(ValueError, match="line 12"):
        for result in results:
            found.append(result)
    assert found == [i**2 for i in range(11)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_job_is_the_callers_error_and_stops_the_rest(workers):
    ran = []

    def plan(items):
        def job(item):
            ran.append(item)
            raise RuntimeError("no")

        return [lambda item=item: job(item) for item in items]

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="no"):
        list(run_in_order(range(1000), plan, window=100, workers=workers))
    assert len(ran) < 1000
    assert threading.active_count() == before


def test_an_interrupt_while_jobs_are_submitted_cancels_the_waiting_ones(monkeypatch):
    ran = []
    submitted = itertools.count()
    cancelled = threading.Event()
    submit, shutdown = ThreadPoolExecutor.submit, ThreadPoolExecutor.shutdown

    def interrupted(pool, job):
        if next(submitted) == 50:
            raise KeyboardInterrupt
        return submit(pool, job)

    def recorded(pool, wait=True, *, cancel_futures=False):
        shutdown(pool, wait=False, cancel_futures=cancel_futures)
        cancelled.set()
        shutdown(pool, wait=wait)

    def plan(items):
        return [lambda item=item: (cancelled.wait(60), ran.append(item), [(item, item)])[-1] for item in items]

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", recorded)
    with pytest.raises(KeyboardInterrupt):
        list(run_in_order(range(100), plan, window=100, workers=2))
    assert len(ran) <= 2  # the two that were running
