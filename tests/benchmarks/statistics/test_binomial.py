import math
from fractions import Fraction

import pytest

from fastbert.benchmarks.statistics.binomial import binomial_p_value, wilson_interval


def exact_p_value(losses, rows, most):
    """P(Bin(rows, most) <= losses) in rational numbers."""
    terms = (math.comb(rows, k) * most**k * (1 - most) ** (rows - k) for k in range(losses + 1))
    return float(sum(terms, Fraction(0)))


@pytest.mark.parametrize("rows", [1, 2, 30, 598, 1000])
@pytest.mark.parametrize("most", [Fraction(1, 200), Fraction(1, 50), Fraction(1, 2)])
def test_p_values_are_exact(rows, most):
    for losses in sorted({0, 1, rows // 100, rows // 3, rows - 1, rows}):
        expected = exact_p_value(losses, rows, most) if losses < rows else 1.0
        assert binomial_p_value(losses, rows, float(most)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_p_values_of_many_rows_are_numbers():
    assert 0 < binomial_p_value(400, 100_000, 0.004) < 1
    assert binomial_p_value(0, 100_000, 0.01) == 0.0  # 10^-436
    assert binomial_p_value(99_999, 100_000, 0.004) == pytest.approx(1.0)


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (1.0, 10), (0.5, 100), (0.93, 872)])
def test_the_interval_has_the_probabilities_at_which_the_share_is_just_credible(share, count):
    for bound in wilson_interval(share, count):
        if 0 < bound < 1:
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / count) == pytest.approx(1.95996, abs=1e-4)
