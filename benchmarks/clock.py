"""Timing systems against each other in one process."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["alternate"]

_REST_S = 0.06  # longer than an idle thread pool spins: no system pays for the threads of the one before


def alternate(
    systems: Mapping[str, Callable[[int], Any]], items: Sequence[int], *, block: int = 25, rest: bool
) -> tuple[dict[str, NDArray[np.float64]], dict[str, list[Any]]]:
    """Run every system on every item, in turns of ``block`` items, so that the machine's drift hits all alike.

    Each turn starts with one call that is not timed.

    :param systems: name -> function of an item.
    :param rest: sleep between turns; needed where systems have thread pools of their own.
    :returns: name -> latency in ms of each item, float64 [items]; and name -> result of each item.
    """
    latencies = {name: np.zeros(len(items)) for name in systems}
    results: dict[str, list[Any]] = {name: [] for name in systems}
    for system in systems.values():  # warm-up
        for item in items[:3]:
            system(item)
    names = list(systems)
    for turn, start in enumerate(range(0, len(items), block)):
        rotated = names[turn % len(names) :] + names[: turn % len(names)]
        for name in rotated:
            system = systems[name]
            if rest:
                time.sleep(_REST_S)
            system(items[start])
            for index in range(start, min(start + block, len(items))):
                began = time.perf_counter_ns()
                result = system(items[index])
                latencies[name][index] = (time.perf_counter_ns() - began) / 1e6
                results[name].append(result)
    return latencies, results
