"""Engines against PyTorch, on real rows: run the engines, then judge their answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbert.export.golden import CHECKED_SPEEDS, Golden
from fastbert.export.verification.outcome import DEFAULT_BOUNDS, Bounds, Verification
from fastbert.runtime import ChainOutput, Classifier
from fastbert.runtime.engines.gpu import onnxruntime as gpu_engine
from fastbert.runtime.errors import BundleError
from fastbert.runtime.exit_rule import exit_positions
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, read_manifest
from fastbert.runtime.tokenization import TextInput

_BORDERLINE = 1e-5  # an exit may differ only where an uncertainty on the way is this close to the speed
_BATCH = 32


def runs_on(variant: Variant, device: str) -> bool:
    """Return whether a variant's engines can be verified on a device: those of a GPU in ONNX also on the CPU."""
    return variant.runs_on(device) or (device == "cpu" and variant.checkable_on_cpu)


def verify_bundle(
    bundle: Path, golden: Golden, *, device: str = "cpu", variant: str | None = None, bounds: Bounds = DEFAULT_BOUNDS
) -> Verification:
    """Run a bundle's engines on rows whose answers are known: every exit, and the chain at `CHECKED_SPEEDS`.

    On the device ``"cpu"`` a variant for ONNX Runtime on a GPU runs too. That checks what its graphs compute, not how
    a GPU computes it.

    :param variant: a variant's name; None: the first one for the device.
    :raises BundleError: the bundle or one of its engines cannot be used.
    :raises EngineError: the engine cannot run here.
    :raises UsageError: the bundle has no such variant.
    """
    manifest = read_manifest(bundle)
    chosen = next((held for held in manifest.variants if held.name == variant and runs_on(held, device)), None)
    if chosen is None or chosen.runs_on(device):
        classifier = Classifier.load(bundle, device=device, variant=variant)
        chosen = classifier.manifest.variant_for(device, variant)
    else:
        engine = gpu_engine.load(bundle, chosen, provider=gpu_engine.CPU)
        classifier = Classifier._from_engine(bundle, manifest, engine)
    return verify_classifier(classifier, chosen, golden, bounds=bounds)


def verify_classifier(
    classifier: Classifier, variant: Variant, golden: Golden, *, bounds: Bounds = DEFAULT_BOUNDS
) -> Verification:
    """Run a classifier on rows whose answers are known; ``variant`` says whether it must be exact.

    :raises BundleError: the known answers are of another number of exits or classes.
    """
    _, exits, classes = golden.logits.shape
    if (exits, classes) != (len(classifier.manifest.exits), len(classifier.labels)):
        raise BundleError(
            f"The golden rows have answers of {exits} exits and {classes} classes; {MANIFEST} has "
            f"{len(classifier.manifest.exits)} exits and {len(classifier.labels)} labels. Export the bundle again."
        )
    answers = _run_batches(classifier, golden)
    _run_single_rows(classifier, variant, golden, answers)
    return _judge(answers, classifier.manifest, variant, golden, bounds)


@dataclass(frozen=True)
class _Answers:
    """What a classifier answered.

    :param logits: float32 [rows, exits, classes].
    :param differences: float32 [rows, exits], the largest logit difference from PyTorch.
    :param exit_layer: speed -> int64 [rows].
    :param labels: speed -> int64 [rows], the most probable class at that exit.
    """

    logits: NDArray[np.float32]
    differences: NDArray[np.float32]
    exit_layer: dict[float, NDArray[np.int64]]
    labels: dict[float, NDArray[np.int64]]
    token_mismatches: int


def _run_batches(classifier: Classifier, golden: Golden) -> _Answers:
    """Compute every exit of each row in a padded batch, and run the batches through the chain, each at one speed.

    Where there are fewer batches than speeds, a batch runs at several, so that the chain runs at every speed. What it
    answers to a batch at the other speeds follows from the exits. The first batch has rows of any length, which
    pads most; the others have rows of similar length, which saves time.
    """
    rows = len(golden.input_ids)
    lengths = golden.attention_mask.sum(axis=1)
    order = np.concatenate([np.arange(rows)[:_BATCH], _BATCH + np.argsort(lengths[_BATCH:], kind="stable")])
    logits, uncertainty = np.zeros_like(golden.logits), np.zeros_like(golden.uncertainty)
    chain: dict[float, list[tuple[NDArray[np.int64], ChainOutput]]] = {speed: [] for speed in CHECKED_SPEEDS}
    mismatches, batches = 0, -(-rows // _BATCH)
    for number, start in enumerate(range(0, rows, _BATCH)):
        part = order[start : start + _BATCH]
        width = int(lengths[part].max())
        inputs = [array[part, :width] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)]
        logits[part], uncertainty[part] = classifier.run_all_exits(*inputs)
        for speed in CHECKED_SPEEDS[number % len(CHECKED_SPEEDS) :: batches]:
            chain[speed].append((part, classifier.run(*inputs, speed=speed)))
        mismatches += _token_mismatches(classifier, [golden.texts[row] for row in part], inputs)
    differences = np.abs(logits - golden.logits).max(axis=2)
    layers, exit_layer, labels = np.asarray(classifier.manifest.exits), {}, {}
    for speed, runs in chain.items():
        exits = exit_positions(uncertainty, speed)
        exit_layer[speed] = layers[exits]
        labels[speed] = logits[np.arange(rows), exits].argmax(axis=1)
        for part, output in runs:
            exit_layer[speed][part], labels[speed][part] = output.exit_layer, output.logits.argmax(axis=1)
            exits = np.searchsorted(layers, output.exit_layer)
            difference = np.abs(output.logits - golden.logits[part, exits]).max(axis=1)
            differences[part, exits] = np.maximum(differences[part, exits], difference)  # a NaN stays a NaN
    return _Answers(logits, differences, exit_layer, labels, mismatches)


def _run_single_rows(classifier: Classifier, variant: Variant, golden: Golden, answers: _Answers) -> None:
    """Run each row alone, which may take another engine, and enter its answers over those of the batches.

    Each row runs at one of the speeds: all of them would take too long.
    """
    exits = classifier.manifest.exits
    for row, length in enumerate(golden.attention_mask.sum(axis=1)):
        speed = CHECKED_SPEEDS[row % len(CHECKED_SPEEDS)]
        inputs = [array[[row], :length] for array in (golden.input_ids, golden.attention_mask, golden.token_type_ids)]
        output = classifier.run(*inputs, speed=speed)
        layer = int(output.exit_layer[0])
        if layer not in exits:  # row.onnx has its own list of layers
            raise BundleError(
                f"{variant.row} answers after layer {layer}; {MANIFEST} has exits after the layers "
                f"{', '.join(map(str, exits))}. Export the bundle again."
            )
        answers.exit_layer[speed][row], answers.labels[speed][row] = layer, output.logits[0].argmax()
        exit = exits.index(layer)
        difference = np.abs(output.logits[0] - golden.logits[row, exit]).max()
        answers.differences[row, exit] = np.maximum(answers.differences[row, exit], difference)  # a NaN stays a NaN


def _judge(answers: _Answers, manifest: Manifest, variant: Variant, golden: Golden, bounds: Bounds) -> Verification:
    rows, layers, known = np.arange(len(golden.input_ids)), np.asarray(manifest.exits), golden.labels >= 0
    answer_flips, exit_flips, borderline_exit_flips, accuracy = {}, {}, {}, {}
    for speed in CHECKED_SPEEDS:
        exits = exit_positions(golden.uncertainty, speed)
        labels = golden.logits[rows, exits].argmax(axis=1)
        differs = answers.exit_layer[speed] != layers[exits]
        borderline = (np.abs(golden.uncertainty - np.float32(speed)) < _BORDERLINE).any(axis=1)
        answer_flips[str(speed)] = int((answers.labels[speed] != labels).sum())
        exit_flips[str(speed)] = int((differs & ~borderline).sum())
        borderline_exit_flips[str(speed)] = int((differs & borderline).sum())
        if known.any():
            right = [(each == golden.labels)[known].mean() for each in (labels, answers.labels[speed])]
            accuracy[str(speed)] = (float(right[0]), float(right[1]))
    return Verification(
        variant=variant.name,
        exact=variant.exact,
        rows=len(rows),
        bounds=bounds,
        exits=manifest.exits,
        largest_logit_difference=tuple(answers.differences.max(axis=0).tolist()),
        label_flips=tuple((answers.logits.argmax(-1) != golden.logits.argmax(-1)).sum(axis=0).tolist()),
        answer_flips=answer_flips,
        exit_flips=exit_flips,
        borderline_exit_flips=borderline_exit_flips,
        accuracy=accuracy or None,
        token_mismatches=answers.token_mismatches,
    )


def _token_mismatches(classifier: Classifier, texts: Sequence[TextInput], inputs: list[NDArray[np.int64]]) -> int:
    encoded = classifier.encode(texts)
    arrays = (encoded.input_ids, encoded.attention_mask, encoded.token_type_ids)
    if arrays[0].shape != inputs[0].shape:
        return len(texts)
    return int(np.any([mine != golden for mine, golden in zip(arrays, inputs, strict=True)], axis=(0, 2)).sum())
