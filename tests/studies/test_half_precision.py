import numpy as np
import pytest
from support.factories import make_rows, write_tsv

from fastbert.benchmarks import evaluate
from fastbert.checkpoint import load_checkpoint
from fastbert.runtime.chain import ChainOutput
from studies.half_precision import VARIANTS, compare, judge, pytorch_half

SPEEDS = (0.0, 0.4)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tsv(tmp_path_factory.mktemp("half") / "d.tsv", make_rows(40, seed=3))


def test_variants_of_a_gpu_are_compared_with_float32(gpu_bundle, data):
    found = compare(gpu_bundle, data, SPEEDS)
    assert found["rows"] == 40
    for exact in evaluate(gpu_bundle, data, SPEEDS, variant="fp32"):
        for variant in VARIANTS:
            figures = found[variant]["speeds"][str(exact.speed)]
            assert figures["accuracy_fp32"] == pytest.approx(exact.accuracy)
            assert figures["mean_layers_fp32"] == pytest.approx(exact.mean_layers)
    fp16 = found["fp16"]["speeds"]["0.0"]
    assert 0 < fp16["largest_logit_difference"] < 0.01  # rounded, and close
    assert fp16["exit_flips"] == 0  # speed 0: every row runs all layers
    assert sum(found["fp16"]["cast_nodes"].values()) > 0


def test_pytorch_in_half_precision_is_compared_in_the_same_way(checkpoint_dir, data):
    found = pytorch_half(load_checkpoint(checkpoint_dir), load_checkpoint(checkpoint_dir), data, SPEEDS)
    figures = found["speeds"]["0.0"]
    assert figures["accuracy_fp32"] == pytest.approx(evaluate(checkpoint_dir, data, [0.0])[0].accuracy)
    assert 0 < figures["largest_logit_difference"] < 0.05
    assert (figures["exit_flips"], figures["mean_layers"]) == (0, 3.0)


def test_flips_of_exits_and_of_labels_are_counted():
    none = np.zeros(3, np.float32)
    expected = ChainOutput(np.array([[1, 0], [1, 0], [0, 1]], np.float32), np.array([0, 1, 1]), none)
    found = ChainOutput(np.array([[0, 1], [1.5, 0], [9, 1]], np.float32), np.array([0, 1, 0]), none)
    assert judge(expected, found, np.array([0, 0, 1])) == {
        "accuracy_fp32": 1.0,
        "accuracy": pytest.approx(1 / 3),
        "exit_flips": 1,
        "label_flips": 2,
        "mean_layers_fp32": pytest.approx(5 / 3),
        "mean_layers": pytest.approx(4 / 3),
        "largest_logit_difference": 1.0,  # where the exit is the same
    }
