"""What a comparison with PyTorch found, and whether that is good enough."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bounds:
    """How far engines may be from PyTorch.

    :param tolerance: largest logit difference, for a precision that must give PyTorch's answers.
    :param max_label_flips: for a lossy precision, the largest share of rows, in [0, 1], whose answer may be another
        label, at any speed. int8 on a trained model stays well below the default; a broken export far exceeds it.
    """

    tolerance: float = 1e-4
    max_label_flips: float = 0.05


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True)
class Verification:
    """A variant's answers compared with PyTorch's in float32.

    A row is *borderline* at a speed if one of its uncertainties is so close to the speed that rounding decides.

    :param exact: whether the variant must give PyTorch's answers; if not, it is lossy and its label flips are bounded.
    :param exits: 0-based layer of each exit.
    :param largest_logit_difference: at each exit, in layer order.
    :param label_flips: rows whose most probable class differs, at each exit.
    :param answer_flips: speed -> rows that are answered with another label, each system at the exit that it takes.
    :param exit_flips: speed -> rows that exit after another layer and are not borderline.
    :param borderline_exit_flips: speed -> rows that exit after another layer and are borderline.
    :param accuracy: speed -> (PyTorch's, this variant's) share of right answers among rows with a known label;
        None: no label is known.
    :param token_mismatches: rows whose text the bundle's tokenizer turns into other ids.
    """

    variant: str
    exact: bool
    rows: int
    bounds: Bounds
    exits: tuple[int, ...]
    largest_logit_difference: tuple[float, ...]
    label_flips: tuple[int, ...]
    answer_flips: dict[str, int]
    exit_flips: dict[str, int]
    borderline_exit_flips: dict[str, int]
    accuracy: dict[str, tuple[float, float]] | None
    token_mismatches: int

    @property
    def problems(self) -> list[str]:
        """What failed, one sentence each; empty: verified."""
        problems = self._inexact() if self.exact else self._too_lossy()
        if self.token_mismatches:
            problems.append(f"{self.token_mismatches} texts are tokenized differently")
        return [f"{self.variant}: {problem}" for problem in problems]

    def _inexact(self) -> list[str]:
        problems = []
        worst = int(np.argmax(self.largest_logit_difference))
        # not (<=): a NaN must fail
        if not self.largest_logit_difference[worst] <= self.bounds.tolerance:
            problems.append(
                f"logits at exit {self.exits[worst]} differ by up to {self.largest_logit_difference[worst]:.2e}; "
                f"the bound is {self.bounds.tolerance:.0e}"
            )
        if any(self.label_flips):
            counts = ", ".join(f"{exit}: {flips}" for exit, flips in zip(self.exits, self.label_flips, strict=True))
            problems.append(f"{sum(self.label_flips)} labels flip (by exit: {counts})")
        if any(self.exit_flips.values()):
            flips = ", ".join(f"{count} at speed {speed}" for speed, count in self.exit_flips.items() if count)
            problems.append(f"rows exit after other layers: {flips}")
        return problems

    def _too_lossy(self) -> list[str]:
        problems = []
        if not np.isfinite(self.largest_logit_difference).all():
            problems.append("some logits are not finite")
        speed, flips = max(self.answer_flips.items(), key=lambda item: item[1])
        if not flips <= self.bounds.max_label_flips * self.rows:  # a NaN must fail
            problems.append(
                f"{flips} of {self.rows} answers flip at speed {speed} ({flips / self.rows:.1%}); "
                f"the bound is {self.bounds.max_label_flips:.1%}"
            )
        return problems

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with ``passed``."""
        return {**asdict(self), "passed": not self.problems}
