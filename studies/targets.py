"""What the project promises, measured: ``python -m studies.targets [NAME] [--report FILE] [--json]``.

One line a target: its name, the figure, the bar, and whether it holds. Most models here have random weights; times are
compared as medians of runs that alternate in one process, with equal threads; each has a process of its own. What
needs a trained model is read from a report of ``fastbert bench`` (`studies.report_targets`).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime.hardware import int8_products_saturate
from studies.report_targets import report_targets
from studies.target import Target, TargetResult

__all__ = ["TARGETS", "Bundles", "Target", "TargetResult", "in_child", "make_bundle", "measure", "whole_session"]


def in_child(function: str, *arguments: Any, module: str = "targets") -> str:
    """Call a function of a module of this folder in a fresh interpreter and return what it returned, as text.

    :raises RuntimeError: it failed.
    """
    code = f"from studies import {module}; print({module}.{function}(*{arguments!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed:\n{done.stderr}")
    return done.stdout.strip().split("\n")[-1]


def int8_here() -> str:
    """Return the int8 variant that is for this processor."""
    return "int8-reduced" if int8_products_saturate() else "int8"


def make_bundle(
    layers: int, hidden: int, directory: str, precisions: Sequence[str] = ("fp32",), exit_size: int = 128
) -> int:
    """Write a bundle of a BERT of random weights, and the whole model as one graph beside it; return its bytes."""
    from tokenizers import Tokenizer, models
    from transformers import BertConfig, PreTrainedTokenizerFast

    from fastbert.benchmarks.baselines.whole_model import join_stages
    from fastbert.checkpoint import Checkpoint
    from fastbert.configuration import ExitHeadConfig, FastBertConfig
    from fastbert.data.rows import Row
    from fastbert.export import Bounds, ExportOptions, export_bundle
    from fastbert.modeling import FastBertForSequenceClassification
    from fastbert.runtime.manifest import read_manifest

    backbone = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=12, intermediate_size=4 * hidden
    )
    head = ExitHeadConfig(size=exit_size)
    config = FastBertConfig(
        backbone, exit_head=head, distilled=True, id2label={0: "0", 1: "1"}, label2id={"0": 0, "1": 1}
    )
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    checkpoint = Checkpoint(FastBertForSequenceClassification(config), fast)
    bounds = Bounds(max_label_flips=1.0)  # random weights are certain of no label, so int8 may well turn the one row's
    options = ExportOptions(precisions=precisions, verify_data=[Row("a")], bounds=bounds)
    export_bundle(checkpoint, Path(directory) / "bundle", options)
    variant = read_manifest(Path(directory) / "bundle").variant_for("cpu")
    whole = join_stages(Path(directory) / "bundle", variant).SerializeToString()
    return (Path(directory) / "whole.onnx").write_bytes(whole)


def chain_overhead(
    directory: str,
    tokens: int,
    threads: int,
    runs: int,
    precision: str = "fp32",
    whole_first: bool = False,
) -> float:
    """Return chain time / whole-model time at batch 1, every exit evaluated: medians over alternating runs.

    Before each timed run an untimed one: neither pays for the other's having emptied the caches. The whole model in
    float32 runs with the chain's own settings, which are faster than ONNX Runtime's; in int8 it is what users would
    make, ``quantize_dynamic`` with ONNX Runtime's defaults (whose products saturate on a processor without VNNI).

    :param precision: ``"fp32"`` or ``"int8"``: `int8_here`.
    :param whole_first: load the whole model before the chain; what is loaded last is some 2 % faster.
    """
    from fastbert.runtime import Classifier

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
    """Return how long this fresh process takes to load the chain or the whole model, ONNX Runtime imported before."""
    import onnxruntime  # noqa: F401

    from fastbert.runtime import Classifier

    began = time.perf_counter()
    if system == "chain":
        Classifier.load(Path(directory) / "bundle", variant="fp32", threads=1)
    else:
        whole_session(directory, 1)
    return time.perf_counter() - began


def file_memory(directory: str, rows: int) -> float:
    """Return resident memory at the end of ``rows`` texts of 1 to 60 words / that after the first 50,000."""
    from fastbert.runtime import Classifier

    classifier = Classifier.load(Path(directory) / "bundle", threads=1, batches=True)
    lengths = np.random.default_rng(0).integers(1, 60, rows)
    early = 0
    for number, _ in enumerate(classifier.predict_iter(("a " * int(n) for n in lengths), speed=0.5, workers=2)):
        if number == 50_000:
            early = _resident()
    return _resident() / early


def resident_bytes(directory: str, system: str) -> int:
    """Return the resident memory of a process that loaded the chain or the whole model and ran it once."""
    ids = np.full((1, 64), 5)
    if system == "chain":
        from fastbert.runtime import Classifier

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


def whole_session(directory: str, threads: int, precision: str = "fp32", *, shared: bool = False) -> Any:
    """Return the whole model in one session with ONNX Runtime's defaults.

    :param precision: ``"fp32"``: without the fusion that slows it down. ``"int8"``: what users would make,
        ``quantize_dynamic``.
    :param shared: use the process's global pool instead of ``threads`` of its own.
    """
    import onnxruntime

    from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS

    options = onnxruntime.SessionOptions()
    if shared:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads
    whole, quantized = Path(directory) / "whole.onnx", Path(directory) / "whole-int8.onnx"
    if precision == "int8" and not quantized.exists():
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(whole, quantized)
    return onnxruntime.InferenceSession(
        quantized if precision == "int8" else whole,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=() if precision == "int8" else DISABLED_OPTIMIZERS,
    )


class Bundles:
    """Bundles of random weights, fp32 and `int8_here`, made when first asked for and gone with this object."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fastbert-targets-")

    def get(self, layers: int, hidden: int, exit_size: int = 128) -> str:
        """Return the directory that `make_bundle` wrote into."""
        directory = Path(self._folder.name) / f"{layers}x{hidden}-{exit_size}"
        if not directory.exists():
            directory.mkdir()
            in_child("make_bundle", layers, hidden, str(directory), ("fp32", int8_here()), exit_size)
        return str(directory)


_bundles = Bundles()


def _overhead(layers: int, hidden: int, tokens: int, threads: int, precision: str, exit_size: int = 128) -> float:
    """Return the median of four processes; in two the chain is loaded first, in two the whole model."""
    directory, runs = _bundles.get(layers, hidden, exit_size), 40 if hidden > 384 else 120
    arguments = (directory, tokens, threads, runs, precision)
    return statistics.median(float(in_child("chain_overhead", *arguments, order)) for order in (False, True) * 2)


def _file_memory(rows: int) -> float:
    return float(in_child("file_memory", _bundles.get(1, 48), rows))


def _ratio(function: str, layers: int, hidden: int, runs: int) -> float:
    """Return chain / whole model of what a function gives in fresh processes, medians over runs that alternate."""
    found: dict[str, list[float]] = {"chain": [], "whole": []}
    for _ in range(runs):
        for system, values in found.items():
            values.append(float(in_child(function, _bundles.get(layers, hidden), system)))
    return statistics.median(found["chain"]) / statistics.median(found["whole"])


def _chain_targets() -> list[Target]:
    shapes = [(12, 768, tokens, threads, 1.03) for tokens in (64, 128) for threads in (1, 2)]
    found = []
    for layers, hidden, tokens, threads, bar in [*shapes, (6, 384, 64, 1, 1.05), (6, 384, 64, 2, 1.05)]:
        shape = f"{layers}x{hidden}-{tokens}-tokens-{threads}-thread{'s' if threads > 1 else ''}"
        measure = partial(_overhead, layers, hidden, tokens, threads)
        kinds = [("fp32", bar, "chain / whole model")]
        if layers == 12:
            kinds.append(("int8", 1.0, "chain / whole model, quantize_dynamic"))
        for precision, limit, unit in kinds:
            found.append(Target(f"{precision}-{shape}", limit, unit, partial(measure, precision)))
        if layers == 6 and threads == 1:
            unit = "chain / whole model, --exit-size 64"
            found.append(Target(f"fp32-{shape}-exit-size-64", bar, unit, partial(measure, "fp32", exit_size=64)))
    return found


TARGETS = (
    *_chain_targets(),
    Target("load-12x768", 1.0, "s, chain / whole model", partial(_ratio, "load_seconds", 12, 768, 3)),
    Target("memory-12x768", 1.0, "resident, chain / whole model", partial(_ratio, "resident_bytes", 12, 768, 3)),
    Target("memory-1000000-lines", 1.05, "resident at the end / after 50,000", partial(_file_memory, 1_000_000)),
    Target("import-runtime", 0.5, "s", import_seconds),
)


def measure(target: Target) -> TargetResult:
    """Measure one target."""
    figure = target.measure()
    holds = figure >= target.bar if target.at_least else figure <= target.bar
    return TargetResult(target.name, figure, target.bar, target.unit, holds, target.at_least)


def main() -> None:
    """Measure the targets named, or all, and print a line for each; exit 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m studies.targets", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(target.name for target in TARGETS))
    parser.add_argument(
        "--report", type=Path, action="append", default=[], help="also judge a report.json of fastbert bench"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    known = [*TARGETS, *(target for path in arguments.report for target in report_targets(path))]
    unknown = set(arguments.names) - {target.name for target in known}
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}; known are {', '.join(t.name for t in known)}")
    results = []
    for target in known:
        if not arguments.names or target.name in arguments.names:
            results.append(measure(target))
            if not arguments.json:
                found = results[-1]
                verdict = "holds" if found.holds else "DOES NOT HOLD"
                bar = f"{'>=' if found.at_least else '<='} {found.bar:.2f}"
                sys.stdout.write(f"{found.name:<40} {found.figure:7.3f}  {bar}  {verdict}  ({found.unit})\n")
                sys.stdout.flush()
    if arguments.json:
        document = {"environment": describe_environment(), "targets": [asdict(result) for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(result.holds for result in results) else 1)


if __name__ == "__main__":
    main()
