import numpy as np
import pytest

from fastbert.benchmarks.speedups import attainable_speedup, break_even_layers
from fastbert.benchmarks.systems import System, reference_for


def system(name, kind="whole", precision="float32"):
    return System(name, name, kind, precision, lambda budget: None)


def test_break_even_is_where_the_line_reaches_the_whole_model():
    layers = np.array([1.0, 2, 3, 6, 6])
    assert break_even_layers(layers, 0.1 + layers * 0.18) == pytest.approx(5.0)


@pytest.mark.parametrize(("layers", "ratios"), [([6, 6, 6], [1, 1, 1]), ([1, 6], [1.0, 0.5])])
def test_without_a_rising_line_there_is_no_break_even(layers, ratios):
    assert break_even_layers(np.array(layers, float), np.array(ratios, float)) is None


def test_long_rows_that_exit_late_attain_less_than_the_mean_layers_suggest():
    times, layers = np.array([10.0, 30.0]), np.array([1, 3])
    assert attainable_speedup(times, layers, 4) == pytest.approx(40 / (10 / 4 + 30 * 3 / 4))
    assert attainable_speedup(times, layers, 4) < 4 / layers.mean()
    assert attainable_speedup(times, layers[::-1], 4) > 4 / layers.mean()


def test_the_reference_is_the_whole_model_in_the_same_precision_or_the_first():
    fp32, int8 = system("fp32", "chain"), system("int8", "chain", "int8")
    ort, ort8 = system("onnxruntime"), system("onnxruntime-int8", precision="int8")
    assert reference_for(fp32, [fp32, int8, ort, ort8]) is ort
    assert reference_for(int8, [fp32, int8, ort, ort8]) is ort8
    assert reference_for(int8, [fp32, int8, ort]) is ort
    assert reference_for(int8, [fp32, int8]) is None
    assert reference_for(ort8, [ort, ort8]) is None
