"""What a stage costs on a GPU, by batch: ``python -m studies.gpu_stages [BUNDLE ...] --output FILE``.

Through ONNX Runtime's CUDA provider with CUDA graphs. It times each part of the chain (embeddings, every stage, the
removal of samples, the logits) and the whole model, at fixed batches and lengths: what a scheduler of batches would be
simulated from. Without bundles, it makes two with random weights, of MiniLM's shape and of BERT-base's.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.whole_model_gpu import WholeModel, open_session, write_whole_model
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_device
from fastbert.benchmarks.timing import alternate
from fastbert.runtime.chain import Engine
from fastbert.runtime.engines import load_engine
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, require_onnxruntime
from fastbert.runtime.errors import FastBertError
from fastbert.runtime.manifest import MANIFEST, file_record, read_manifest

SCHEMA = "fastbert-gpu-stages/1"
_MODELS = ((6, 384), (12, 768))  # (layers, hidden size) of the random bundles
# the largest first: buffers that grow would lose the CUDA graphs that were captured before
_BATCHES, _SEQUENCES = (256, 128, 64, 32, 16, 8, 4, 2, 1), (128, 64, 32)
_ROUNDS = 10  # every shape is measured in each, so that the machine's drift affects all shapes alike
_WARM_UP = 3  # turns of a shape in a round; the first ones capture the CUDA graphs
_TIMED = {
    "whole_model_ms": "ids on the host to logits on the host, copies included",
    "chain_ms": "the same with every stage, without the removal of samples",
    "embeddings_ms": "ids on the host to hidden states on the device",
    "stage_ms": "each stage in order, until its uncertainties are on the host",
    "compaction_ms": "gather as many samples as the batch has, on the device",
    "logits_ms": "copy the logits to the host",
}


def measure(bundle: Path, *, runs: int = 100) -> dict[str, Any]:
    """Time the parts of the chain and the whole model at each batch and length, alternating.

    :param runs: of each, at each shape, rounded up to whole rounds; the medians are reported.
    :returns: the model, ``runs`` as they were, and ``shapes``: for each a dictionary of ``batch``, ``sequence`` and the
        times named in the report's ``timed``; ``stage_ms`` has one for each stage.
    :raises EngineError: the device or its packages are missing.
    :raises UsageError: the bundle has no variant for it.
    """
    manifest = read_manifest(bundle)
    variant = manifest.variant_for("cuda")
    runs_of_a_round = math.ceil(runs / _ROUNDS)
    with tempfile.TemporaryDirectory(prefix="fastbert-whole-") as folder:
        graph = write_whole_model(bundle, variant, Path(folder))
        whole = WholeModel(open_session(graph, manifest, cuda_graphs=True), cuda_graphs=True)
        chain = load_engine("cuda", bundle, variant, cuda_graphs=True)
        inputs = {
            (batch, sequence): _rows(batch, sequence, manifest.vocab_size)
            for sequence in _SEQUENCES
            if sequence <= manifest.max_positions
            for batch in _BATCHES
        }
        measured: dict[tuple[int, int], list[list[float]]] = {shape: [] for shape in inputs}
        for _ in range(_ROUNDS):
            for shape, arrays in inputs.items():
                measured[shape] += _run_both(chain, whole, arrays, runs_of_a_round)
    return {
        "layers": manifest.layers,
        "hidden_size": manifest.hidden_size,
        "exits": list(manifest.exits),
        "variant": variant.name,
        "bundle_sha256": file_record(bundle / MANIFEST)["sha256"],
        "runs": runs_of_a_round * _ROUNDS,
        "shapes": [
            {"batch": batch, "sequence": sequence, **_summary(np.array(times))}
            for (batch, sequence), times in measured.items()
        ],
    }


def _rows(batch: int, sequence: int, vocabulary: int) -> tuple[NDArray[np.int64], ...]:
    """Return random ids, mask and types without padding: int64 [batch, sequence] each."""
    ids = np.random.default_rng(0).integers(3, vocabulary, (batch, sequence))
    return ids, np.ones_like(ids), np.zeros_like(ids)


def _run_both(chain: Engine, whole: WholeModel, arrays: Sequence[Any], runs: int) -> list[list[float]]:
    """Run both in turns; return the milliseconds of each turn: the whole model, then `_parts_ms`."""
    systems: dict[str, Callable[[int], Any]] = {
        "chain": lambda _: _parts_ms(chain, arrays),
        "whole": lambda _: whole.run(*arrays),
    }
    turns = list(alternate(systems, range(_WARM_UP + runs), block=1, rest=False))[_WARM_UP:]
    return [[turn.times_ms["whole"][0], *turn.results["chain"][0]] for turn in turns]


def _summary(times: NDArray[np.float64]) -> dict[str, Any]:
    """Return the medians over the turns: [turns, parts] -> name -> milliseconds."""
    whole, embeddings, *stages, logits, compaction = np.median(times, axis=0).tolist()
    return {
        "whole_model_ms": whole,
        "chain_ms": float(np.median(times[:, 1:-1].sum(axis=1))),
        "embeddings_ms": embeddings,
        "stage_ms": stages,
        "compaction_ms": compaction,
        "logits_ms": logits,
    }


def _parts_ms(chain: Engine, arrays: Sequence[Any]) -> list[float]:
    """Run every part once; return its milliseconds: the embeddings, each stage, the logits, the removal."""
    rows, sequence = arrays[0].shape
    clock = [time.perf_counter_ns()]
    state = chain.start(*arrays)  # waits, as every run of a session does
    clock.append(time.perf_counter_ns())
    for stage in range(chain.stages):
        state, _ = chain.run_stage(stage, state)
        clock.append(time.perf_counter_ns())
    chain.logits(state)
    clock.append(time.perf_counter_ns())
    chain.keep(state, np.arange(rows)[::-1], sequence)
    clock.append(time.perf_counter_ns())
    return [float(nanoseconds) / 1e6 for nanoseconds in np.diff(clock)]


def main() -> None:
    """Measure, print the times of each shape, and write the report; exit 1 if the device is missing."""
    parser = argparse.ArgumentParser(prog="python -m studies.gpu_stages", description=__doc__.split(":")[0])
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="bundles with a variant for cuda")
    parser.add_argument("--runs", type=int, default=100, help="of each part, at each shape")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    try:
        document = _document(arguments.bundles, arguments.runs)
    except FastBertError as error:
        sys.exit(f"Error: {error}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    for model in document["models"]:
        print(f"{model['layers']} layers of {model['hidden_size']}, milliseconds")
        print("tokens  batch  embeddings   stage  compaction  every stage  whole model")
        for shape in model["shapes"]:
            print(
                f"{shape['sequence']:6}  {shape['batch']:5}  {shape['embeddings_ms']:10.3f}  "
                f"{statistics.fmean(shape['stage_ms']):6.3f}  {shape['compaction_ms']:10.3f}  "
                f"{shape['chain_ms']:11.3f}  {shape['whole_model_ms']:11.3f}"
            )


def _document(bundles: Sequence[Path], runs: int) -> dict[str, Any]:
    require_onnxruntime(CUDA)  # before long work
    open_gpu("gpu")
    with tempfile.TemporaryDirectory(prefix="fastbert-gpu-") as folder:
        if not bundles:
            from studies.random_bundle import make_bundle

            for layers, hidden in _MODELS:
                directory = Path(folder) / f"{layers}x{hidden}"
                directory.mkdir()
                make_bundle(layers, hidden, str(directory), precisions=("fp32", "fp16"))
                bundles = [*bundles, directory / "bundle"]
        models = [measure(bundle, runs=runs) for bundle in bundles]
    return {
        "schema": SCHEMA,
        "timed": {"medians_of": "wall-clock time, chain and whole model alternating, CUDA graphs for both", **_TIMED},
        "models": models,
        "gpu": describe_device(),
        "environment": describe_environment(),
    }


if __name__ == "__main__":
    main()
