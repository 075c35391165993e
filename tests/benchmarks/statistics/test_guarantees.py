import math

import numpy as np
import pytest

from fastbert.benchmarks.statistics.binomial import binomial_p_value
from fastbert.benchmarks.statistics.guarantees import (
    betting_passes,
    largest_bet,
    last_that_passes,
    log_wealth,
    losses_allowed,
    rows_needed,
)


@pytest.mark.parametrize(
    ("most", "confidence", "rows"),
    [(0.02, 0.95, 149), (0.01, 0.95, 299), (0.005, 0.95, 598), (0.01, 0.99, 459), (0.5, 0.5, 1)],
)
def test_rows_needed_without_a_loss(most, confidence, rows):
    assert rows_needed(most, confidence) == rows
    assert losses_allowed(rows, most, confidence) == 0
    if rows > 1:
        assert losses_allowed(rows - 1, most, confidence) == -1


@pytest.mark.parametrize(("rows", "most", "allowed"), [(1000, 0.01, 4), (1000, 0.02, 12), (298, 0.01, -1)])
def test_losses_allowed(rows, most, allowed):
    assert losses_allowed(rows, most, 0.95) == allowed
    assert binomial_p_value(allowed + 1, rows, most) > 0.05
    assert allowed < 0 or binomial_p_value(allowed, rows, most) <= 0.05


@pytest.mark.parametrize(
    ("passing", "expected"),
    [([True, True, False, True], 1), ([False, True], None), ([True, True], 1), ([], None), ([True, False], 0)],
)
def test_the_last_that_passed_is_returned_and_nothing_after_a_failure_is_tested(passing, expected):
    tested = []

    def passes(index):
        tested.append(index)
        return passing[index]

    assert last_that_passes(range(len(passing)), passes) == expected
    assert False not in [passing[index] for index in tested[:-1]]


def transcribed(losses, most, delta, largest):
    """The formulas of the docstring, term by term."""
    means, spreads, wealth = [], [], 1.0
    best = 0.0
    for t in range(1, len(losses) + 1):
        before = 0.25 if t == 1 else (0.25 + sum(spreads)) / t
        bet = min(largest, math.sqrt(2 * math.log(1 / delta) / (len(losses) * before)))
        wealth *= 1 - bet * (losses[t - 1] - most)
        best = max(best, wealth)
        means.append((0.5 + sum(losses[:t])) / (1 + t))
        spreads.append((losses[t - 1] - means[-1]) ** 2)
    return wealth, best


@pytest.mark.parametrize("largest", [1.0, 0.6])
def test_the_wealth_is_that_of_the_formulas(largest):
    generator = np.random.default_rng(0)
    for most, spread in ((0.01, 0.05), (0.2, 0.6), (0.9, 1.0)):
        losses = generator.choice([-1, 0, 1], size=60, p=[spread / 3, 1 - spread, 2 * spread / 3])
        wealth, best = transcribed(losses.tolist(), most, 0.05, largest)
        found = np.exp(log_wealth(losses, most, 0.95, largest=largest))
        assert found[-1] == pytest.approx(wealth)
        assert found.max() == pytest.approx(best)


def upper_bound(losses, delta, largest):
    """UCB-WSR: the smallest R with max_t K_t(R) > 1/delta."""
    low, high = 1e-6, 1 - 1e-6
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (low, middle) if transcribed(losses, middle, delta, largest)[1] > 1 / delta else (middle, high)
    return high


def test_a_bet_passes_exactly_where_the_upper_bound_is_not_above():
    losses = [0] * 150 + [1, -1, 0, 0, 1] + [0] * 95
    bet = largest_bet(len(losses), 0.05, 0.95)
    bound = upper_bound(losses, 0.05, bet)
    for most in (0.9 * bound, 1.1 * bound):
        same_bets = log_wealth(losses, most, 0.95, largest=bet).max() > math.log(1 / 0.05)
        assert same_bets == (most > bound)
    assert betting_passes(losses, 0.05, 0.95) == (bound <= 0.05)


@pytest.mark.parametrize("rows", [50, 500, 5000])
def test_the_largest_bet_tolerates_more_losses_than_any_other(rows):
    def losses_until_broke(bet):
        gain, cost = math.log1p(0.02 * bet), -math.log1p(-0.98 * bet)
        return (rows * gain - math.log(20)) / cost

    chosen = largest_bet(rows, 0.02, 0.95)
    assert chosen == 1.0 or losses_until_broke(chosen) == max(losses_until_broke(n / 20) for n in range(1, 21))
    assert 0 < chosen <= 1
    assert largest_bet(50, 0.02, 0.95) == 1.0 > largest_bet(5000, 0.02, 0.95)


def test_a_loss_in_the_first_row_does_not_end_the_bet():
    assert np.isfinite(log_wealth([1, 0, 0], 0.01, 0.95)).all()


@pytest.mark.parametrize("rows", [400, 1500])
def test_the_bet_errs_as_seldom_as_it_says(rows):
    """Expected losses of just above the bound: each pass is an error. 5 % of 600 is 30; 45 is beyond chance (0.4 %)."""
    generator, errors = np.random.default_rng(rows), 0
    for _ in range(600):
        draws = generator.random(rows)
        errors += betting_passes((draws < 0.025).astype(int) - (draws > 1 - 0.0049), 0.02, 0.95)
    assert errors <= 45


def test_the_fixed_sequence_errs_as_seldom_as_it_says():
    """Losses that grow with the speed, as in a chain: an error is a returned speed of too large an expected loss."""
    generator, speeds, most = np.random.default_rng(1), np.arange(1, 41), 0.02
    risk = most * speeds / 20.5  # of speeds 21 and above it is too large
    errors = 0
    allowed = losses_allowed(800, most, 0.95)
    for _ in range(600):
        first_loss = np.searchsorted(risk, generator.random(800))  # a row is lost from this speed on
        counts = np.cumsum(np.bincount(first_loss, minlength=len(speeds) + 1))[: len(speeds)]
        found = last_that_passes(speeds, lambda speed, counts=counts: counts[speed - 1] <= allowed)
        errors += found is not None and risk[found - 1] > most
    assert 0 < errors <= 45
