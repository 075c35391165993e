"""Engines against PyTorch, on real rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.export.golden import SPEEDS, Golden
from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.errors import BundleError
from fastbert.runtime.exit_rule import exit_positions
from fastbert.runtime.manifest import MANIFEST, Variant, read_manifest
from fastbert.runtime.tokenization import TextInput

__all__ = ["BORDERLINE", "DEFAULT_BOUNDS", "Bounds", "Verification", "verify_bundle", "verify_classifier"]

BORDERLINE = 1e-5  # an exit may differ only where an uncertainty on the way is this close to the speed
_BATCH = 32


@dataclass(frozen=True)
class Bounds:
    """How far engines may be from PyTorch.

    :param tolerance: largest logit difference, for a precision that must give PyTorch's answers.
    :param max_label_flips: for a lossy one: the largest share of rows whose answer may be another label, at any speed.
        int8 flips about 1 % on trained models, at about the same accuracy; a broken one flips far more.
    """

    tolerance: float = 1e-4
    max_label_flips: float = 0.05


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True)
class Verification:
    """What a comparison with PyTorch in float32 found.

    :param exact: whether the variant must give PyTorch's answers, or is lossy and bounded by its label flips.
    :param exits: 0-based layer of each exit.
    :param largest_logit_difference: for each exit, in layer order.
    :param label_flips: rows whose most probable class differs, for each exit.
    :param answer_flips: speed -> rows whose answer, at the exit where each system leaves, is another label.
    :param exit_flips: speed -> rows that leave elsewhere although no uncertainty is within `BORDERLINE` of the speed.
    :param borderline_exit_flips: speed -> rows that leave elsewhere and are that close.
    :param accuracy: speed -> share of right answers among the rows whose label is known, in PyTorch and here;
        None: none is known.
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
        found = self._differences() if self.exact else self._flips()
        if self.token_mismatches:
            found.append(f"{self.token_mismatches} texts are tokenized differently")
        return [f"{self.variant}: {problem}" for problem in found]

    def _differences(self) -> list[str]:
        found = []
        worst = int(np.argmax(self.largest_logit_difference))
        # not (<=): a NaN must fail
        if not self.largest_logit_difference[worst] <= self.bounds.tolerance:
            found.append(
                f"logits at exit {self.exits[worst]} differ by up to {self.largest_logit_difference[worst]:.2e}, "
                f"allowed are {self.bounds.tolerance:.0e}"
            )
        if any(self.label_flips):
            counts = ", ".join(f"{exit}: {flips}" for exit, flips in zip(self.exits, self.label_flips, strict=True))
            found.append(f"{sum(self.label_flips)} labels flip (by exit: {counts})")
        if any(self.exit_flips.values()):
            flips = ", ".join(f"{count} at speed {speed}" for speed, count in self.exit_flips.items() if count)
            found.append(f"rows leave at other exits: {flips}")
        return found

    def _flips(self) -> list[str]:
        found = []
        if not np.isfinite(self.largest_logit_difference).all():
            found.append("some logits are not finite")
        speed, flips = max(self.answer_flips.items(), key=lambda item: item[1])
        if flips > self.bounds.max_label_flips * self.rows:
            found.append(
                f"{flips} of {self.rows} answers flip at speed {speed} ({flips / self.rows:.1%}), "
                f"allowed are {self.bounds.max_label_flips:.1%}"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON, with ``passed``."""
        return {**asdict(self), "passed": not self.problems}


def verify_bundle(
    bundle: Path, golden: Golden, *, device: str = "cpu", variant: str | None = None, bounds: Bounds = DEFAULT_BOUNDS
) -> Verification:
    """Run a bundle's engines on rows whose answers are known: every exit, and the chain at 0 and `SPEEDS`.

    On the device ``"cpu"`` this also runs the graphs of a variant for ONNX Runtime on a GPU: what they compute is
    checked wherever they are; not how a GPU computes it.

    :param variant: its name; None: the first one for the device.
    :raises BundleError, EngineError, UsageError: the bundle cannot be run.
    """
    if device == "cpu" and variant is not None:
        manifest = read_manifest(bundle)
        found = next((known for known in manifest.variants if known.name == variant), None)
        if found is not None and found.engine == "onnxruntime_cuda":
            engine = onnxruntime_cuda.load(bundle, found, provider=onnxruntime_cuda.CPU)
            return verify_classifier(Classifier._from_engine(bundle, manifest, engine), found, golden, bounds=bounds)
    classifier = Classifier.load(bundle, device=device, variant=variant)
    return verify_classifier(classifier, classifier.manifest.variant_for(device, variant), golden, bounds=bounds)


def verify_classifier(
    classifier: Classifier, variant: Variant, golden: Golden, *, bounds: Bounds = DEFAULT_BOUNDS
) -> Verification:
    """Run a classifier on rows whose answers are known; ``variant`` says whether it must be exact.

    :raises BundleError: the answers are of another number of exits or classes.
    """
    rows = len(golden.input_ids)
    _, exit_count, classes = golden.logits.shape
    if (exit_count, classes) != (len(classifier.manifest.exits), len(classifier.labels)):
        raise BundleError(
            f"The golden rows have answers of {exit_count} exits and {classes} classes; {MANIFEST} has "
            f"{len(classifier.manifest.exits)} exits and {len(classifier.labels)} labels. Export the bundle again."
        )
    speeds = (0.0, *SPEEDS)
    logits, uncertainty = np.zeros_like(golden.logits), np.zeros_like(golden.uncertainty)
    answers = {speed: np.zeros(rows, np.int64) for speed in speeds}
    exit_layer = {speed: np.zeros(rows, np.int64) for speed in speeds}
    mismatches = 0
    for start in range(0, rows, _BATCH):  # batches of mixed lengths, padded: as a user runs them
        part = slice(start, start + _BATCH)
        width = int(golden.attention_mask[part].sum(axis=1).max())
        arrays = [array[part, :width] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)]
        logits[part], uncertainty[part] = classifier.run_all_exits(*arrays)
        for speed in speeds:
            output = classifier.run(*arrays, speed=speed)
            exit_layer[speed][part], answers[speed][part] = output.exit_layer, output.logits.argmax(axis=1)
        mismatches += _token_mismatches(classifier, golden.texts[part], arrays)
    exits = classifier.manifest.exits
    differences = np.abs(logits - golden.logits).max(axis=2)  # [rows, exits]
    for row in range(rows):  # alone too, which may take another engine: each at one of the speeds, as all would be slow
        speed, length = speeds[row % len(speeds)], int(golden.attention_mask[row].sum())
        arrays = [array[[row], :length] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)]
        output = classifier.run(*arrays, speed=speed)
        exit_layer[speed][row], answers[speed][row] = output.exit_layer[0], output.logits[0].argmax()
        if output.exit_layer[0] not in exits:  # the model of a single row has their layers in it
            raise BundleError(
                f"{variant.row} answers after layer {output.exit_layer[0]}; the exits of {MANIFEST} stand after "
                f"{', '.join(map(str, exits))}. Export the bundle again."
            )
        place = exits.index(int(output.exit_layer[0]))
        difference = np.abs(output.logits[0] - golden.logits[row, place]).max()
        differences[row, place] = np.maximum(differences[row, place], difference)  # a NaN stays one
    layers = np.asarray(exits)
    known = golden.labels >= 0
    flips, borderline, answer_flips, accuracy = {}, {}, {}, {}
    for speed in speeds:
        expected = exit_positions(golden.uncertainty, speed)
        expected_answers = golden.logits[np.arange(rows), expected].argmax(axis=1)
        differs = exit_layer[speed] != layers[expected]
        close = (np.abs(golden.uncertainty - np.float32(speed)) < BORDERLINE).any(axis=1)
        flips[str(speed)] = int((differs & ~close).sum())
        borderline[str(speed)] = int((differs & close).sum())
        answer_flips[str(speed)] = int((answers[speed] != expected_answers).sum())
        if known.any():
            right = [(found == golden.labels)[known].mean() for found in (expected_answers, answers[speed])]
            accuracy[str(speed)] = (float(right[0]), float(right[1]))
    return Verification(
        variant=variant.name,
        exact=variant.exact,
        rows=rows,
        bounds=bounds,
        exits=exits,
        largest_logit_difference=tuple(differences.max(axis=0).tolist()),
        label_flips=tuple((logits.argmax(-1) != golden.logits.argmax(-1)).sum(axis=0).tolist()),
        answer_flips=answer_flips,
        exit_flips=flips,
        borderline_exit_flips=borderline,
        accuracy=accuracy or None,
        token_mismatches=mismatches,
    )


def _token_mismatches(classifier: Classifier, texts: Sequence[TextInput], arrays: list[NDArray[np.int64]]) -> int:
    encoded = classifier.encode(texts)
    found = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    if found[0].shape != arrays[0].shape:
        return len(texts)
    return int(np.any([mine != theirs for mine, theirs in zip(found, arrays, strict=True)], axis=(0, 2)).sum())
