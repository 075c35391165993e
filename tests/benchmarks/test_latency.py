import numpy as np
import pytest

from fastbert.benchmarks.latency import quartiles, samples_needed, summarize


def test_percentiles_are_numpys():
    values = np.random.default_rng(0).exponential(size=1000)
    found = summarize(values)
    for percentile in (50, 90, 95, 99):
        assert getattr(found, f"p{percentile}_ms") == pytest.approx(np.percentile(values, percentile))
    assert (found.n, found.max_ms) == (1000, values.max())
    assert found.coefficient_of_variation == pytest.approx(values.std() / values.mean())
    box = quartiles(values)
    assert (box.p25_ms, box.p95_ms) == pytest.approx(tuple(np.percentile(values, (25, 95))))


@pytest.mark.parametrize(
    ("count", "given"),
    [(9, []), (10, [50]), (50, [50, 90]), (100, [50, 90, 95]), (499, [50, 90, 95]), (500, [50, 90, 95, 99])],
)
def test_a_percentile_of_too_few_samples_is_not_reported(count, given):
    found = summarize(np.arange(count))
    assert [p for p in (50, 90, 95, 99) if getattr(found, f"p{p}_ms") is not None] == given


def test_timing_a_row_again_adds_nothing_to_the_tail():
    found = summarize(np.arange(600), rows=60)
    assert (found.n, found.p95_ms) == (600, None)
    assert found.p90_ms is not None


def test_samples_needed_are_those_that_summarize_needs():
    for percentile in (50, 90, 95, 99):
        needed = samples_needed(percentile)
        assert getattr(summarize(np.arange(needed)), f"p{percentile}_ms") is not None
        assert getattr(summarize(np.arange(needed - 1)), f"p{percentile}_ms") is None
