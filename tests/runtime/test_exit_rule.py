"""When a sample exits."""

import math

import numpy as np
import pytest

from fastbert.runtime import UsageError
from fastbert.runtime.exit_rule import exit_rule


@pytest.mark.parametrize(
    "speed",
    [
        -0.1,
        1.1,
        math.nan,
        True,
        False,
        "0.5",
        None,
        [0.5],
        np.array([0.5]),
        10**400,
        0.5j,
        np.complex64(0.5),
        np.timedelta64(1, "s"),
        np.bool_(True),
    ],
)
def test_other_values_than_speeds_are_refused_even_after_equal_speeds(speed) -> None:
    exit_rule(0.0)
    exit_rule(1.0)  # which equals True
    with pytest.raises(UsageError, match="must be a number from 0"):
        exit_rule(speed)


@pytest.mark.parametrize("speed", [0, 0.0, 1, np.float32(0.3), np.float64(0.3), 0.3])
def test_both_sides_are_compared_in_float32(speed) -> None:
    uncertainty = np.array([0.0, 0.3, np.nextafter(np.float32(0.3), np.float32(0)), 1.0], dtype=np.float32)
    assert exit_rule(speed).exits(uncertainty).tolist() == (uncertainty < np.float32(speed)).tolist()
