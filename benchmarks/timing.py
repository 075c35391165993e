"""Timing systems against each other in one process."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BLOCK = 25
_REST_S = 0.06  # longer than an idle thread pool spins, so that no system competes with the threads of the one before


@dataclass(frozen=True)
class Turn:
    """The same few items, run by every system.

    :param times_ms: name of the system -> milliseconds of each item.
    :param results: name of the system -> result of each item.
    """

    items: Sequence[int]
    times_ms: Mapping[str, list[float]]
    results: Mapping[str, list[Any]]


def warm_up(systems: Mapping[str, Callable[[int], Any]], items: Sequence[int]) -> None:
    """Run every system on the items, untimed."""
    for system in systems.values():
        for item in items:
            system(item)


def alternate(
    systems: Mapping[str, Callable[[int], Any]], items: Sequence[int], *, block: int = BLOCK, rest: bool
) -> Iterator[Turn]:
    """Run every system on every item, alternating every ``block`` items so that the machine's drift affects all alike.

    In a turn, every system starts with one untimed call; each turn starts with another system. A caller that stops
    between two turns has the same items from every system.

    :param systems: name -> function of an item.
    :param rest: sleep before each system; needed if systems have their own thread pools.
    """
    names = list(systems)
    for turn, start in enumerate(range(0, len(items), block)):
        chosen = items[start : start + block]
        times: dict[str, list[float]] = {name: [] for name in names}
        results: dict[str, list[Any]] = {name: [] for name in names}
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            system = systems[name]
            if rest:
                time.sleep(_REST_S)
            system(chosen[0])
            for item in chosen:
                began = time.perf_counter_ns()
                result = system(item)
                times[name].append((time.perf_counter_ns() - began) / 1e6)
                results[name].append(result)
        yield Turn(chosen, times, results)


def alternating_medians(systems: Mapping[str, Callable[[], Any]], runs: int, *, rest: bool) -> dict[str, float]:
    """Return each system's median milliseconds over ``runs`` turns of one call, after three turns of warm-up.

    :param rest: as in `alternate`.
    """

    def repeated(system: Callable[[], Any]) -> Callable[[int], Any]:
        return lambda _: system()

    repeating = {name: repeated(system) for name, system in systems.items()}
    turns = list(alternate(repeating, range(3 + runs), block=1, rest=rest))[3:]
    return {name: statistics.median(turn.times_ms[name][0] for turn in turns) for name in systems}
