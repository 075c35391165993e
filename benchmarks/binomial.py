"""The exact binomial test."""

import math


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
