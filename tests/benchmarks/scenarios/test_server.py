import threading
from types import SimpleNamespace

import numpy as np
import pytest

from fastbert.benchmarks.scenarios import server
from fastbert.benchmarks.scenarios.server import choose_rates, offer_requests, poisson_arrivals


@pytest.fixture
def clock(monkeypatch):
    """A clock for one worker that moves only when the worker waits or works: ``clock.work(seconds)``."""
    now = [0.0]

    def work(seconds):
        now[0] += seconds

    class Event(threading.Event):
        def wait(self, timeout=None):
            work(timeout)
            return self.is_set()

    monkeypatch.setattr(server, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(server, "threading", SimpleNamespace(Lock=threading.Lock, Thread=threading.Thread, Event=Event))
    return SimpleNamespace(work=work)


def test_arrivals_are_a_poisson_process_of_the_rate():
    arrivals = poisson_arrivals(200.0, 100.0, seed=0)
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(arrivals)
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential
    assert arrivals.max() < 100
    assert (arrivals == poisson_arrivals(200.0, 100.0, seed=0)).all()
    assert len(poisson_arrivals(0.001, 0.1, seed=0)) == 1


def test_a_rate_that_is_held_is_answered_whole_and_latency_counts_from_arrival(clock):
    point = offer_requests(lambda _: clock.work(0.002), np.arange(40) * 0.01, 100.0, workers=1)
    assert (point.requests, point.completed, point.saturated) == (40, 40, False)
    assert (point.latency.p50_ms, point.latency.max_ms) == pytest.approx((2.0, 2.0))
    assert point.busy == pytest.approx(40 * 0.002 / (0.39 + 0.002))
    assert point.mean_queue_ms == pytest.approx(0.0, abs=1e-9)


def test_waiting_in_the_queue_is_part_of_the_latency(clock):
    point = offer_requests(lambda _: clock.work(0.01), np.full(10, 1e-3), 10.0, workers=1)
    assert point.latency.max_ms == pytest.approx(100.0)  # the last of ten waits for the nine before it
    assert point.mean_queue_ms == pytest.approx(45.0)


def test_an_overload_ends_when_the_queue_is_too_long(clock):
    arrivals = np.arange(20_000) / 1000
    point = offer_requests(lambda _: clock.work(0.02), arrivals, 1000.0, workers=1)
    assert point.saturated
    assert point.completed == pytest.approx(1000 / 19, abs=1)  # the queue grows by 19 per call, up to a second's 1000


def test_a_rate_is_saturated_if_answers_come_more_slowly_than_requests(clock):
    point = offer_requests(lambda _: clock.work(0.011), np.arange(1, 101) / 100, 100.0, workers=1)
    assert (point.completed, point.saturated) == (100, True)  # the queue stays short: it grows by 0.1 per call
    point = offer_requests(lambda _: clock.work(0.0101), np.arange(1, 101) / 100, 100.0, workers=1)
    assert (point.completed, point.saturated) == (100, False)


def test_workers_answer_at_the_same_time():
    together = threading.Barrier(4)
    point = offer_requests(lambda _: together.wait(30), np.full(8, 1e-3), 10.0, workers=4)
    assert point.completed == 8
    with pytest.raises(threading.BrokenBarrierError):
        offer_requests(lambda _: together.wait(0.1), np.full(8, 1e-3), 10.0, workers=3)


def test_an_error_in_a_worker_is_raised():
    def broken(_):
        raise RuntimeError("surprise")

    with pytest.raises(RuntimeError, match="surprise"):
        offer_requests(broken, np.array([0.0, 0.1]), 10.0, workers=2)


def test_default_rates_lie_on_both_sides_of_the_capacity():
    rates = choose_rates(10.0, workers=2)  # capacity: 200 rows/s
    assert rates[0] < rates[1] < 200 < rates[2] < rates[3]
