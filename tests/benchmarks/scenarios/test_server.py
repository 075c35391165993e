import time

import numpy as np
import pytest

from fastbert.benchmarks.scenarios.server import choose_rates, offer, poisson_arrivals


def test_arrivals_are_a_poisson_process_of_the_rate():
    arrivals = poisson_arrivals(200.0, 100.0, seed=0)
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(arrivals)
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential
    assert arrivals.max() < 100
    assert (arrivals == poisson_arrivals(200.0, 100.0, seed=0)).all()
    assert len(poisson_arrivals(0.001, 0.1, seed=0)) == 1


def test_a_held_rate_is_answered_whole_and_latency_counts_from_arrival():
    arrivals = np.arange(40) * 0.01
    point = offer(lambda _: time.sleep(0.002), arrivals, 100.0, workers=1)
    assert (point.completed, point.saturated) == (40, False)
    assert 2.0 <= point.latency.p50_ms < 9.0
    assert 0.1 < point.busy < 0.9


def test_waiting_in_the_queue_is_part_of_the_latency():
    point = offer(lambda _: time.sleep(0.01), np.zeros(10) + 1e-3, 10.0, workers=1)
    assert point.latency.max_ms >= 95  # the last of ten waits for the nine before it
    assert point.mean_queue_ms >= 40


def test_workers_share_the_load():
    arrivals = np.zeros(20) + 1e-3
    one = offer(lambda _: time.sleep(0.01), arrivals, 10.0, workers=1)
    four = offer(lambda _: time.sleep(0.01), arrivals, 10.0, workers=4)
    assert four.latency.max_ms < one.latency.max_ms / 2


def test_an_overload_ends_soon_and_is_said():
    began = time.monotonic()
    point = offer(lambda _: time.sleep(0.02), poisson_arrivals(1000.0, 20.0, seed=0), 1000.0, workers=1)
    assert time.monotonic() - began < 5
    assert point.saturated
    assert 0 < point.completed < point.requests


def test_an_error_in_a_worker_is_raised():
    def broken(_):
        raise RuntimeError("surprise")

    with pytest.raises(RuntimeError, match="surprise"):
        offer(broken, np.array([0.0, 0.1]), 10.0, workers=2)


def test_default_rates_lie_around_what_can_be_held():
    rates = choose_rates(10.0, workers=2)  # holds 200 rows/s
    assert rates[0] < rates[1] < 200 < rates[2] < rates[3]
