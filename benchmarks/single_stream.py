"""``fastbert bench``: latency of one request after the other, at batch 1, on real rows."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score

from fastbert.benchmarks.clock import alternate
from fastbert.benchmarks.environment import describe_environment
from fastbert.benchmarks.statistics import LatencyStatistics, summarize
from fastbert.data import read_rows
from fastbert.runtime import Classifier
from fastbert.runtime.engines.onnxruntime import DISABLED_OPTIMIZERS, session_options
from fastbert.runtime.errors import MissingDependencyError, UsageError
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.manifest import MANIFEST, file_record
from fastbert.runtime.threads import usable_cores

__all__ = ["BASELINES", "BenchReport", "SystemResult", "run_single_stream"]

BASELINES = ("onnxruntime", "pytorch")
SCHEMA = "fastbert-bench/1"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SystemResult:
    """One way of answering: the chain at one speed, or a baseline.

    :param speed: the chain's; None: a baseline, which has no exits.
    :param accuracy: share of right labels among the timed rows; None: the file has no labels.
    :param mean_layers: layers run, averaged over the timed rows.
    :param layer_speedup: layers of the model / mean_layers.
    :param times_faster: baseline's name -> its mean latency / this one's.
    """

    name: str
    speed: float | None
    latency: LatencyStatistics
    accuracy: float | None
    mean_layers: float
    layer_speedup: float
    times_faster: dict[str, float]


@dataclass(frozen=True)
class BenchReport:
    """What was measured, and how."""

    systems: tuple[SystemResult, ...]
    rows: int
    threads: int
    tokenization_p50_ms: float | None
    mean_tokens: float
    load_s: float
    seed: int
    bundle_sha256: str
    environment: dict[str, Any]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON; units are in the keys."""
        return {
            "schema": SCHEMA,
            "scenario": "single-stream",
            "timed": "one call at batch 1 from token ids to logits; tokenization is not in it, see tokenization_p50_ms",
            **asdict(self),
        }


def run_single_stream(
    bundle: Path,
    data: Path,
    *,
    speeds: Sequence[float],
    checkpoint: Path | None = None,
    baselines: Sequence[str] = ("onnxruntime",),
    threads: int | None = None,
    max_rows: int | None = 1000,
    seed: int = 42,
) -> BenchReport:
    """Time the chain at each speed and the baselines, alternating in one process, with equal threads.

    :param data: rows to time on, drawn in a seeded order; with labels, accuracy is reported too.
    :param checkpoint: needed by the baseline ``pytorch``.
    :param baselines: of `BASELINES`.
    :param threads: for every system alike; None: the cores that this process may use.
    :param max_rows: time at most this many rows.
    :raises UsageError: unknown baseline, or ``pytorch`` without a checkpoint.
    """
    threads = threads or usable_cores()
    unknown = [name for name in baselines if name not in BASELINES]
    if unknown:
        raise UsageError(f"The baseline {unknown[0]!r} is unknown; use {', '.join(BASELINES)}.")
    if "pytorch" in baselines and checkpoint is None:
        raise UsageError(
            "The baseline pytorch needs the checkpoint that the bundle was exported from: --checkpoint DIR"
        )
    rules = [ExitRule(speed) for speed in speeds]
    began = time.perf_counter()
    classifier = Classifier.load(bundle, threads=threads)
    load_s = time.perf_counter() - began
    rows = read_rows(data, labels=classifier.labels)
    rows = random.Random(seed).sample(rows, min(len(rows), max_rows or len(rows)))
    texts = [row.text if row.text_pair is None else (row.text, row.text_pair) for row in rows]
    tokenization = []
    inputs = []
    for text in texts:
        began = time.perf_counter()
        encoded = classifier.encode([text])
        tokenization.append((time.perf_counter() - began) * 1e3)
        inputs.append((encoded.input_ids, encoded.attention_mask, encoded.token_type_ids))

    def chain(speed: float) -> Callable[[int], tuple[int, int]]:
        def run(index: int) -> tuple[int, int]:
            output = classifier.run(*inputs[index], speed=speed)
            return int(output.logits[0].argmax()), int(output.exit_layer[0]) + 1

        return run

    layers = classifier.manifest.layers
    systems: dict[str, Callable[[int], tuple[int, int]]] = {
        f"speed {rule.speed:g}": chain(rule.speed) for rule in rules
    }
    if "onnxruntime" in baselines:
        systems["onnxruntime"] = _whole_onnx(bundle, classifier, inputs, threads)
    if checkpoint is not None and "pytorch" in baselines:
        systems["pytorch"] = _whole_pytorch(checkpoint, inputs, threads)
    _log.info("%d rows, %d threads, %s", len(rows), threads, ", ".join(systems))
    latencies, results = alternate(systems, range(len(rows)), rest=threads > 1)
    labelled = rows[0].label is not None
    labels = [classifier.labels.index(row.label or "") for row in rows] if labelled else []
    measured = []
    for name in systems:
        mean_layers = float(np.mean([run_layers for _, run_layers in results[name]]))
        measured.append(
            SystemResult(
                name=name,
                speed=float(name.removeprefix("speed ")) if name.startswith("speed ") else None,
                latency=summarize(latencies[name]),
                accuracy=float(accuracy_score(labels, [label for label, _ in results[name]])) if labelled else None,
                mean_layers=mean_layers,
                layer_speedup=layers / mean_layers,
                times_faster={
                    base: float(latencies[base].mean() / latencies[name].mean()) for base in baselines if base != name
                },
            )
        )
    return BenchReport(
        systems=tuple(measured),
        rows=len(rows),
        threads=threads,
        tokenization_p50_ms=summarize(tokenization).p50_ms,
        mean_tokens=float(np.mean([ids.shape[1] for ids, _, _ in inputs])),
        load_s=load_s,
        seed=seed,
        bundle_sha256=file_record(bundle / MANIFEST)["sha256"],
        environment=describe_environment(),
        notes=_notes(measured),
    )


def _whole_onnx(bundle: Path, classifier: Classifier, inputs: Sequence[Any], threads: int) -> Callable[[int], Any]:
    """Return the whole model without exits in one session, with the chain's options."""
    try:
        from fastbert.benchmarks.whole_model import join_stages
    except ImportError as error:
        raise MissingDependencyError("onnx", "bench") from error
    import onnxruntime as ort

    model = join_stages(bundle, classifier.manifest.variant_for("cpu"))
    options = session_options(ort, threads=threads)
    session = ort.InferenceSession(
        model.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=DISABLED_OPTIMIZERS,  # as the chain: the faster way for the whole model too
    )
    layers, names = classifier.manifest.layers, [value.name for value in session.get_inputs()]

    def run(index: int) -> tuple[int, int]:
        given = dict(zip(("input_ids", "attention_mask", "token_type_ids"), inputs[index], strict=True))
        logits = session.run(None, {name: given[name] for name in names})[0]
        return int(logits[0].argmax()), layers

    return run


def _whole_pytorch(checkpoint: Path, inputs: Sequence[Any], threads: int) -> Callable[[int], Any]:
    """Return the whole model without exits in PyTorch."""
    try:
        import torch

        from fastbert.checkpoint import load_checkpoint
    except ImportError as error:
        raise MissingDependencyError("torch", "train") from error
    torch.set_num_threads(threads)
    model = load_checkpoint(checkpoint).model
    last = model.config.num_exits - 1
    tensors = [tuple(torch.from_numpy(array) for array in arrays) for arrays in inputs]

    @torch.inference_mode()
    def run(index: int) -> tuple[int, int]:
        return int(model(*tensors[index], exits=[last]).logits[0].argmax()), last + 1

    return run


def _notes(systems: Sequence[SystemResult]) -> tuple[str, ...]:
    notes = []
    latency = systems[0].latency
    missing = [name for name in ("p50", "p90", "p95", "p99") if getattr(latency, f"{name}_ms") is None]
    if missing:
        notes.append(f"{latency.n} rows are too few for {', '.join(missing)}: not given.")
    return tuple(notes)
