"""The scenario ``server``: requests arrive when they like, and latency counts from their arrival.

Open loop: arrivals are a Poisson process drawn beforehand from the seed, and wait for nobody. Workers take requests in
the order of arrival; the queue is the requests that have arrived and were not begun. Every system gets the same
arrivals and rows.
"""

import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.latency import summarize
from fastbert.benchmarks.report.results import ServerPoint
from fastbert.benchmarks.systems import Family, Runner
from fastbert.benchmarks.workload import Workload

__all__ = ["STOP_RULE", "TIMED", "ServerRecord", "choose_rates", "offer", "poisson_arrivals", "run_server"]

TIMED = (
    "From a request's arrival to its answer: queue, tokenization and model. Batch 1; one loaded engine shared by "
    "worker threads, each call on one processor thread."
)
_SECONDS, _MIN_SECONDS = 10.0, 0.5
_QUEUE_S = 1.0  # a queue longer than this many seconds of arrivals has outgrown its bound ...
_QUEUE_MIN = 50  # ... but a short queue never has
_HELD = 0.95
_DEFAULT_SHARES = (0.5, 0.8, 1.2, 2.0)
STOP_RULE = (
    f"Ten untimed calls a system; then arrivals at each rate for {_SECONDS:.0f} s, or less, {_MIN_SECONDS:g} s at "
    f"the least, so that all fits into the time allowed. A rate is saturated where more than {_QUEUE_S:.0f} s of "
    f"arrivals (and more than {_QUEUE_MIN}) wait, which ends it at once, or where answers come at less than "
    f"{100 * _HELD:.0f} % of the rate of the arrivals."
)


@dataclass
class ServerRecord:
    """What was measured so far.

    :param points: system -> a point a rate, lowest rate first.
    """

    systems: Mapping[str, tuple[Family, float | None]]
    rates: Sequence[float] = ()
    rates_from: str = ""
    seconds_per_point: float = 0.0
    points: dict[str, list[ServerPoint]] = field(default_factory=dict)
    stopped: str = "interrupted"
    elapsed_s: float = 0.0


def poisson_arrivals(rate: float, seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Draw arrival times in [0, seconds), ascending, at least one: gaps are exponential with the mean 1 / rate."""
    generator = np.random.default_rng(seed)
    expected = rate * seconds
    gaps = generator.exponential(1 / rate, size=math.ceil(expected + 10 * math.sqrt(expected) + 10))
    times = np.cumsum(gaps)
    return times[: max(1, int(np.searchsorted(times, seconds)))]


def choose_rates(mean_ms: float, workers: int) -> list[float]:
    """Return rates below and above what workers hold that take ``mean_ms`` a request, rounded to two digits."""
    capacity = workers * 1e3 / mean_ms
    return [float(f"{share * capacity:.1e}") for share in _DEFAULT_SHARES]


def offer(call: Callable[[int], Any], arrivals: NDArray[np.float64], rate: float, *, workers: int) -> ServerPoint:
    """Offer requests at given times to worker threads; return what they saw.

    It ends when all are answered, or when the queue outgrows its bound: at most about twice the last arrival's time.

    :param call: answers request ``index``.
    :raises Exception: whatever ``call`` raised.
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


def run_server(
    record: ServerRecord,
    runners: Mapping[str, Runner],
    workload: Workload,
    encode: Callable[[Sequence[Any]], Any],
    *,
    rates: Sequence[float] | None,
    workers: int,
    max_seconds: float,
    seed: int,
    note: Callable[[str], None],
) -> None:
    """Fill the record. If it is interrupted, the record holds every finished point."""

    def call(family: Family, speed: float | None) -> Callable[[int], Any]:
        runner = runners[family.name]

        def run(index: int) -> Any:
            batch = encode([workload.texts[index % len(workload)]])
            return runner.run(batch.input_ids, batch.attention_mask, batch.token_type_ids, speed)

        return run

    systems = {name: call(family, speed) for name, (family, speed) in record.systems.items()}
    whole = next((name for name, (family, _) in record.systems.items() if family.kind == "whole"), next(iter(systems)))
    for name in (*systems, whole):
        began = time.perf_counter()
        for index in range(10):
            systems[name](index)
        mean_ms = (time.perf_counter() - began) / 10 * 1e3  # the last one's: the whole model's
    if rates is None:
        record.rates, record.rates_from = (
            choose_rates(mean_ms, workers),
            f"{', '.join(f'{share:g}' for share in _DEFAULT_SHARES)} times what {whole} can hold, from 10 calls",
        )
    else:
        record.rates, record.rates_from = sorted(rates), "the caller"
    points = len(systems) * len(record.rates)
    record.seconds_per_point = min(_SECONDS, max(_MIN_SECONDS, max_seconds / points))
    began = time.monotonic()
    try:
        record.stopped = "interrupted"
        for number, rate in enumerate(record.rates):
            arrivals = poisson_arrivals(rate, record.seconds_per_point, seed=seed + number)
            for name, system in systems.items():
                record.points.setdefault(name, []).append(offer(system, arrivals, rate, workers=workers))
            note(f"server: {rate:g} rows/s, {time.monotonic() - began:.0f} s")
        record.stopped = "finished"
    finally:
        record.elapsed_s = time.monotonic() - began
