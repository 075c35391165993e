"""What happens at each speed, from every exit's answers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.tuning.exits import ExitAnswers
from fastbert.runtime.exit_rule import exit_positions


def _grid() -> Iterator[float]:
    for first, step, stop in ((1, 1, 10), (10, 5, 100), (100, 10, 1000), (1000, 50, 10001)):  # ten-thousandths
        yield from (number / 10_000 for number in range(first, stop, step))


# The speeds that are tried, strict to loose. They are fixed: a guarantee may not depend on speeds that the rows choose.
SPEEDS = tuple(_grid())


@dataclass(frozen=True)
class AtSpeed:
    """The rows' answers at a speed.

    :param answers: int32 [rows], class index.
    :param layers: int64 [rows], layers run.
    """

    answers: NDArray[np.int32]
    layers: NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Rows whose answers at any speed are known.

    :param exits: every exit's answers.
    :param labels: int64 [rows], the right class; None: not known, or not asked for.
    :param exit_layers: 0-based layer of each exit; the last one is the model's last.
    """

    exits: ExitAnswers
    labels: NDArray[np.int64] | None
    exit_layers: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.exits.answers)

    @property
    def layers(self) -> int:
        """Layers of the model."""
        return self.exit_layers[-1] + 1

    @property
    def full(self) -> NDArray[np.int32]:
        """The answers at full depth: int32 [rows]."""
        return self.exits.answers[:, -1]

    def part(self, chosen: NDArray[np.int64]) -> "Rows":
        """Return some of the rows."""
        labels = None if self.labels is None else self.labels[chosen]
        return Rows(self.exits.part(chosen), labels, self.exit_layers)

    def with_other_measure(self) -> "Rows":
        """Return the same rows as if the bundle had the other measure."""
        exits = ExitAnswers(self.exits.answers, self.exits.other, self.exits.uncertainty)
        return Rows(exits, self.labels, self.exit_layers)

    def at(self, speed: float) -> AtSpeed:
        """Return the answers at a speed."""
        positions = exit_positions(self.exits.uncertainty, speed)
        answers = self.exits.answers[np.arange(len(self)), positions]
        return AtSpeed(answers, np.asarray(self.exit_layers)[positions] + 1)

    def disagreements(self, speed: float) -> NDArray[np.bool_]:
        """Return which rows get another answer than at full depth: bool [rows]."""
        different: NDArray[np.bool_] = self.at(speed).answers != self.full
        return different

    def losses(self, speed: float) -> NDArray[np.int64]:
        """Return 1 for rows that only full depth answers rightly, -1 for those that only this speed does.

        :returns: int64 [rows].
        """
        assert self.labels is not None
        right_full, right = self.full == self.labels, self.at(speed).answers == self.labels
        lost: NDArray[np.int64] = right_full.astype(np.int64) - right
        return lost

    def agreement(self, speed: float) -> float:
        """Return the share of rows that get full depth's answer."""
        return 1 - float(self.disagreements(speed).mean())

    def accuracy(self, speed: float) -> float:
        """Return the share of right answers."""
        assert self.labels is not None
        return float((self.at(speed).answers == self.labels).mean())

    def mean_layers(self, speed: float) -> float:
        """Return layers run, averaged over the rows."""
        return float(self.at(speed).layers.mean())
