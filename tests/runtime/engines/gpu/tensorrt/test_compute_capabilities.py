"""Sets of compute capabilities, and what the real library can be told to build for."""

import pytest
from support.doubles.real_tensorrt import real_tensorrt_rtx

from fastbert.runtime.engines.gpu.tensorrt.compute_capabilities import covers, known_to
from fastbert.runtime.engines.gpu.tensorrt.libraries import TENSORRT_RTX


@pytest.mark.parametrize(
    ("capabilities", "found", "expected"),
    [
        (("8.0", "8.6"), "8.6", True),
        (("8.0", "8.6"), "8.9", False),
        ((">12.0",), "12.0", False),
        ((">12.0",), "12.1", True),
        ((">12.0",), "13.0", True),
        ((">12.0",), "9.0", False),
        ((">8.9",), "10.0", True),
        ((), "8.9", False),
    ],
)
def test_a_set_covers_what_it_names(capabilities, found, expected):
    assert covers(capabilities, found) is expected


def test_the_real_library_knows_the_default_set_and_turing():
    known = known_to(real_tensorrt_rtx())
    assert known[0] == "7.5"
    assert "9.0" not in known
    assert list(known) == sorted(known, key=lambda each: tuple(map(int, each.split("."))))
    assert {each for each in TENSORRT_RTX.compute_capabilities if not each.startswith(">")} == set(known[1:])
