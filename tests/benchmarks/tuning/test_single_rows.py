import pytest
from support.tuning import make_answers

from fastbert.benchmarks.tuning.single_rows import row_timer, strictest_within
from fastbert.benchmarks.tuning.speeds import SPEEDS
from fastbert.benchmarks.tuning.targets import TARGETS, Target

ROWS = make_answers(500)


def timer(speeds):
    return {speed: 2 * ROWS.mean_layers(speed) for speed in speeds}  # 8 ms at full depth


def choose(most_ms):
    return strictest_within(Target(TARGETS["max_latency_ms"], most_ms), ROWS, timer)


@pytest.mark.parametrize("most_ms", [7.5, 5.0, 3.0])
def test_the_strictest_speed_that_is_fast_enough_is_found_by_timing_few(most_ms):
    found = choose(most_ms)
    assert found.reached
    assert 2 * ROWS.mean_layers(found.speed) <= most_ms
    strictest = next(speed for speed in SPEEDS if 2 * ROWS.mean_layers(speed) <= most_ms)
    assert ROWS.mean_layers(strictest) - ROWS.mean_layers(found.speed) < 0.03  # of 4 layers


def test_full_depth_that_is_fast_enough_is_kept():
    assert choose(9.0) == choose(8.0)
    assert (choose(9.0).speed, choose(9.0).reached) == (0.0, True)


def test_a_latency_out_of_reach_gives_the_fastest():
    found = choose(0.5)
    assert (found.speed, found.reached) == (1.0, False)


def test_single_rows_are_timed(classifier):
    medians = row_timer(classifier, ["good film", "a bad and dull plot"] * 4, rest=False)([0.0, 1.0])
    assert list(medians) == [0.0, 1.0]
    assert all(0 < value < 1000 for value in medians.values())
