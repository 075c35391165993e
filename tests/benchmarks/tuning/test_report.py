import pytest
from support.tuning import make_answers

from fastbert.benchmarks.tuning.report import measure


def test_the_figures_of_a_speed():
    rows = make_answers(300)
    found = measure(rows, 0.5, 1.25)
    assert (found.speed, found.p50_ms, found.agreement) == (0.5, 1.25, rows.agreement(0.5))
    assert found.layer_speedup == pytest.approx(4 / found.mean_layers)
    assert found.drop_points == pytest.approx(100 * (rows.accuracy(0.0) - rows.accuracy(0.5)))
    low, high = found.accuracy_interval
    assert low < found.accuracy < high
