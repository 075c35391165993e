"""A promise and what was measured of it."""

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Target", "TargetResult"]


@dataclass(frozen=True)
class Target:
    """One promise: the figure that ``measure`` gives is at most ``bar``, or with ``at_least`` at least."""

    name: str
    bar: float
    unit: str
    measure: Callable[[], float]
    at_least: bool = False


@dataclass(frozen=True)
class TargetResult:
    """A target, measured."""

    name: str
    figure: float
    bar: float
    unit: str
    holds: bool
    at_least: bool = False
