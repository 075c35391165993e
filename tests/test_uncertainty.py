import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastbert.uncertainty import uncertainty


@pytest.mark.parametrize("classes", [2, 3, 77])
def test_uniform_is_1(classes):
    assert uncertainty(torch.zeros(1, classes)).item() == pytest.approx(1.0, abs=1e-6)


def test_one_hot_is_0_where_the_other_probabilities_underflow():
    assert uncertainty(torch.tensor([[1e4, -1e4, 0.0]])).item() == 0.0


def test_probability_0_adds_nothing():
    two_even = uncertainty(torch.tensor([[0.0, 0.0, -math.inf]])).item()
    assert two_even == pytest.approx(math.log(2) / math.log(3), abs=1e-6)


def test_one_class_is_certain():
    assert uncertainty(torch.tensor([[3.0], [-1.0]])).tolist() == [0.0, 0.0]


def test_half_precision_is_computed_in_float32():
    logits = torch.tensor([[20.0, 0.0, 11.0]])
    assert uncertainty(logits.half()).dtype == torch.float32
    assert uncertainty(logits.half()).item() == pytest.approx(uncertainty(logits).item(), rel=1e-6)


@given(st.lists(st.floats(-1e4, 1e4), min_size=2, max_size=20))
def test_is_the_normalized_entropy_and_within_0_and_1(logits):
    found = uncertainty(torch.tensor([logits])).item()
    p = torch.softmax(torch.tensor(logits, dtype=torch.float64), 0)
    expected = -sum(x * math.log(x) for x in p.tolist() if x > 0) / math.log(len(logits))
    assert 0.0 <= found <= 1.0
    assert found == pytest.approx(expected, abs=1e-5)
