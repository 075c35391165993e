"""The scenario ``server``: requests arrive at random times, and latency counts from their arrival.

Open loop: arrivals are a Poisson process drawn in advance from the seed, and never wait for an answer. Workers take
requests in the order of arrival; the queue is the requests that have arrived but not started. Every system gets the
same arrivals and rows.
"""

import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.latency import LatencyStatistics, summarize
from fastbert.benchmarks.scenarios import Scenario, Setup
from fastbert.benchmarks.systems import Runner, SystemAtSpeed

_log = logging.getLogger(__name__)
_SECONDS, _MIN_SECONDS = 10.0, 0.5
_WARM_UP = 10
_QUEUE_S = 1.0  # the queue is too long if it holds more than this many seconds of arrivals ...
_QUEUE_MIN = 50  # ... unless it is shorter than this
_HELD = 0.95
_DEFAULT_SHARES = (0.5, 0.8, 1.2, 2.0)
_TIMED = (
    "From a request's arrival to its answer: queue, tokenization and model. Batch 1; one loaded engine shared by "
    "worker threads, each call on one processor thread."
)
_STOP_RULE = (
    f"{_WARM_UP} untimed calls per system; then arrivals at each rate for {_SECONDS:.0f} s, or for less, but at least "
    f"{_MIN_SECONDS:g} s, so that all fits into the time allowed. A rate is saturated if more than {_QUEUE_S:.0f} s of "
    f"arrivals (and more than {_QUEUE_MIN} requests) wait, which ends it at once, or if requests are answered at less "
    f"than {100 * _HELD:.0f} % of the rate of the arrivals."
)


@dataclass(frozen=True)
class ServerPoint:
    """One system under one arrival rate.

    :param completed_per_s: requests answered per second.
    :param latency: from a request's arrival to its answer: queue, tokenization and model. If ``saturated``, it tells
        how far the queue had grown, not what a user would wait.
    :param saturated: the queue grew too long, or fewer requests were answered than arrived.
    :param busy: share of the time that workers worked.
    """

    rate_per_s: float
    requests: int
    completed: int
    completed_per_s: float
    saturated: bool
    busy: float
    latency: LatencyStatistics | None
    mean_queue_ms: float | None


@dataclass(frozen=True)
class ServerSpeed:
    """One system at one speed, under every rate, lowest first.

    :param family: name of the system.
    """

    name: str
    family: str
    speed: float | None
    points: tuple[ServerPoint, ...]


@dataclass(frozen=True)
class ServerResult:
    """Poisson arrivals.

    :param workers: threads that share one loaded engine; each call uses one processor thread.
    :param rates_from: who chose the rates, and how.
    :param seconds_per_point: how long requests arrive, for each system and rate.
    :param settings: name of a system -> what its engine reported about itself.
    """

    timed: str
    stop_rule: str
    workers: int
    threads: int
    rates_per_s: tuple[float, ...]
    rates_from: str
    seconds_per_point: float
    stopped: str
    elapsed_s: float
    systems: tuple[ServerSpeed, ...]
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def poisson_arrivals(rate: float, seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Draw arrival times in [0, seconds), ascending, at least one: gaps are exponential with the mean 1 / rate."""
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = generator.exponential(1 / rate, size=math.ceil(expected + 10 * math.sqrt(expected) + 10))
    times = np.cumsum(gaps)
    return times[: max(1, int(np.searchsorted(times, seconds)))]


def choose_rates(mean_ms: float, workers: int) -> list[float]:
    """Return rates below and above the capacity of workers that take ``mean_ms`` per request, to two digits."""
    capacity = workers * 1e3 / mean_ms
    return [float(f"{share * capacity:.1e}") for share in _DEFAULT_SHARES]


def offer_requests(
    call: Callable[[int], Any], arrivals: NDArray[np.float64], rate: float, *, workers: int
) -> ServerPoint:
    """Offer requests at given times to worker threads, and measure.

    It ends when all are answered or the queue is too long: at the latest at about twice the last arrival's time.

    :param call: answers request ``index``.
    :raises Exception: the first error of ``call``.
    """
    bound = max(_QUEUE_MIN, int(_QUEUE_S * rate))
    latest = 2 * float(arrivals[-1]) + _QUEUE_S
    lock, ticket, stop = threading.Lock(), itertools.count(), threading.Event()
    begun, finished = np.full(len(arrivals), np.nan), np.full(len(arrivals), np.nan)
    errors: list[BaseException] = []
    overflow = threading.Event()
    start = time.perf_counter() + 0.05

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    index = next(ticket)
                if index >= len(arrivals):
                    return
                while (wait := start + arrivals[index] - time.perf_counter()) > 0:
                    if stop.wait(wait):
                        return
                now = time.perf_counter() - start
                if int(np.searchsorted(arrivals, now)) - index > bound or now > latest:
                    overflow.set()
                    stop.set()
                    return
                begun[index] = now
                call(index)
                finished[index] = time.perf_counter() - start
        except BaseException as error:
            errors.append(error)
            stop.set()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(0.2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    done = np.isfinite(finished)
    completed = int(done.sum())
    elapsed = float(np.nanmax(finished)) if completed else 0.0
    latencies = (finished - arrivals)[done] * 1e3
    per_s = completed / elapsed if elapsed else 0.0
    offered_per_s = len(arrivals) / float(arrivals[-1])
    return ServerPoint(
        rate_per_s=rate,
        requests=len(arrivals),
        completed=completed,
        completed_per_s=per_s,
        saturated=overflow.is_set() or (len(arrivals) >= _QUEUE_MIN and per_s < _HELD * offered_per_s),
        busy=float(np.sum((finished - begun)[done])) / (elapsed * workers) if elapsed else 0.0,
        latency=summarize(latencies) if completed else None,
        mean_queue_ms=float(np.mean((begun - arrivals)[done])) * 1e3 if completed else None,
    )


class Server(Scenario):
    """Offers the same arrivals to every system, rate by rate.

    :ivar points: name -> one point per finished rate, lowest rate first.
    """

    one_thread_kinds = ("chain", "whole", "early-exit")

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self.points: dict[str, list[ServerPoint]] = {one.name: [] for one in setup.systems}
        self._rates: Sequence[float] = ()
        self._rates_from = ""
        self._seconds_per_point = 0.0

    def result(self) -> ServerResult | None:
        """Return what was measured; None: not even one point."""
        if not any(self.points.values()):
            return None
        return ServerResult(
            timed=_TIMED,
            stop_rule=_STOP_RULE,
            workers=self.setup.threads,
            threads=self.setup.threads,
            rates_per_s=tuple(self._rates),
            rates_from=self._rates_from,
            seconds_per_point=self._seconds_per_point,
            stopped=self._stopped,
            elapsed_s=self._elapsed_s,
            systems=tuple(
                ServerSpeed(one.name, one.system.name, one.speed, tuple(self.points[one.name]))
                for one in self.setup.systems
                if self.points[one.name]
            ),
            settings=self.setup.settings,
        )

    def _call(self, one: SystemAtSpeed, runner: Runner) -> Callable[[int], Any]:
        """Return a function that answers request ``index``."""
        texts, encode = self.setup.workload.texts, self.setup.encode

        def run(index: int) -> Any:
            batch = encode([texts[index % len(texts)]])
            return runner.run(batch.input_ids, batch.attention_mask, batch.token_type_ids, one.speed)

        return run

    def _warm_up(self, calls: Mapping[str, Callable[[int], Any]]) -> None:
        """Run every system, and choose the rates if the options do not."""
        options = self.setup.options
        for call in calls.values():
            _mean_ms(call)
        if options.rates is None:
            slowest = next(iter(self.setup.whole_models() or calls))
            self._rates = choose_rates(_mean_ms(calls[slowest]), self.setup.threads)
            shares = ", ".join(f"{share:g}" for share in _DEFAULT_SHARES)
            self._rates_from = f"{shares} times the capacity of {slowest}, from {_WARM_UP} calls"
        else:
            self._rates, self._rates_from = sorted(options.rates), "the caller"
        points = len(calls) * len(self._rates)
        self._seconds_per_point = min(_SECONDS, max(_MIN_SECONDS, options.max_seconds / points))

    def _measure(self, calls: Mapping[str, Callable[[int], Any]]) -> str:
        for number, rate in enumerate(self._rates):
            arrivals = poisson_arrivals(rate, self._seconds_per_point, seed=self.setup.options.seed + number)
            for name, call in calls.items():
                self.points[name].append(offer_requests(call, arrivals, rate, workers=self.setup.threads))
            _log.info("server: %g rows/s, %.0f s", rate, self._seconds())
        return "finished"


def _mean_ms(call: Callable[[int], Any]) -> float:
    began = time.perf_counter()
    for index in range(_WARM_UP):
        call(index)
    return (time.perf_counter() - began) / _WARM_UP * 1e3
