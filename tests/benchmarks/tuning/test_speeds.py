import numpy as np
import pytest
from support.tuning import make_answers

from fastbert.benchmarks.tuning.exits import ExitAnswers
from fastbert.benchmarks.tuning.speeds import SPEEDS, Rows

BY_HAND = Rows(
    ExitAnswers(
        np.array([[0, 1], [1, 1], [0, 0]], np.int32),
        np.array([[0.1, 0.1], [0.9, 0.9], [0.3, 0.1]], np.float32),
        np.array([[0.9, 0.9], [0.1, 0.1], [0.9, 0.9]], np.float32),
    ),
    np.array([0, 1, 1]),
    (1, 5),
)


def test_the_speeds_are_strict_to_loose_and_print_as_they_are():
    assert list(SPEEDS) == sorted(set(SPEEDS))
    assert (SPEEDS[0], SPEEDS[-1]) == (0.0001, 1.0)
    assert all(len(f"{speed:g}") <= 6 and float(f"{speed:g}") == speed for speed in SPEEDS)


def test_a_speed_by_hand():
    found = BY_HAND.at(0.2)
    assert found.answers.tolist() == [0, 1, 0]
    assert found.layers.tolist() == [2, 6, 6]
    assert BY_HAND.disagreements(0.2).tolist() == [True, False, False]
    assert BY_HAND.losses(0.2).tolist() == [-1, 0, 0]  # the first row is right only at the early exit
    assert BY_HAND.agreement(0.2) == pytest.approx(2 / 3)
    assert BY_HAND.accuracy(0.2) == pytest.approx(2 / 3)
    assert BY_HAND.accuracy(0.0) == pytest.approx(1 / 3)
    assert BY_HAND.mean_layers(0.2) == pytest.approx(14 / 3)
    assert BY_HAND.layers == 6


def test_full_depth_loses_nothing_and_saves_nothing():
    rows = make_answers(50)
    assert rows.agreement(0.0) == 1.0
    assert not rows.losses(0.0).any()
    assert rows.mean_layers(0.0) == 4


def test_a_part_and_the_other_measure():
    part = BY_HAND.part(np.array([2, 0]))
    assert (part.labels.tolist(), part.full.tolist(), len(part)) == ([1, 0], [0, 1], 2)
    assert BY_HAND.with_other_measure().at(0.2).layers.tolist() == [6, 2, 6]
    assert BY_HAND.with_other_measure().with_other_measure().at(0.2).layers.tolist() == [2, 6, 6]


def test_an_uncertainty_exits_strictly_below_the_speed_in_float32():
    exits = ExitAnswers(np.zeros((1, 2), np.int32), np.float32([[0.3, 0.3]]), np.float32([[0.3, 0.3]]))
    rows = Rows(exits, None, (0, 1))
    assert (rows.mean_layers(0.3), rows.mean_layers(0.305)) == (2, 1)
