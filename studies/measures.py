"""Figures of one process, for `studies.targets`: the chain and the whole model, of random weights."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime import Classifier
from studies.random_bundle import int8_here, whole_session

_EARLY_ROWS = 50_000


def chain_overhead(
    directory: str,
    tokens: int,
    threads: int,
    runs: int,
    precision: str = "fp32",
    whole_first: bool = False,
) -> float:
    """Return chain time / whole-model time at batch 1, every exit evaluated: medians over alternating runs.

    An untimed run precedes each timed one, so that neither pays for caches that the other filled. The whole model in
    float32 runs with the chain's settings, which are faster than ONNX Runtime's; in int8 it is what users would make:
    ``quantize_dynamic`` with ONNX Runtime's defaults (whose products saturate on a processor without VNNI).

    :param precision: ``"fp32"``, or ``"int8"`` for `int8_here`.
    :param whole_first: load the whole model before the chain. The order matters: docs/performance.md#order-of-loading.
    """
    bundle = Path(directory) / "bundle"
    variant = int8_here() if precision == "int8" else precision
    loaders: dict[str, Callable[[], Any]] = {
        "chain": lambda: Classifier.load(bundle, variant=variant, threads=threads),
        "whole": lambda: whole_session(directory, threads, precision),
    }
    loaded = {name: loaders[name]() for name in sorted(loaders, reverse=whole_first)}
    classifier, session = loaded["chain"], loaded["whole"]
    ids = np.random.default_rng(0).integers(3, classifier.manifest.vocab_size, (1, tokens))
    mask, types = np.ones_like(ids), np.zeros_like(ids)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    medians = alternating_medians(
        {"chain": lambda: classifier.run(ids, mask, types, speed=0.0), "whole": lambda: session.run(None, feeds)},
        runs,
        rest=threads > 1,
    )
    return medians["chain"] / medians["whole"]


def load_seconds(directory: str, system: str) -> float:
    """Return how long this process takes to load ``"chain"`` or ``"whole"``, imports not included."""
    import onnxruntime  # noqa: F401

    began = time.perf_counter()
    if system == "chain":
        Classifier.load(Path(directory) / "bundle", variant="fp32", threads=1)
    else:
        whole_session(directory, 1)
    return time.perf_counter() - began


def file_memory(directory: str, rows: int) -> float:
    """Return resident memory after ``rows`` texts of 1 to 60 words / after the first `_EARLY_ROWS`."""
    classifier = Classifier.load(Path(directory) / "bundle", threads=1, batches=True)
    lengths = np.random.default_rng(0).integers(1, 60, rows)
    early = 0
    for number, _ in enumerate(classifier.predict_iter(("a " * int(n) for n in lengths), speed=0.5, workers=2)):
        if number == _EARLY_ROWS:
            early = _resident()
    return _resident() / early


def resident_bytes(directory: str, system: str) -> int:
    """Return this process's resident memory after it loaded ``"chain"`` or ``"whole"`` and ran it once."""
    ids = np.full((1, 64), 5)
    if system == "chain":
        kept: Any = Classifier.load(Path(directory) / "bundle", threads=1)
        kept.run(ids, speed=0.0)
    else:
        kept = whole_session(directory, 1)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        kept.run(None, feeds)
    return _resident()


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.split("\n") if line.startswith("VmRSS")).split()[1]) * 1024


def import_seconds() -> float:
    """Return how long a fresh interpreter takes to start and ``import fastbert.runtime``: the best of 5."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import fastbert.runtime"], check=True)
        times.append(time.perf_counter() - began)
    return min(times)
