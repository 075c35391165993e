"""Latency statistics."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

PERCENTILES = (50, 90, 95, 99)
_BEYOND = 5  # rows that must lie beyond a percentile for it to be reported


@dataclass(frozen=True)
class LatencyStatistics:
    """Latencies of one system, in milliseconds.

    :param n: samples.
    :param p50_ms: the median, and so on; None: fewer than 5 rows lie beyond that percentile.
    :param coefficient_of_variation: standard deviation / mean; rows differ in length and exit layer, so not only noise.
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
    """A box of a box plot, in milliseconds: median, quartiles, 5th and 95th percentile, and mean."""

    n: int
    p5_ms: float
    p25_ms: float
    p50_ms: float
    p75_ms: float
    p95_ms: float
    mean_ms: float


def samples_needed(percentile: int) -> int:
    """Return how many rows a percentile needs."""
    return -(-100 * _BEYOND // (100 - percentile))


def summarize(latencies_ms: ArrayLike, *, rows: int | None = None) -> LatencyStatistics:
    """Summarize at least one latency, in milliseconds. A percentile with too few rows is None.

    :param rows: distinct rows among the samples, as timing a row again adds nothing to the tail; None: all are.
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
    figures = map(float, (*np.percentile(values, (5, 25, 50, 75, 95)), values.mean()))
    return Quartiles(len(values), *figures)
