"""GPU variants' graphs compared with float32, on the CPU: ``python -m studies.half_precision MODEL --data F``.

Two estimates, as no CPU computes exactly as a GPU does. ``fp16`` and ``int8-qdq`` run the graphs on ONNX Runtime's CPU
provider: it rounds weights and some values, but fuses most operators in float32. ``pytorch-half`` is the PyTorch model
in half precision, which rounds after every operator: more than an engine with fused operators does. ``fastbert build``
verifies on the GPU itself.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.checkpoint import Checkpoint, load_checkpoint
from fastbert.data import read_rows
from fastbert.export import ExportOptions, export_bundle
from fastbert.export.verification.compare import Bounds
from fastbert.reference import Reference, compute_reference
from fastbert.runtime import Classifier
from fastbert.runtime.chain import ChainOutput
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.exit_rule import exit_positions
from fastbert.runtime.manifest import file_record, read_manifest

SPEEDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
VARIANTS = ("fp16", "int8-qdq")
_BATCH = 32


def compare(bundle: Path, data: Path, speeds: Sequence[float] = SPEEDS) -> dict[str, Any]:
    """Run the chain of each of `VARIANTS` and of fp32 on labelled rows, in batches of 32 sorted by length.

    :param bundle: has the variants fp32, fp16 and int8-qdq.
    :returns: variant -> its ``Cast`` nodes, and per speed the accuracy, and exit and label flips relative to fp32.
    """
    manifest = read_manifest(bundle)
    rows = read_rows(data, labels=manifest.labels, require_label=True)
    rows = sorted(rows, key=lambda row: len(row.text))
    right = np.array([manifest.labels.index(row.label or "") for row in rows])
    texts: list[Any] = [row.text_input for row in rows]
    reference = Classifier.load(bundle, variant="fp32")
    expected = {speed: _run(reference, texts, speed) for speed in speeds}
    found: dict[str, Any] = {"rows": len(rows), "data_sha256": file_record(data)["sha256"]}
    for name in VARIANTS:
        variant = next(held for held in manifest.variants if held.name == name)
        engine = onnxruntime_cuda.load(bundle, variant, provider=onnxruntime_cuda.CPU)
        classifier = Classifier._from_engine(bundle, manifest, engine)
        by_speed = {str(s): judge(expected[s], _run(classifier, texts, s), right) for s in speeds}
        found[name] = {"cast_nodes": {file: _casts(bundle / file) for file in variant.files}, "speeds": by_speed}
    return found


def pytorch_half(checkpoint: Checkpoint, exact: Checkpoint, data: Path, speeds: Sequence[float] = SPEEDS) -> Any:
    """Judge the PyTorch model in half precision in the same way.

    :param checkpoint: its model is converted to half precision.
    :param exact: the same in float32.
    """
    labels = exact.model.config.labels
    rows = read_rows(data, labels=labels, require_label=True)
    right = np.array([labels.index(row.label or "") for row in rows])
    expected = compute_reference(exact, rows)
    checkpoint.model.half()
    found = compute_reference(checkpoint, rows)
    return {"speeds": {str(s): judge(_exit_early(expected, s), _exit_early(found, s), right) for s in speeds}}


def _exit_early(reference: Reference, speed: float) -> ChainOutput:
    """Return the answers of early exit, from those of all exits."""
    exits, index = exit_positions(reference.uncertainty, speed), np.arange(len(reference.logits))
    return ChainOutput(reference.logits[index, exits], exits, reference.uncertainty[index, exits])


def _run(classifier: Classifier, texts: Sequence[Any], speed: float) -> ChainOutput:
    parts = []
    for start in range(0, len(texts), _BATCH):
        encoded = classifier.encode(texts[start : start + _BATCH])
        parts.append(
            classifier.run(encoded.input_ids, encoded.attention_mask, encoded.token_type_ids, speed=speed),
        )
    return ChainOutput(*map(np.concatenate, zip(*parts, strict=True)))


def judge(expected: ChainOutput, found: ChainOutput, right: Any) -> dict[str, Any]:
    """Return accuracies, flips and the largest logit difference at equal exits.

    :param right: int [rows], index of each row's class.
    """
    answers, theirs = found.logits.argmax(axis=1), expected.logits.argmax(axis=1)
    same_exit = found.exit_layer == expected.exit_layer
    differences = np.abs(found.logits - expected.logits)[same_exit]
    return {
        "accuracy_fp32": float((theirs == right).mean()),
        "accuracy": float((answers == right).mean()),
        "exit_flips": int((~same_exit).sum()),
        "label_flips": int((answers != theirs).sum()),
        "mean_layers_fp32": float(expected.exit_layer.mean() + 1),
        "mean_layers": float(found.exit_layer.mean() + 1),
        "largest_logit_difference": float(differences.max(initial=0.0)),
    }


def _casts(path: Path) -> int:
    return Counter(node.op_type for node in onnx.load(path).graph.node)["Cast"]


def main() -> None:
    """Export the model in fp32, fp16 and int8-qdq, compare, and print or write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.half_precision", description=__doc__.split(":")[0])
    parser.add_argument("model", help="a FastBERT checkpoint")
    parser.add_argument("--data", type=Path, required=True, help="labelled rows")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    checkpoint, second = load_checkpoint(arguments.model), load_checkpoint(arguments.model)
    with tempfile.TemporaryDirectory(prefix="fastbert-half-") as folder:
        bundle = Path(folder) / "bundle"
        names = ("fp32", *VARIANTS)
        report = export_bundle(checkpoint, bundle, ExportOptions(precisions=names, bounds=Bounds(max_label_flips=1.0)))
        found = compare(bundle, arguments.data)
    found["pytorch-half"] = pytorch_half(second, checkpoint, arguments.data)
    document = {
        "environment": describe_environment(),
        "verification_at_export": {one.variant: one.as_dict() for one in report.verifications},
        **found,
    }
    text = json.dumps(document, indent=2) + "\n"
    if arguments.output is not None:
        arguments.output.write_text(text)
    for name in (*VARIANTS, "pytorch-half"):
        for speed, figures in found[name]["speeds"].items():
            sys.stdout.write(
                f"{name:<12} speed {speed}: accuracy {100 * figures['accuracy']:.2f} % "
                f"(fp32 {100 * figures['accuracy_fp32']:.2f} %), {figures['exit_flips']} exits and "
                f"{figures['label_flips']} labels of {found['rows']} flip\n"
            )


if __name__ == "__main__":
    main()
