"""When an exit takes a sample."""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fastbert.runtime.errors import UsageError

__all__ = ["ExitRule", "exit_positions", "exit_rule"]


@dataclass(frozen=True)
class ExitRule:
    """A sample leaves at the first exit whose uncertainty is below ``speed`` (FastBERT, section 3.3).

    :param speed: in [0, 1]; 0: never early. The last layer answers whatever its uncertainty.
    :raises UsageError: ``speed`` is no number in [0, 1].
    """

    speed: float

    def __post_init__(self) -> None:
        is_number = isinstance(self.speed, int | float | np.integer | np.floating)
        is_other = isinstance(self.speed, bool | np.timedelta64)
        if not is_number or is_other or not 0.0 <= self.speed <= 1.0:  # nor is NaN
            raise UsageError(f"speed is {self.speed!r}; it must be a number from 0 (never exit early) to 1.")

    @cached_property
    def speed32(self) -> NDArray[np.float32]:
        """``speed`` in float32, in which the uncertainty was computed and both are compared: float32 [1]."""
        return np.array([self.speed], dtype=np.float32)

    def leaves(self, uncertainty: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return which samples leave: float32 [samples] -> bool [samples]."""
        return uncertainty < self.speed32


def exit_rule(speed: float) -> ExitRule:
    """Return ``ExitRule(speed)``, kept from call to call: making one takes 20 us of a request. Errors likewise."""
    try:
        return _kept_rule(speed)
    except TypeError:  # not hashable
        return ExitRule(speed)


@lru_cache(maxsize=64, typed=True)  # typed: True is no speed, 1.0 is
def _kept_rule(speed: float) -> ExitRule:
    return ExitRule(speed)


def exit_positions(uncertainty: NDArray[np.float32], speed: float) -> NDArray[np.int64]:
    """Return at which exit each sample leaves: float32 [samples, exits] -> int64 [samples], index into the exits.

    :raises UsageError: ``speed`` is no number in [0, 1].
    """
    leaves = ExitRule(speed).leaves(uncertainty)
    leaves[:, -1] = True
    return leaves.argmax(axis=1)
