"""Latencies to figures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["PERCENTILES", "LatencyStatistics", "Quartiles", "quartiles", "samples_needed", "summarize"]

PERCENTILES = (50, 90, 95, 99)
_BEYOND = 5  # samples that must lie beyond a percentile before it is given


@dataclass(frozen=True)
class LatencyStatistics:
    """Latencies of one system, in milliseconds.

    :param n: samples.
    :param p50_ms: the median, and so on; None: fewer than `_BEYOND` rows lie beyond that percentile.
    :param coefficient_of_variation: standard deviation / mean. Of real rows with early exits, not of noise.
    """

    n: int
    mean_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float
    coefficient_of_variation: float


@dataclass(frozen=True)
class Quartiles:
    """A box of a box plot, in milliseconds: the median, the quartiles, and where 5 % and 95 % of the samples lie."""

    n: int
    p5_ms: float
    p25_ms: float
    p50_ms: float
    p75_ms: float
    p95_ms: float
    mean_ms: float


def samples_needed(percentile: int) -> int:
    """Return how many rows it takes before a percentile is given."""
    return -(-100 * _BEYOND // (100 - percentile))


def summarize(latencies_ms: ArrayLike, *, rows: int | None = None) -> LatencyStatistics:
    """Summarize at least one latency; a percentile that rests on too few rows is None, not a guess.

    :param rows: different rows among the samples: a row that is timed again says nothing new about the tail of the
        rows. None: as many as samples.
    """
    values = np.asarray(latencies_ms, dtype=np.float64)
    rows = len(values) if rows is None else rows
    percentiles = {
        f"p{percentile}_ms": float(np.percentile(values, percentile)) if rows >= samples_needed(percentile) else None
        for percentile in PERCENTILES
    }
    mean = float(values.mean())
    return LatencyStatistics(
        n=len(values),
        mean_ms=mean,
        max_ms=float(values.max()),
        coefficient_of_variation=float(values.std() / mean) if mean else 0.0,
        **percentiles,
    )


def quartiles(latencies_ms: ArrayLike) -> Quartiles:
    """Summarize at least one latency for a box plot."""
    values = np.asarray(latencies_ms, dtype=np.float64)
    found = np.percentile(values, (5, 25, 50, 75, 95))
    p5_ms, p25_ms, p50_ms, p75_ms, p95_ms = (float(value) for value in found)
    return Quartiles(len(values), p5_ms, p25_ms, p50_ms, p75_ms, p95_ms, float(values.mean()))
