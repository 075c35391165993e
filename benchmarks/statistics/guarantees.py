"""Guarantees from a finite number of rows: exact binomial tests, a betting bound, and tests in a fixed sequence.

Every test here has the null hypothesis "the expected loss of this speed is more than ``most``". It passes, with an
error probability of at most ``1 - confidence``, where the losses of independent rows are too small for that.

**Fixed sequence** (Learn then Test: Angelopoulos et al., arXiv 2110.01052, section 2.3). Speeds are tested in an order
that does not depend on these rows, each at the full error probability, until one fails; the last that passed is
guaranteed. The first true null hypothesis of the sequence is tested once, and only if that test errs can a speed that
is too loose be returned. So the losses need not grow with the speed, and the number of speeds costs nothing.
"""

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastbert.benchmarks.statistics.binomial import binomial_p_value

_Setting = TypeVar("_Setting")


def last_that_passes(settings: Iterable[_Setting], passes: Callable[[_Setting], bool]) -> _Setting | None:
    """Test settings in order until one fails.

    :returns: the last one that passed; None: the first one failed.
    """
    last = None
    for setting in settings:
        if not passes(setting):
            break
        last = setting
    return last


def losses_allowed(rows: int, most: float, confidence: float) -> int:
    """Return the largest number of losses of 0 or 1 with which ``rows`` rows still pass; -1: they cannot pass."""
    low, high = -1, rows  # the p-value grows with the losses; at `rows` losses it is 1
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_p_value(middle, rows, most) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def about_rows_needed(most: float, confidence: float) -> float:
    """Return `rows_needed` before it is rounded up; infinite if no float is so large."""
    return math.log(1 - confidence) / math.log1p(-most)


def rows_needed(most: float, confidence: float) -> int:
    """Return the fewest rows that can pass: those that pass without a loss."""
    rows = max(1, math.ceil(about_rows_needed(most, confidence)) - 1)
    while binomial_p_value(0, rows, most) > 1 - confidence:
        rows += 1
    return rows


def largest_bet(rows: int, most: float, confidence: float) -> float:
    """Return the bet, in (0, 1], at which a bettor can lose most often in ``rows`` rows and still pass.

    A bet c gains ln(1 + c most) on a row without a loss and loses -ln(1 - c (1 - most)) on a row with one. It depends
    on none of the losses, so it may be chosen. A bettor of few rows must risk everything to pass at all; one of many
    need not.
    """
    bets = np.linspace(0.05, 1, 20)
    spare = rows * np.log1p(bets * most) - math.log(1 / (1 - confidence))
    tolerated = spare / -np.log1p(-bets * (1 - most))
    return float(bets[tolerated.argmax()]) if (spare > 0).any() else 1.0


def log_wealth(losses: ArrayLike, most: float, confidence: float, *, largest: float = 1.0) -> NDArray[np.float64]:
    """Return ln K_t after each row: the wealth of one who bets against "the expected loss is more than ``most``".

    The bets of Waudby-Smith and Ramdas as in UCB-WSR of Bates et al., arXiv 2101.02703, section 3.1.3, for losses that
    may be gains, with t = 1 ... n, delta = 1 - confidence and a bound of the bets::

        mu_t  = (1/2 + sum_{i<=t} L_i) / (1 + t)
        s2_t  = (1/4 + sum_{i<=t} (L_i - mu_i)^2) / (1 + t),        s2_0 = 1/4
        nu_t  = min(largest, sqrt(2 ln(1/delta) / (n s2_{t-1})))
        ln K_t(R) = sum_{i<=t} ln(1 - nu_i (L_i - R))

    nu_t depends on earlier rows only, and no factor is negative for losses in [-1, 1] and R in (0, 1). So under the
    null hypothesis K_t is a supermartingale, which exceeds 1/delta with a probability of at most delta (Ville's
    inequality).

    :param losses: [rows], each in [-1, 1], of independent rows in an order that does not depend on them.
    :param most: R, in (0, 1).
    :param largest: bound of the bets, in (0, 1]; 1 in the paper.
    :returns: float64 [rows].
    """
    values = np.asarray(losses, dtype=np.float64)
    count = len(values)
    steps = np.arange(1, count + 1)
    mean = (0.5 + np.cumsum(values)) / (1 + steps)
    variance = (0.25 + np.cumsum((values - mean) ** 2)) / (1 + steps)
    before = np.concatenate([[0.25], variance[:-1]])
    bets = np.minimum(largest, np.sqrt(2 * math.log(1 / (1 - confidence)) / (count * before)))
    wealth: NDArray[np.float64] = np.cumsum(np.log1p(-bets * (values - most)))
    return wealth


def betting_passes(losses: ArrayLike, most: float, confidence: float) -> bool:
    """Whether max_t K_t(most) > 1/delta: UCB-WSR, the upper bound of the expected loss, is at most ``most``.

    The bets are at most `largest_bet`. Arguments as of `log_wealth`.
    """
    count = len(np.asarray(losses))
    wealth = log_wealth(losses, most, confidence, largest=largest_bet(count, most, confidence))
    return bool(wealth.max(initial=-math.inf) > math.log(1 / (1 - confidence)))
