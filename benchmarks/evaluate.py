"""``fastbert evaluate``: what each speed gives, for a checkpoint (PyTorch) or a bundle (its engines)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fastbert.data import read_rows
from fastbert.evaluation import ExitTable, SpeedResult, evaluate_speed
from fastbert.rows import Row
from fastbert.runtime import Classifier
from fastbert.runtime.manifest import MANIFEST

__all__ = ["evaluate"]

_BATCH = 32


def evaluate(
    target: Path, data: Path, speeds: Sequence[float], *, device: str = "cpu", threads: int | None = None
) -> list[SpeedResult]:
    """Run every exit on every row once, then judge each speed.

    :param target: a bundle, or a checkpoint.
    :param data: labelled rows.
    :param device: that runs a bundle.
    :param threads: processor threads, for a bundle.
    :raises DataError: no labels, or labels that the model does not know.
    """
    is_bundle = (target / MANIFEST).is_file()
    table = _bundle_table(target, data, device, threads) if is_bundle else _checkpoint_table(target, data)
    return [evaluate_speed(table, speed) for speed in speeds]


def _bundle_table(bundle: Path, data: Path, device: str, threads: int | None) -> ExitTable:
    classifier = Classifier.load(bundle, device=device, threads=threads, batches=True)
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
    return ExitTable(
        reference.logits,
        reference.uncertainty,
        reference.lengths,
        _label_indices(rows, config.labels),
        tuple(config.labels),
        tuple(range(config.num_exits)),
        config.num_exits,
        model_flops(config),
    )


def _label_indices(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    index = {label: number for number, label in enumerate(labels)}
    return np.array([index[row.label or ""] for row in rows])
