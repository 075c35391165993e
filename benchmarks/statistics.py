"""Latencies to figures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["LatencyStatistics", "summarize"]

PERCENTILES = (50, 90, 95, 99)
_BEYOND = 5  # samples that must lie beyond a percentile before it is given


@dataclass(frozen=True)
class LatencyStatistics:
    """Latencies of one system, in milliseconds.

    :param n: samples.
    :param p50_ms: the median, and so on; None: fewer than `_BEYOND` samples lie beyond that percentile.
    """

    n: int
    mean_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float


def summarize(latencies_ms: ArrayLike) -> LatencyStatistics:
    """Summarize at least one latency; a percentile that rests on too few samples is None, not a guess."""
    values = np.asarray(latencies_ms, dtype=np.float64)
    percentiles = {
        f"p{percentile}_ms": float(np.percentile(values, percentile))
        if len(values) * (100 - percentile) >= 100 * _BEYOND
        else None
        for percentile in PERCENTILES
    }
    return LatencyStatistics(n=len(values), mean_ms=float(values.mean()), max_ms=float(values.max()), **percentiles)
