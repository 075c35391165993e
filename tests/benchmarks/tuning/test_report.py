import math

import pytest
from support.tuning import make_answers

from fastbert.benchmarks.tuning.report import measure, wilson_interval


def test_the_figures_of_a_speed():
    rows = make_answers(300)
    found = measure(rows, 0.5, 1.25)
    assert (found.speed, found.p50_ms, found.agreement) == (0.5, 1.25, rows.agreement(0.5))
    assert found.layer_speedup == pytest.approx(4 / found.mean_layers)
    assert found.drop_points == pytest.approx(100 * (rows.accuracy(0.0) - rows.accuracy(0.5)))
    low, high = found.accuracy_interval
    assert low < found.accuracy < high


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (1.0, 10), (0.5, 100), (0.93, 872)])
def test_the_interval_has_the_probabilities_at_which_the_share_is_just_credible(share, count):
    for bound in wilson_interval(share, count):
        if 0 < bound < 1:
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / count) == pytest.approx(1.95996, abs=1e-4)
