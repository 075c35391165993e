import numpy as np
import pytest

from fastbert.benchmarks.statistics import summarize


def test_percentiles_are_numpys():
    values = np.random.default_rng(0).exponential(size=1000)
    found = summarize(values)
    for percentile in (50, 90, 95, 99):
        assert getattr(found, f"p{percentile}_ms") == pytest.approx(np.percentile(values, percentile))
    assert (found.n, found.max_ms) == (1000, values.max())


@pytest.mark.parametrize(
    ("count", "given"),
    [(9, []), (10, [50]), (50, [50, 90]), (100, [50, 90, 95]), (499, [50, 90, 95]), (500, [50, 90, 95, 99])],
)
def test_a_percentile_from_too_few_samples_is_not_given(count, given):
    found = summarize(np.arange(count))
    assert [p for p in (50, 90, 95, 99) if getattr(found, f"p{p}_ms") is not None] == given
