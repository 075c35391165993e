"""When a sample exits."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import UsageError


@dataclass(frozen=True)
class ExitRule:
    """A sample exits at the first exit whose uncertainty is below ``speed`` (FastBERT, section 3.3).

    :param speed: in [0, 1]; 0: never early. The last exit answers whatever its uncertainty.
    :raises UsageError: ``speed`` is not a number in [0, 1].
    """

    speed: float

    def __post_init__(self) -> None:
        is_number = isinstance(self.speed, int | float | np.integer | np.floating)
        is_other = isinstance(self.speed, bool | np.timedelta64)
        if not is_number or is_other or not 0.0 <= self.speed <= 1.0:  # which NaN fails too
            raise UsageError(f"`speed` is {self.speed!r}; it must be a number from 0 (never exit early) to 1.")

    @cached_property
    def speed32(self) -> NDArray[np.float32]:
        """The speed in float32 [1], the type in which uncertainties are computed and compared."""
        return np.array([self.speed], dtype=np.float32)

    def exits(self, uncertainty: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which samples exit: float32 [samples] -> bool [samples]."""
        return uncertainty < self.speed32


def exit_rule(speed: float) -> ExitRule:
    """Return ``ExitRule(speed)``, made once for each speed (hot path: docs/performance.md#single-row).

    :raises UsageError: ``speed`` is not a number in [0, 1].
    """
    try:
        return _cached_rule(speed)
    except TypeError:  # not hashable
        return ExitRule(speed)


@lru_cache(maxsize=64, typed=True)  # typed: True is not a speed, 1.0 is
def _cached_rule(speed: float) -> ExitRule:
    return ExitRule(speed)


def exit_positions(uncertainty: NDArray[np.float32], speed: float) -> NDArray[np.int64]:
    """Return at which exit each sample exits: float32 [samples, exits] -> int64 [samples], index into the exits.

    :raises UsageError: ``speed`` is not a number in [0, 1].
    """
    exiting = ExitRule(speed).exits(uncertainty)
    exiting[:, -1] = True
    positions: NDArray[np.int64] = exiting.argmax(axis=1)
    return positions
