import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastbert.runtime.errors import UsageError
from fastbert.uncertainty import MEASURES, check_measure, uncertainty

anything = st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20)


def measured(logits, measure):
    return uncertainty(torch.tensor([logits]), measure).item()


def probabilities(logits):
    return torch.softmax(torch.tensor(logits, dtype=torch.float64), 0).tolist()


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("classes", [2, 3, 77])
def test_uniform_is_1(classes, measure):
    assert measured([0.0] * classes, measure) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_one_hot_is_0_where_the_other_probabilities_underflow(measure):
    assert measured([1e4, -1e4, 0.0], measure) == 0.0


def test_probability_0_adds_nothing_to_entropy():
    assert measured([0.0, 0.0, -math.inf], "entropy") == pytest.approx(math.log(2) / math.log(3), abs=1e-6)


@given(st.floats(-100, 100), st.lists(st.floats(-200, 0), max_size=20))
def test_margin_of_two_equal_maxima_is_1(top, others):
    assert measured([top, *(top + other for other in others), top], "margin") == 1.0


@pytest.mark.parametrize("measure", MEASURES)
def test_one_class_is_certain(measure):
    assert uncertainty(torch.tensor([[3.0], [-1.0]]), measure).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("measure", MEASURES)
def test_half_precision_is_computed_in_float32(measure):
    logits = torch.tensor([[20.0, 0.0, 11.0]])
    found = uncertainty(logits.half(), measure)
    assert found.dtype == torch.float32
    assert found.item() == uncertainty(logits, measure).item() > 0


@given(anything)
def test_entropy_is_the_normalized_entropy_and_within_0_and_1(logits):
    found = measured(logits, "entropy")
    expected = -sum(x * math.log(x) for x in probabilities(logits) if x > 0) / math.log(len(logits))
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(expected, abs=1e-5)


@given(anything)
def test_margin_is_the_gap_of_the_two_largest_and_within_0_and_1(logits):
    found = measured(logits, "margin")
    *_, second, first = sorted(probabilities(logits))
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(1 - (first - second), abs=1e-6)


@given(st.lists(st.floats(-20, 20), min_size=3, max_size=20), st.floats(0, 20), st.floats(0, 20))
def test_margin_falls_as_the_largest_logit_moves_away(logits, near, far):
    near, far = sorted((near, far))
    top = max(logits)
    assert measured([*logits, top + far], "margin") <= measured([*logits, top + near], "margin") + 1e-6


def test_margin_does_not_see_how_the_rest_is_spread_and_entropy_does():
    def rest(*shares):
        return [math.log(share) for share in (0.6, 0.1, *shares)]

    even, uneven = rest(0.1, 0.1, 0.1), rest(0.1, 0.1999, 0.0001)
    assert measured(even, "margin") == pytest.approx(0.5, abs=1e-6)
    assert measured(uneven, "margin") == pytest.approx(1 - (0.6 - 0.1999), abs=1e-6)
    assert measured(even, "entropy") > measured(uneven, "entropy")


def test_two_classes_are_ranked_alike_by_all_measures():
    torch.manual_seed(0)
    logits = 4 * torch.randn(500, 2)
    gaps = (logits[:, 0] - logits[:, 1]).abs()
    logits = logits[gaps.sort(descending=True).indices]
    for measure in MEASURES:
        ranked = uncertainty(logits, measure)
        assert (ranked.diff() >= -1e-6).all()
        assert ranked[0] < 0.01 < 0.9 < ranked[-1]


def test_another_measure_is_refused():
    assert check_measure("margin") == "margin"
    for other in ("energy", "", None, ["margin"]):
        with pytest.raises(UsageError, match="`uncertainty` is .*; use entropy or margin"):
            check_measure(other)
