"""Another bundle at full depth, such as a shallow model of ``fastbert train --layers``."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastbert.benchmarks.rivals.text_classifier import TextClassifier
from fastbert.benchmarks.systems import variants_on
from fastbert.data.label_column import some_labels
from fastbert.runtime import Classifier
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import read_manifest
from fastbert.runtime.tokenization import TextInput


def bundle_answers(
    path: Path, labels: Sequence[str], *, device: str, threads: int
) -> Iterator[tuple[str, int, TextClassifier]]:
    """Load every variant that the device runs; yield its name, its layers and its answer to a text.

    :param labels: of the benched bundle: the answers are indices of these.
    :raises UsageError: the bundle has other labels, or no variant for the device.
    :raises BundleError: it is missing or damaged.
    """
    manifest = read_manifest(path)
    if set(manifest.labels) != set(labels):
        raise UsageError(
            f"`rival_bundles`: {path} has other labels than the bundle to compare with: "
            f"{_difference(manifest.labels, labels)}. Name a bundle that was trained on the same labels."
        )
    index = [labels.index(label) for label in manifest.labels]
    for variant in variants_on(device, manifest):
        on_cpu: dict[str, Any] = {"threads": threads, "batches": False} if device == "cpu" else {}
        classifier = Classifier.load(path, device=device, variant=variant.name, **on_cpu)
        yield variant.name, manifest.layers, _answer(classifier, index)


def _difference(labels: Sequence[str], others: Sequence[str]) -> str:
    found = {"it has": set(labels) - set(others), "it lacks": set(others) - set(labels)}
    return "; ".join(f"{verb} {some_labels(names)}" for verb, names in found.items() if names)


def _answer(classifier: Classifier, index: Sequence[int]) -> TextClassifier:
    def answer(text: TextInput) -> tuple[int, float]:
        began = time.perf_counter_ns()
        row = classifier.encode([text])
        tokenization_ms = (time.perf_counter_ns() - began) / 1e6
        output = classifier.run(row.input_ids, row.attention_mask, row.token_type_ids, speed=0.0)
        return index[int(output.logits[0].argmax())], tokenization_ms

    return answer
