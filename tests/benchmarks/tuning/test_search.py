import numpy as np
import pytest
from support.tuning import make_answers

from fastbert.benchmarks.statistics.guarantees import losses_allowed
from fastbert.benchmarks.tuning.exits import ExitAnswers
from fastbert.benchmarks.tuning.search import choose, fewest_rows
from fastbert.benchmarks.tuning.speeds import SPEEDS, Rows
from fastbert.benchmarks.tuning.targets import TARGETS, Target

ROWS = make_answers(3000)


def next_speed(speed):
    return SPEEDS[SPEEDS.index(speed) + 1]


@pytest.mark.parametrize(("name", "value"), [("min_agreement", 0.98), ("max_drop", 0.4)])
def test_the_loosest_speed_that_keeps_the_bound(name, value):
    target = Target(TARGETS[name], value)
    found = choose(ROWS, target)
    assert found.reached
    assert 0 < found.speed < 1
    figure = target.kind.figure
    assert all(target.is_met(figure(ROWS, speed)) for speed in SPEEDS if speed <= found.speed)
    assert not target.is_met(figure(ROWS, next_speed(found.speed)))


def test_the_strictest_speed_that_gains_enough():
    found = choose(ROWS, Target(TARGETS["speedup"], 2.0))
    before = SPEEDS[SPEEDS.index(found.speed) - 1]
    assert 4 / ROWS.mean_layers(found.speed) >= 2 > 4 / ROWS.mean_layers(before)


def test_the_loosest_speed_of_an_accuracy():
    wanted = ROWS.accuracy(0.0) - 0.01
    found = choose(ROWS, Target(TARGETS["min_accuracy"], wanted))
    assert ROWS.accuracy(found.speed) >= wanted
    assert all(ROWS.accuracy(speed) < wanted for speed in SPEEDS if speed > found.speed)


@pytest.mark.parametrize(
    ("name", "value", "speed"), [("speedup", 4.5, 1.0), ("min_agreement", 1.0, 0.0), ("max_drop", 0.0, 0.0)]
)
def test_a_target_out_of_reach_gives_the_nearest(name, value, speed):
    count = 200
    exits = ExitAnswers(  # every early answer is wrong, at any speed
        np.tile(np.array([1, 0], np.int32), (count, 1)), np.full((count, 2), 1e-6, np.float32), np.zeros((count, 2))
    )
    rows = Rows(exits, np.zeros(count, np.int64), (0, 3))
    found = choose(rows, Target(TARGETS[name], value))
    assert (found.speed, found.reached, found.guarantee) == (speed, False, None)


def test_an_accuracy_out_of_reach_gives_the_highest():
    found = choose(ROWS, Target(TARGETS["min_accuracy"], 0.999))
    assert not found.reached
    assert ROWS.accuracy(found.speed) == max(ROWS.accuracy(speed) for speed in (0.0, *SPEEDS))


def test_an_agreement_is_guaranteed_by_the_exact_test():
    found = choose(ROWS, Target(TARGETS["min_agreement"], 0.98, 0.95))
    allowed = losses_allowed(3000, 0.02, 0.95)
    assert found.reached
    assert ROWS.disagreements(found.speed).sum() <= allowed < ROWS.disagreements(next_speed(found.speed)).sum()
    guarantee = found.guarantee
    assert (guarantee.kind, guarantee.confidence, guarantee.rows, guarantee.test) == (
        *("min_agreement", 0.95, 3000),
        "binomial",
    )
    assert guarantee.losses == ROWS.disagreements(found.speed).sum()
    assert choose(ROWS, Target(TARGETS["min_agreement"], 0.98)).speed > found.speed  # a guarantee has its price


def test_a_drop_is_guaranteed_by_a_bet_and_with_few_rows_by_the_exact_test():
    target = Target(TARGETS["max_drop"], 1.0, 0.95)
    assert fewest_rows(target) == 299
    many, few = choose(ROWS, target), choose(make_answers(300), target)
    assert many.guarantee.test == "betting"
    assert 0 < many.speed <= choose(ROWS, Target(TARGETS["max_drop"], 1.0)).speed
    assert few.guarantee is None or few.guarantee.test == "binomial"
    assert choose(make_answers(305), target).speed == few.speed or few.speed < 1


def test_where_early_exits_are_right_more_often_a_drop_costs_nothing():
    count = 2000
    answers = np.tile(np.array([0, 0], np.int32), (count, 1))
    answers[:100, 1] = 1  # full depth errs where the first exit does not
    rows = Rows(ExitAnswers(answers, np.full((count, 2), 0.5, np.float32), answers * 0.0), np.zeros(count, int), (0, 1))
    mixed = rows.part(np.random.default_rng(0).permutation(count))
    assert choose(mixed, Target(TARGETS["max_drop"], 0.5, 0.95)).speed == 1.0
    assert choose(mixed, Target(TARGETS["min_agreement"], 0.99, 0.95)).speed < 0.51


def test_promises_are_kept_on_rows_never_seen():
    """Over 40 draws of rows, a promise fails in 5 % by design; 7 failures are beyond chance (0.3 %)."""
    everything, failures, drops = make_answers(40_000, seed=9), 0, 0
    generator = np.random.default_rng(0)
    expected = {speed: (everything.agreement(speed), everything.losses(speed).mean()) for speed in SPEEDS}
    for _ in range(40):
        rows = everything.part(generator.choice(40_000, 700, replace=False))
        agreeing = choose(rows, Target(TARGETS["min_agreement"], 0.98, 0.95)).speed
        losing = choose(rows, Target(TARGETS["max_drop"], 1.0, 0.95)).speed
        failures += agreeing > 0 and expected[agreeing][0] < 0.98
        drops += losing > 0 and expected[losing][1] > 0.01
    assert failures <= 6
    assert drops <= 6
