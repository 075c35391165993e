"""``fastbert evaluate``: accuracy and cost at each speed, of a bundle (its engines) or a checkpoint (PyTorch)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from fastbert.benchmarks.classes import ClassDepth, class_depths
from fastbert.benchmarks.named_speeds import named_speed
from fastbert.benchmarks.statistics.paired import PairedDifference, paired_difference
from fastbert.data import read_rows
from fastbert.data.rows import Row
from fastbert.flops import flops_by_exit, full_model_flops
from fastbert.runtime import Classifier
from fastbert.runtime.errors import UsageError
from fastbert.runtime.exit_rule import ExitRule, exit_positions
from fastbert.runtime.manifest import MANIFEST, read_manifest

_BATCH = 32


@dataclass(frozen=True)
class ExitTable:
    """Every exit's answer to every sample.

    :param logits: float32 [samples, exits, classes].
    :param uncertainty: float32 [samples, exits].
    :param lengths: int64 [samples], tokens, special tokens included.
    :param labels: int64 [samples], class index.
    :param class_names: by class index.
    :param exits: 0-based layer of each exit.
    :param layers: layers of the model.
    :param flops: of `fastbert.flops.model_flops`.
    """

    logits: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    exits: tuple[int, ...]
    layers: int
    flops: Mapping[str, Any]


@dataclass(frozen=True)
class SpeedResult:
    """One speed on one data file.

    :param accuracy: share of correct labels, in [0, 1]; ``macro_f1`` too is in [0, 1].
    :param mean_layers: layers run, averaged over the samples.
    :param layer_speedup: layers of the model / mean_layers.
    :param flops_per_sample: see `fastbert.flops` for the convention.
    :param flops_speedup: FLOPs of the whole model without early exits / flops_per_sample.
    :param exit_histogram: layer of the exit (0-based) -> samples that exited there.
    :param class_mean_layers: class name -> layers run, averaged over that class's samples; None: it has none.
    :param accuracy_change: accuracy against full depth, on the same samples, with its interval.
    :param classes: the classes that have samples, the deepest first.
    """

    speed: float
    samples: int
    accuracy: float
    macro_f1: float
    mean_layers: float
    layer_speedup: float
    flops_per_sample: float
    flops_speedup: float
    exit_histogram: dict[int, int]
    class_mean_layers: dict[str, float | None]
    accuracy_change: PairedDifference | None = None
    classes: tuple[ClassDepth, ...] = ()


def evaluate(
    target: Path,
    data: Path,
    speeds: Sequence[float | str],
    *,
    device: str | None = None,
    variant: str | None = None,
    threads: int | None = None,
) -> list[SpeedResult]:
    """Run every exit on every row once, then judge each speed.

    :param target: a bundle, or a checkpoint, which has no ``device``, ``variant`` or ``threads``.
    :param data: labelled rows.
    :param speeds: each in [0, 1], or the name of one of the bundle's operating points.
    :param device: one of `fastbert.runtime.engines.DEVICES`; None: the CPU.
    :param variant: name of a variant; None: the bundle's first for the device.
    :param threads: processor threads; None: the cores that this process may use.
    :returns: one result per different speed.
    :raises DataError: rows without labels, or with labels that the model does not know.
    :raises UsageError: the bundle has no such variant, or no such operating point for it, or an option is not for a
        checkpoint.
    """
    is_bundle = (target / MANIFEST).is_file()
    numbers = _numbers(target, speeds, device or "cpu", variant, is_bundle=is_bundle)  # before the work, not after it
    if is_bundle:
        classifier = Classifier.load(
            target, device=device or "cpu", variant=variant, threads=threads, batches=device in (None, "cpu")
        )
        table = _bundle_table(classifier, data)
    else:
        options = {"device": device if device != "cpu" else None, "variant": variant, "threads": threads}
        named = [f"`{name}`" for name, value in options.items() if value is not None]
        if named:
            verb = "is" if len(named) == 1 else "are"
            raise UsageError(
                f"{' and '.join(named)} {verb} for a bundle; {target} is not a bundle: it has no {MANIFEST}."
            )
        table = _checkpoint_table(target, data)
    return [evaluate_speed(table, speed) for speed in numbers]


def _numbers(
    target: Path, speeds: Sequence[float | str], device: str, variant: str | None, *, is_bundle: bool
) -> list[float]:
    """Return the speeds, checked, with those of the bundle's operating points in place of their names."""
    if is_bundle and any(isinstance(speed, str) for speed in speeds):
        manifest = read_manifest(target)
        chosen = manifest.variant_for(device, variant)
        speeds = [named_speed(manifest, chosen, speed) for speed in speeds]
    numbers = []
    for speed in speeds:
        if isinstance(speed, str):
            raise UsageError(
                f"`speeds` has {speed!r}; of a checkpoint, each must be a number from 0 (never exit early) to 1. Only "
                f"bundles have operating points, and {target} has no {MANIFEST}."
            )
        numbers.append(ExitRule(speed).speed)
    return list(dict.fromkeys(numbers))


def _bundle_table(classifier: Classifier, data: Path) -> ExitTable:
    manifest = classifier.manifest
    rows = read_rows(data, labels=manifest.labels, require_label=True)
    texts = [row.text_input for row in rows]
    logits = np.zeros((len(rows), len(manifest.exits), len(manifest.labels)), np.float32)
    uncertainty = np.zeros(logits.shape[:2], np.float32)
    lengths = np.zeros(len(rows), np.int64)
    by_size = np.argsort([len(row.text) + len(row.text_pair or "") for row in rows], kind="stable")
    for start in range(0, len(rows), _BATCH):
        batch = by_size[start : start + _BATCH]
        encoded = classifier.encode([texts[index] for index in batch])
        logits[batch], uncertainty[batch] = classifier.run_all_exits(
            encoded.input_ids, encoded.attention_mask, encoded.token_type_ids
        )
        lengths[batch] = encoded.attention_mask.sum(axis=1)
    return ExitTable(
        logits,
        uncertainty,
        lengths,
        _label_indices(rows, manifest.labels),
        manifest.labels,
        manifest.exits,
        manifest.layers,
        manifest.flops,
    )


def _checkpoint_table(checkpoint: Path, data: Path) -> ExitTable:
    from fastbert.checkpoint import load_checkpoint
    from fastbert.flops import model_flops
    from fastbert.reference import compute_reference

    loaded = load_checkpoint(checkpoint)
    config = loaded.model.config
    rows = read_rows(data, labels=config.labels, require_label=True)
    reference = compute_reference(loaded, rows)
    exits = slice(None) if config.distilled else slice(-1, None)  # exits that were never trained answer at random
    return ExitTable(
        reference.logits[:, exits],
        reference.uncertainty[:, exits],
        reference.lengths,
        _label_indices(rows, config.labels),
        tuple(config.labels),
        tuple(range(config.num_exits))[exits],
        config.num_exits,
        model_flops(config),
    )


def _label_indices(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[row.label or ""] for row in rows])


def evaluate_speed(table: ExitTable, speed: float) -> SpeedResult:
    """Judge one speed.

    :raises UsageError: ``speed`` is not a number in [0, 1].
    """
    positions = exit_positions(table.uncertainty, speed)
    samples = np.arange(len(positions))
    predicted = table.logits[samples, positions].argmax(axis=1)
    layers = np.asarray(table.exits)[positions] + 1
    flops = flops_by_exit(table.flops, table.exits, table.lengths)[samples, positions]
    full = full_model_flops(table.flops, table.layers, table.lengths)
    classes = class_depths(layers, table.labels, table.class_names, table.layers)
    means = {depth.name: depth.mean_layers for depth in classes}
    at_full_depth = table.logits[:, -1].argmax(axis=1) == table.labels
    return SpeedResult(
        speed=speed,
        samples=len(samples),
        accuracy=float(accuracy_score(table.labels, predicted)),
        macro_f1=float(f1_score(table.labels, predicted, average="macro")),
        mean_layers=float(layers.mean()),
        layer_speedup=float(table.layers / layers.mean()),
        flops_per_sample=float(flops.mean()),
        flops_speedup=float(full.mean() / flops.mean()),
        exit_histogram={layer: int((positions == index).sum()) for index, layer in enumerate(table.exits)},
        class_mean_layers={name: means.get(name) for name in table.class_names},
        accuracy_change=paired_difference(predicted == table.labels, at_full_depth),
        classes=classes,
    )
