"""What a bundle can be tuned for: five targets as a table."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fastbert.benchmarks.statistics.guarantees import about_rows_needed
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.runtime.errors import UsageError

_ROUNDING = 1e-9  # 0.3 points of 1000 rows are 3 rows, whatever their float
_MOST_ROWS = 10**7  # a guarantee that needs more is a slip of the pen


@dataclass(frozen=True)
class TargetKind:
    """A kind of target.

    :param name: of the option, and of ``target.kind`` in the manifest.
    :param expected: of its value, in words.
    :param fits: whether a value is in range.
    :param words: the target as a sentence's end, with its value as {value} or {percent}, and {points} to agree with it.
    :param least: whether the figure must be at least the value; otherwise at most.
    :param figure: rows and a speed -> what is compared with the value, in its unit; None: it is timed.
    :param labels: whether it needs labels.
    :param loses: whether it bounds what is lost, so that the loosest speed is wanted; otherwise it demands a gain, and
        the strictest is wanted.
    :param most_loss: value -> the expected loss per row that a guarantee bounds, in (0, 1); None: no guarantee.
    """

    name: str
    expected: str
    fits: Callable[[float], bool]
    words: str
    least: bool
    figure: Callable[[Rows, float], float] | None
    labels: bool = False
    loses: bool = True
    most_loss: Callable[[float], float] | None = None

    @property
    def guaranteed(self) -> bool:
        """Whether there is a guarantee for it."""
        return self.most_loss is not None

    def check(self, value: float) -> None:
        """Check a value.

        :raises UsageError: it is out of range.
        """
        if not self.fits(value):
            raise UsageError(f"`{self.name}` is {value:g}; it must be {self.expected}.")


@dataclass(frozen=True)
class Target:
    """A kind of target with its value.

    :param confidence: of the guarantee; None: no guarantee is asked for.
    """

    kind: TargetKind
    value: float
    confidence: float | None = None

    @property
    def words(self) -> str:
        """The target in words."""
        points = "point" if self.value == 1 else "points"
        return self.kind.words.format(value=self.value, percent=100 * self.value, points=points)

    @property
    def most_loss(self) -> float:
        """The expected loss per row that the guarantee bounds, in (0, 1)."""
        assert self.kind.most_loss is not None
        return self.kind.most_loss(self.value)

    def is_met(self, figure: float) -> bool:
        """Whether a figure reaches the value."""
        return figure >= self.value - _ROUNDING if self.kind.least else figure <= self.value + _ROUNDING

    @property
    def can_be_guaranteed(self) -> bool:
        """Whether there is a guarantee for this value, at any confidence."""
        return self.kind.most_loss is not None and 0 < self.most_loss < 1

    def check_guarantee(self) -> None:
        """Check that there can be a guarantee.

        :raises UsageError: it would need all rows that there are, or every loss is acceptable.
        """
        assert self.confidence is not None
        if self.most_loss >= 1:  # so small an agreement, as a float
            raise UsageError(
                f"`{self.kind.name}` {self.value:g} allows every loss, so there is nothing to guarantee. Omit "
                "`confidence`, or ask for more."
            )
        if self.most_loss <= 0 or about_rows_needed(self.most_loss, self.confidence) > _MOST_ROWS:
            raise UsageError(
                f"`{self.kind.name}` {self.value:g} leaves no room for a loss, and no number of rows proves that there "
                "is none. Omit `confidence`, or allow a little."
            )


def _drop(rows: Rows, speed: float) -> float:
    return 100 * float(rows.losses(speed).mean())


def _speedup(rows: Rows, speed: float) -> float:
    return rows.layers / rows.mean_layers(speed)


def _is_share(value: float) -> bool:
    return 0 < value <= 1


_KINDS = (
    TargetKind(
        "max_drop",
        expected="points of accuracy, from 0 to less than 100, such as 0.5",
        fits=lambda value: 0 <= value < 100,
        words="lose at most {value:g} {points} of accuracy against full depth",
        least=False,
        figure=_drop,
        labels=True,
        most_loss=lambda value: value / 100,
    ),
    TargetKind(
        "min_agreement",
        expected="a share above 0 and at most 1, such as 0.99",
        fits=_is_share,
        words="give at least {percent:g} % of the rows full depth's answer",
        least=True,
        figure=Rows.agreement,
        most_loss=lambda value: 1 - value,
    ),
    TargetKind(
        "speedup",
        expected="a finite number above 1, such as 3",
        fits=lambda value: 1 < value < math.inf,
        words="run at least {value:g} times fewer layers",
        least=True,
        figure=_speedup,
        loses=False,
    ),
    TargetKind(
        "max_latency_ms",
        expected="a finite number of milliseconds above 0",
        fits=lambda value: 0 < value < math.inf,
        words="answer a single row in at most {value:g} ms (median, on this machine)",
        least=False,
        figure=None,
        loses=False,
    ),
    TargetKind(
        "min_accuracy",
        expected="a share above 0 and at most 1, such as 0.9",
        fits=_is_share,
        words="answer at least {percent:g} % of the rows rightly",
        least=True,
        figure=Rows.accuracy,
        labels=True,
    ),
)
TARGETS: Mapping[str, TargetKind] = {kind.name: kind for kind in _KINDS}
