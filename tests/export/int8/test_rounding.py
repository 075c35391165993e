"""Activations in uint8 and weights in int8: what rounding preserves, and when a remedy is worth its cost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastbert.export.int8.rounding import Rounding, choose_rounding, quantize_weight, smoothing


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def error(rounding, values, weight):
    return np.sqrt(np.square(rounding.product(values, weight) - values @ weight).mean())


def plain(values):
    low, high = min(values.min(), 0.0), max(values.max(), 0.0)
    return Rounding(float(high - low) / 255, round(float(-low / (high - low) * 255)))


@settings(deadline=None, max_examples=50)
@given(hnp.arrays(np.float32, (8, 4), elements=st.floats(-50, 50, width=32)))
def test_values_are_preserved_to_one_step_and_zero_exactly(values):
    rounding = choose_rounding(values, [np.eye(4, dtype=np.float32)])
    step = rounding.scale * (1.0 if rounding.smooth is None else rounding.smooth)
    # 127 x (1/127) is 1 to float32's last digit; the zero point rounds too
    found = rounding.product(values, np.eye(4, dtype=np.float32))
    assert (np.abs(found - values) <= 1.01 * step + 1e-4).all()
    assert (rounding.product(np.zeros((1, 4), np.float32), np.eye(4, dtype=np.float32)) == 0).all()


def test_a_single_large_value_is_not_clipped():
    values = normal(4000, 16)
    values[1234, 5] = 9.0
    values[77, 3] = -11.0
    rounding = choose_rounding(values, [normal(16, 16, seed=1)])
    smooth = np.ones(16) if rounding.smooth is None else rounding.smooth
    assert rounding.scale * (255 - rounding.zero_point) >= 9.0 / smooth[5] * 0.99
    assert rounding.scale * rounding.zero_point >= 11.0 / smooth[3] * 0.99


def test_similar_channels_need_no_remedy():
    for shape in ((16, 64), (64, 16)):
        rounding = choose_rounding(normal(500, shape[0]), [normal(*shape, seed=1)])
        assert rounding.smooth is None
        assert rounding.outliers == ()


def test_an_outlier_channel_of_a_narrowing_product_is_multiplied_in_floats():
    values, weight = normal(500, 64), normal(64, 16, seed=1)
    values[::20, 7] = 60.0
    weight[7, 2] = 30.0
    rounding = choose_rounding(values, [weight])
    assert 7 in rounding.outliers
    assert rounding.smooth is None
    assert error(rounding, values, weight) < 0.5 * error(plain(values), values, weight)
    integers, _ = rounding.weight(weight)
    assert (integers[list(rounding.outliers)] == 0).all()


@pytest.mark.parametrize("weights", [[normal(16, 64, seed=1)], [normal(16, 16, seed=seed) for seed in (1, 2, 3)]])
def test_an_activation_of_several_or_widening_products_is_smoothed(weights):
    values = normal(500, 16)
    values[:, 7] *= 40.0
    rounding = choose_rounding(values, weights)
    assert rounding.outliers == ()
    assert rounding.smooth is not None
    assert rounding.smooth.argmax() == 7
    for weight in weights:
        assert error(rounding, values, weight) < 0.5 * error(plain(values), values, weight)


def test_smoothing_equalizes_channels_at_1_and_rows_at_0():
    values, weight = normal(100, 8) * np.arange(1, 9, dtype=np.float32), normal(8, 8, seed=1)
    largest = np.abs(values / smoothing(values, weight, 1.0)).max(axis=0)
    assert largest == pytest.approx(largest[0], rel=1e-5)
    rows = np.abs(weight * smoothing(values, weight, 0.0)[:, None]).max(axis=1)
    assert rows == pytest.approx(rows[0], rel=1e-5)


def test_a_weight_is_rounded_per_output_channel():
    weight = np.array([[1.0, 0.0, -300.0], [-0.5, 0.0, 100.0]], np.float32)
    integers, scales = quantize_weight(weight)
    assert integers.dtype == np.int8
    assert integers.tolist() == [[127, 0, -127], [-64, 0, 42]]
    assert scales == pytest.approx([1 / 127, 1.0, 300 / 127])
