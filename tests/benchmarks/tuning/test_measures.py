import numpy as np
import pytest
import torch

from fastbert.benchmarks.tuning.measures import MEASURES, entropy, margin
from fastbert.uncertainty import uncertainty

LOGITS = np.random.default_rng(0).normal(scale=4, size=(50, 6, 5)).astype(np.float32)


def test_the_entropy_is_that_of_pytorch():
    assert entropy(LOGITS) == pytest.approx(uncertainty(torch.from_numpy(LOGITS)).numpy(), abs=1e-6)


def test_the_margin_by_hand():
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.2, 0.1, 0.7], [1 / 3, 1 / 3, 1 / 3]], np.float32))
    assert margin(logits) == pytest.approx([0.8, 0.5, 1.0], abs=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_measures_stay_within_0_and_1_in_float32(name):
    for logits in (LOGITS, 100 * LOGITS, np.zeros((3, 4), np.float32), np.float32([[1e4, -1e4]])):
        found = MEASURES[name](logits)
        assert (found.dtype, found.shape) == (np.float32, logits.shape[:-1])
        assert ((found >= 0) & (found <= 1)).all()
    assert MEASURES[name](np.ones((2, 1), np.float32)).tolist() == [0, 0]


def test_of_two_classes_both_rank_rows_alike():
    logits = LOGITS[:, 0, :2]
    assert (np.argsort(entropy(logits)) == np.argsort(margin(logits))).all()
