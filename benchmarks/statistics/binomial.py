"""The share of rows that something holds for: the exact binomial test, and an interval."""

import math
from statistics import NormalDist

_NORMAL_95 = NormalDist().inv_cdf(0.975)


def binomial_p_value(losses: int, rows: int, most: float) -> float:
    """Return P(Bin(rows, most) <= losses): the exact p-value of ``losses`` losses of 0 or 1 in ``rows`` rows.

    :param most: in (0, 1), the largest expected loss that is acceptable.
    """
    if losses >= rows:
        return 1.0
    log_most, log_rest = math.log(most), math.log1p(-most)
    log_choose = math.lgamma(rows + 1)
    logs = [
        log_choose - math.lgamma(k + 1) - math.lgamma(rows - k + 1) + k * log_most + (rows - k) * log_rest
        for k in range(losses + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))


def wilson_interval(share: float, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a probability that was seen as a share of ``rows`` rows (Wilson, 1927)."""
    squared = _NORMAL_95**2
    centre = (share + squared / (2 * rows)) / (1 + squared / rows)
    half = _NORMAL_95 / (1 + squared / rows) * math.sqrt(share * (1 - share) / rows + squared / (4 * rows**2))
    return 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half  # rounding aside, so they are
