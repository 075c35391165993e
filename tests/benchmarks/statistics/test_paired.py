import functools
import math
import time
from fractions import Fraction

import numpy as np
import pytest

from fastbert.benchmarks.statistics.paired import mcnemar, paired_difference, score_interval


def test_the_interval_and_the_test_are_those_of_the_literature():
    """Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014), table 2: 21 children, of whom 1 and 7 differ."""
    assert score_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


@pytest.mark.parametrize(("gained", "lost"), [(4, 7), (10, 3), (5, 0), (300, 360)])
def test_the_p_value_is_the_exact_one(gained, lost):
    rows, fewer = gained + lost, min(gained, lost)
    tail = sum(Fraction(math.comb(rows, count), 2**rows) for count in range(fewer + 1))
    assert mcnemar(gained, lost) == pytest.approx(float(min(2 * tail, 1)), rel=1e-9)


def test_many_rows_take_no_time():
    """Of a whole corpus; sums of whole numbers would take minutes."""
    began = time.process_time()
    assert mcnemar(20_000, 20_500) == pytest.approx(0.013, abs=5e-4)
    assert time.process_time() - began < 2


def test_rows_that_all_agree_still_leave_room():
    low, high = score_interval(0, 0, 872)
    assert (low, high) == pytest.approx((-3.8415 / 875.84, 3.8415 / 875.84), abs=1e-6)
    assert mcnemar(0, 0) == 1.0


def test_the_interval_has_its_coverage():
    """At 95 % confidence, 4,000 samples of each case miss at most 6 %: three standard errors above 5 %."""
    random, interval = np.random.default_rng(0), functools.cache(score_interval)
    for rows, gained, lost in ((872, 0.01, 0.013), (200, 0.02, 0.02), (500, 0.002, 0.02)):
        missed = 0
        for more, fewer, _ in random.multinomial(rows, [gained, lost, 1 - gained - lost], size=4000):
            low, high = interval(int(more), int(fewer), rows)
            missed += not low <= gained - lost <= high
        assert missed / 4000 < 0.06


@pytest.mark.parametrize(("gained", "lost"), [(0, 5), (5, 0), (3, 3), (20, 1), (21, 0), (0, 21)])
def test_the_interval_holds_the_change_and_turns_with_it(gained, lost):
    low, high = score_interval(gained, lost, 21)
    assert -1 <= low <= (gained - lost) / 21 <= high <= 1
    assert score_interval(lost, gained, 21) == pytest.approx((-high, -low))


def test_only_rows_that_one_alone_answers_right_count():
    right, other = np.array([True, True, False, False, False]), np.array([True, False, True, True, False])
    found = paired_difference(right, other)
    assert (found.change, found.gained, found.lost) == (pytest.approx(-0.2), 1, 2)
    assert found.p_value == 1.0
