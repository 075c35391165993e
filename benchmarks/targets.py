"""What the project promises, measured: ``python -m fastbert.benchmarks.targets [NAME] [--json]``.

One line a target: its name, the figure, the bar, and whether it holds. The models have random weights; times are
compared as medians of runs that alternate in one process, with equal threads; each has a process of its own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.environment import describe_environment

__all__ = ["TARGETS", "Target", "TargetResult", "in_child", "make_bundle", "measure"]


@dataclass(frozen=True)
class Target:
    """One promise: the figure that ``measure`` gives is at most ``bar``."""

    name: str
    bar: float
    unit: str
    measure: Callable[[], float]


@dataclass(frozen=True)
class TargetResult:
    """A target, measured."""

    name: str
    figure: float
    bar: float
    unit: str
    holds: bool


def in_child(function: str, *arguments: Any, module: str = "targets") -> str:
    """Call a function of a module of this folder in a fresh interpreter and return what it returned, as text.

    :raises RuntimeError: it failed.
    """
    code = f"from fastbert.benchmarks import {module}; print({module}.{function}(*{arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed:\n{done.stderr}")
    return done.stdout.strip().split("\n")[-1]


def make_bundle(layers: int, hidden: int, directory: str, precisions: Sequence[str] = ("fp32",)) -> int:
    """Write a bundle of a BERT of random weights, and the whole model as one graph beside it; return its bytes."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, PreTrainedTokenizerFast

    from fastbert.benchmarks.whole_model import join_stages
    from fastbert.checkpoint import Checkpoint
    from fastbert.configuration import FastBertConfig
    from fastbert.export.bundle import export_checkpoint
    from fastbert.modeling import FastBertForSequenceClassification
    from fastbert.rows import Row
    from fastbert.runtime.manifest import read_manifest

    backbone = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=4 * hidden
    )
    config = FastBertConfig(backbone, distilled=True, id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1})
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    checkpoint = Checkpoint(FastBertForSequenceClassification(config), fast)
    export_checkpoint(checkpoint, Path(directory) / "bundle", rows=[Row("a")], precisions=precisions)
    variant = read_manifest(Path(directory) / "bundle").variant_for("cpu")
    whole = join_stages(Path(directory) / "bundle", variant).SerializeToString()
    return (Path(directory) / "whole.onnx").write_bytes(whole)


def chain_overhead(directory: str, tokens: int, threads: int, runs: int) -> float:
    """Return chain time / whole-model time at batch 1, every exit evaluated: medians over alternating runs."""
    from fastbert.runtime import Classifier

    classifier = Classifier.load(Path(directory) / "bundle", threads=threads)
    session = _whole_session(directory, threads)
    ids = np.random.default_rng(0).integers(3, classifier.manifest.vocab_size, (1, tokens))
    mask, types = np.ones_like(ids), np.zeros_like(ids)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
    systems = {"chain": lambda: classifier.run(ids, mask, types, speed=0.0), "whole": lambda: session.run(None, feeds)}
    times: dict[str, list[float]] = {name: [] for name in systems}
    for turn in range(runs + 3):
        for name, system in systems.items():
            if threads > 1:
                time.sleep(0.06)  # longer than a pool's idle threads spin
                system()
            began = time.perf_counter()
            system()
            if turn >= 3:
                times[name].append(time.perf_counter() - began)
    return statistics.median(times["chain"]) / statistics.median(times["whole"])


def resident_bytes(directory: str, system: str) -> int:
    """Return the resident memory of a process that loaded the chain or the whole model and ran it once."""
    ids = np.full((1, 64), 5)
    if system == "chain":
        from fastbert.runtime import Classifier

        kept: Any = Classifier.load(Path(directory) / "bundle", threads=1)
        kept.run(ids, speed=0.0)
    else:
        kept = _whole_session(directory, 1)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        kept.run(None, feeds)
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


def _whole_session(directory: str, threads: int) -> Any:
    """Return the whole model in one session with ONNX Runtime's defaults, but without the fusion that slows it down."""
    import onnxruntime

    from fastbert.runtime.engines.onnxruntime import DISABLED_OPTIMIZERS

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        Path(directory) / "whole.onnx",
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=DISABLED_OPTIMIZERS,
    )


class _Bundles:
    """Bundles of random weights, made when first asked for."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fastbert-targets-")
        self._made: dict[tuple[int, int], str] = {}

    def get(self, layers: int, hidden: int) -> str:
        if (layers, hidden) not in self._made:
            directory = Path(self._folder.name) / f"{layers}x{hidden}"
            directory.mkdir()
            in_child("make_bundle", layers, hidden, str(directory))
            self._made[layers, hidden] = str(directory)
        return self._made[layers, hidden]


_bundles = _Bundles()


def _overhead(layers: int, hidden: int, tokens: int, threads: int) -> float:
    return float(in_child("chain_overhead", _bundles.get(layers, hidden), tokens, threads, 40))


def _memory(layers: int, hidden: int) -> float:
    directory = _bundles.get(layers, hidden)
    return int(in_child("resident_bytes", directory, "chain")) / int(in_child("resident_bytes", directory, "whole"))


TARGETS = (
    Target("chain-12x768-64-tokens-1-thread", 1.15, "chain / whole model", lambda: _overhead(12, 768, 64, 1)),
    Target("chain-12x768-64-tokens-2-threads", 1.2, "chain / whole model", lambda: _overhead(12, 768, 64, 2)),
    Target("memory-12x768", 1.15, "resident, chain / whole model", lambda: _memory(12, 768)),
    Target("import-runtime", 0.5, "s", import_seconds),
)


def measure(target: Target) -> TargetResult:
    """Measure one target."""
    figure = target.measure()
    return TargetResult(target.name, figure, target.bar, target.unit, figure <= target.bar)


def main() -> None:
    """Measure the targets named, or all, and print a line for each; exit 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m fastbert.benchmarks.targets", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(target.name for target in TARGETS))
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - {target.name for target in TARGETS}
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}; known are {', '.join(t.name for t in TARGETS)}")
    results = []
    for target in TARGETS:
        if not arguments.names or target.name in arguments.names:
            results.append(measure(target))
            if not arguments.json:
                found = results[-1]
                verdict = "holds" if found.holds else "DOES NOT HOLD"
                line = f"{found.name:<36} {found.figure:7.3f}  bar {found.bar:.2f}  {verdict}  ({found.unit})"
                sys.stdout.write(line + "\n")
                sys.stdout.flush()
    if arguments.json:
        document = {"environment": describe_environment(), "targets": [asdict(result) for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(result.holds for result in results) else 1)


if __name__ == "__main__":
    main()
