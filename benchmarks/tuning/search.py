"""Which speed a target leads to, decided on some rows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbert.benchmarks.statistics.guarantees import (
    betting_passes,
    last_that_passes,
    losses_allowed,
    rows_needed,
)
from fastbert.benchmarks.tuning.speeds import SPEEDS, Rows
from fastbert.benchmarks.tuning.targets import Target


@dataclass(frozen=True)
class Guarantee:
    """What holds for rows like these with probability ``confidence``.

    :param kind: ``min_agreement`` or ``max_drop``, and its ``value``, as the target has them.
    :param rows: that the test ran on.
    :param losses: those of them that get another answer than at full depth.
    :param test: ``binomial``: an exact test of the disagreement with full depth; ``betting``: of the accuracy lost.
    """

    kind: str
    value: float
    confidence: float
    rows: int
    losses: int
    test: str


@dataclass(frozen=True)
class Choice:
    """The speed that was found.

    :param reached: whether it reaches the target; if not, it is the nearest that there is.
    """

    speed: float
    reached: bool
    guarantee: Guarantee | None = None


def fewest_rows(target: Target) -> int:
    """Return how many rows must decide: those that the guarantee needs, or 1."""
    return 1 if target.confidence is None else rows_needed(target.most_loss, target.confidence)


def choose(rows: Rows, target: Target) -> Choice:
    """Return the speed for a target that is not timed.

    A loss is bounded by the loosest speed up to which all stricter ones keep the bound; a gain is reached by the
    strictest speed that has it; an accuracy by the loosest speed that has it.

    :param rows: at least `fewest_rows`, drawn in an order that does not depend on them.
    """
    figure = target.kind.figure
    assert figure is not None
    if target.confidence is not None:
        return _guaranteed(rows, target, target.confidence)
    if not target.kind.loses:
        met = (speed for speed in SPEEDS if target.is_met(figure(rows, speed)))
        speed = next(met, None)
        return Choice(SPEEDS[-1], reached=False) if speed is None else Choice(speed, reached=True)
    if target.kind.guaranteed:
        return _last(lambda speed: target.is_met(figure(rows, speed)))
    figures = {speed: figure(rows, speed) for speed in (0.0, *SPEEDS)}
    if any(map(target.is_met, figures.values())):
        return Choice(max(speed for speed, found in figures.items() if target.is_met(found)), reached=True)
    return Choice(max(figures, key=lambda speed: (figures[speed], speed)), reached=False)


def _last(passes: Callable[[float], bool]) -> Choice:
    """Return the last speed of the sequence that passes; full depth, which loses nothing and saves nothing, if none."""
    speed = last_that_passes(SPEEDS, passes)
    return Choice(0.0, reached=False) if speed is None else Choice(speed, reached=True)


def _guaranteed(rows: Rows, target: Target, confidence: float) -> Choice:
    """Return the last speed that passes the test of the target."""
    most, count = target.most_loss, len(rows)
    # A drop is at most the disagreement. So where the rows are too few to win a bet even without a loss, the exact test
    # of the disagreement decides; which of the two depends on the number of rows alone.
    if target.kind.labels and betting_passes(np.zeros(count), most, confidence):
        test, choice = "betting", _last(lambda speed: betting_passes(rows.losses(speed), most, confidence))
    else:
        allowed = losses_allowed(count, most, confidence)
        test, choice = "binomial", _last(lambda speed: int(rows.disagreements(speed).sum()) <= allowed)
    if not choice.reached:
        return choice
    losses = int(rows.disagreements(choice.speed).sum())
    found = Guarantee(target.kind.name, target.value, confidence, count, losses, test)
    return Choice(choice.speed, reached=True, guarantee=found)
