"""Engines against PyTorch, on real rows."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.evaluation import exit_positions
from fastbert.export.golden import SPEEDS, Golden
from fastbert.runtime import Classifier

__all__ = ["BORDERLINE", "TOLERANCE", "Verification", "verify_bundle"]

TOLERANCE = 1e-4  # largest logit difference allowed
BORDERLINE = 1e-5  # an exit may differ only where an uncertainty on the way is this close to the speed
_BATCH = 32


@dataclass(frozen=True)
class Verification:
    """What a comparison found.

    :param largest_logit_difference: for each exit, in layer order.
    :param label_flips: rows whose most probable class differs, for each exit.
    :param exit_flips: speed -> rows that leave elsewhere although no uncertainty is within `BORDERLINE` of the speed.
    :param borderline_exit_flips: speed -> rows that leave elsewhere and are that close.
    :param token_mismatches: rows whose text the bundle's tokenizer turns into other ids.
    """

    variant: str
    rows: int
    tolerance: float
    largest_logit_difference: tuple[float, ...]
    label_flips: tuple[int, ...]
    exit_flips: dict[str, int]
    borderline_exit_flips: dict[str, int]
    token_mismatches: int

    @property
    def problems(self) -> list[str]:
        """What failed, one sentence each; empty: verified."""
        found = []
        worst = int(np.argmax(self.largest_logit_difference))
        # not (<=): a NaN must fail
        if not self.largest_logit_difference[worst] <= self.tolerance:
            found.append(
                f"logits at exit {worst} differ by up to {self.largest_logit_difference[worst]:.2e}, "
                f"allowed are {self.tolerance:.0e}"
            )
        if any(self.label_flips):
            found.append(f"{sum(self.label_flips)} labels flip (by exit: {', '.join(map(str, self.label_flips))})")
        if any(self.exit_flips.values()):
            flips = ", ".join(f"{count} at speed {speed}" for speed, count in self.exit_flips.items() if count)
            found.append(f"rows leave at other exits: {flips}")
        if self.token_mismatches:
            found.append(f"{self.token_mismatches} texts are tokenized differently")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with ``passed``."""
        return {**asdict(self), "passed": not self.problems}


def verify_bundle(
    bundle: Path, golden: Golden, *, device: str = "cpu", variant: str | None = None, tolerance: float = TOLERANCE
) -> Verification:
    """Run a bundle's engines on rows whose answers are known: every exit, and the chain at each of `SPEEDS`.

    :param tolerance: largest logit difference allowed.
    :raises BundleError, EngineError, UsageError: the bundle cannot be run.
    """
    classifier = Classifier.load(bundle, device=device, variant=variant)
    rows = len(golden.input_ids)
    logits, uncertainty = np.zeros_like(golden.logits), np.zeros_like(golden.uncertainty)
    exit_layer = {speed: np.zeros(rows, np.int64) for speed in SPEEDS}
    mismatches = 0
    for start in range(0, rows, _BATCH):  # batches of mixed lengths, padded: as a user runs them
        part = slice(start, start + _BATCH)
        width = int(golden.attention_mask[part].sum(axis=1).max())
        arrays = [array[part, :width] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)]
        logits[part], uncertainty[part] = classifier.run_all_exits(*arrays)
        for speed in SPEEDS:
            exit_layer[speed][part] = classifier.run(*arrays, speed=speed).exit_layer
        mismatches += _token_mismatches(classifier, golden.inputs[part], arrays)
    layers = np.asarray(classifier.manifest.exits)
    flips, borderline = {}, {}
    for speed in SPEEDS:
        differs = exit_layer[speed] != layers[exit_positions(golden.uncertainty, speed)]
        close = (np.abs(golden.uncertainty - np.float32(speed)) < BORDERLINE).any(axis=1)
        flips[str(speed)] = int((differs & ~close).sum())
        borderline[str(speed)] = int((differs & close).sum())
    return Verification(
        variant=classifier.manifest.variant_for(device, variant).name,
        rows=rows,
        tolerance=tolerance,
        largest_logit_difference=tuple(np.abs(logits - golden.logits).max(axis=(0, 2)).tolist()),
        label_flips=tuple((logits.argmax(-1) != golden.logits.argmax(-1)).sum(axis=0).tolist()),
        exit_flips=flips,
        borderline_exit_flips=borderline,
        token_mismatches=mismatches,
    )


def _token_mismatches(classifier: Classifier, texts: list[Any], arrays: list[NDArray[np.int64]]) -> int:
    encoded = classifier.encode(texts)
    found = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    if found[0].shape != arrays[0].shape:
        return len(texts)
    return int(np.any([mine != theirs for mine, theirs in zip(found, arrays, strict=True)], axis=(0, 2)).sum())
