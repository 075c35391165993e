"""What early exit costs and saves on a GPU: ``python -m studies.depths [BUNDLE] [--device cuda]``.

On a GPU, times depend on how many layers run and not on the texts. So each depth is timed separately and compared with
the same model in one engine without exits. That gives the break-even: the mean number of layers below which the chain
is faster. Without a bundle, it makes and builds one of BERT-base's shape with random weights.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.baselines.whole_model_gpu import (
    WholeModel,
    build_whole_model,
    open_engine,
    open_session,
    write_whole_model,
)
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_device
from fastbert.benchmarks.timing import alternating_medians
from fastbert.export.tensorrt.build import BuildOptions, build
from fastbert.export.verification.compare import Bounds
from fastbert.runtime.engines import load_engine
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.device_chain import DeviceChain
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, require_onnxruntime
from fastbert.runtime.engines.gpu.tensorrt.libraries import LIBRARIES
from fastbert.runtime.errors import FastBertError
from fastbert.runtime.manifest import MANIFEST, Manifest, Variant, file_record, read_manifest

_Wholes = Mapping[str, WholeModel]
# shapes (batch, sequence) to measure, and the ways to run the whole model
_Opened = tuple[list[tuple[int, int]], _Wholes]

SCHEMA = "fastbert-gpu/2"
_BATCHES, _SEQUENCES = (1, 8, 32), (64, 128)
_EVERY_EXIT = "every exit"
_SETTLE_S = {"tensorrt-rtx": 5.0}  # it compiles kernels of a new shape in the background, and runs others until then
_SETTINGS: dict[str, dict[str, Any]] = {
    _EVERY_EXIT: {},
    "every exit, CUDA graphs": {"cuda_graphs": True},
}


def fit_break_even(depth_ms: Sequence[tuple[int, float]], whole_ms: float) -> dict[str, float]:
    """Fit ``ms = fixed + layers * per_layer`` and find where it reaches the whole model's time.

    :param depth_ms: (layers run, ms), at least two depths.
    :returns: ``per_layer_ms``, ``fixed_ms`` and ``break_even_layers``: at a lower mean depth the chain is faster; 0 or
        less: it never is.
    """
    layers, times = (np.array(column, dtype=float) for column in zip(*depth_ms, strict=True))
    slope, fixed = np.polyfit(layers, times, 1)
    return {
        "per_layer_ms": float(slope),
        "fixed_ms": float(fixed),
        "break_even_layers": float((whole_ms - fixed) / slope),
    }


def measure(bundle: Path, *, device: str = "tensorrt", variant: str | None = None, runs: int = 200) -> dict[str, Any]:
    """Time every depth of the chain and the whole model at each shape, alternating.

    At batch 1, it also times the engine that runs a single row in one call, where the variant has one.

    The shapes are the largest batch of each TensorRT profile; ONNX Runtime takes any shape, so batches of 1, 8 and 32
    with 64 and 128 tokens.

    :param device: ``"tensorrt"``, ``"tensorrt-rtx"`` or ``"cuda"``.
    :param variant: None: the first for the device.
    :raises EngineError: the device or its packages are missing.
    :raises UsageError: the bundle has no such variant.
    """
    manifest = read_manifest(bundle)
    chosen = manifest.variant_for(device, variant)
    with tempfile.TemporaryDirectory(prefix="fastbert-whole-") as folder:
        shapes, wholes = _OPENED[device](bundle, manifest, chosen, Path(folder))
        chains = {name: load_engine(device, bundle, chosen, **settings) for name, settings in _SETTINGS.items()}
        measured = [
            _measure_shape(*shape, manifest, wholes, chains, runs, settle_s=_SETTLE_S.get(device, 0.0))
            for shape in shapes
            if shape[1] <= manifest.max_positions
        ]
    return {
        "schema": SCHEMA,
        "timed": "ids on the host to logits on the host, copies included, tokenization not; medians, alternating",
        "device": device,
        "variant": chosen.name,
        "runs": runs,
        "model": {
            "layers": manifest.layers,
            "hidden_size": manifest.hidden_size,
            "exits": list(manifest.exits),
            "bundle_sha256": file_record(bundle / MANIFEST)["sha256"],
        },
        "shapes": measured,
        "gpu": describe_device(),
    }


def _measure_shape(
    batch: int,
    sequence: int,
    manifest: Manifest,
    wholes: _Wholes,
    chains: Mapping[str, Any],
    runs: int,
    *,
    settle_s: float,
) -> dict[str, Any]:
    ids = np.random.default_rng(0).integers(3, manifest.vocab_size, (batch, sequence))
    arrays = (ids, np.ones_like(ids), np.zeros_like(ids))
    row = chains[_EVERY_EXIT].run_row if batch == 1 else None
    systems: dict[str, Callable[[], Any]] = {name: partial(whole.run, *arrays) for name, whole in wholes.items()}
    for name, chain in chains.items():
        for stages in range(1, chain.stages + 1):
            systems[f"{name}: {stages}"] = partial(_run, chain, arrays, stages)
    # one call: where it exits is up to the weights, but for a speed that no exit is above, or none below
    for ends, speed in (("first", 2.0), ("last", 0.0)) if row else ():
        systems[f"row: {ends}"] = partial(row, ids, arrays[2], np.array([speed], np.float32))
    if settle_s:
        for system in systems.values():
            system()
        time.sleep(settle_s)
    times = alternating_medians(systems, runs, rest=False)
    whole_ms = {name: times[name] for name in wholes}
    best = min(whole_ms.values())
    found = {}
    for name in chains:
        depths = [(layer + 1, times[f"{name}: {stages}"]) for stages, layer in enumerate(manifest.exits, start=1)]
        found[name] = {
            "ms_by_layers_run": {str(depth): value for depth, value in depths},
            "whole_depth_against_whole_model": depths[-1][1] / best,
            **(fit_break_even(depths, best) if len(depths) > 1 else {}),
        }
    row_ms = {f"{ends}_exit_ms": times[f"row: {ends}"] for ends in ("first", "last")} if row else None
    return {
        "batch": batch,
        "sequence": sequence,
        "whole_model_ms": whole_ms,
        "chain": found,
        **({"single_row_engine": row_ms} if row_ms else {}),
    }


def _open_tensorrt(bundle: Path, manifest: Manifest, variant: Variant, folder: Path) -> _Opened:
    plan = build_whole_model(bundle, manifest, variant, folder)
    engine = open_engine(plan, variant, len(manifest.labels), cuda_graphs=True)
    wholes = {"streams": WholeModel(engine), "CUDA graphs": WholeModel(engine, cuda_graphs=True)}
    return [(bucket.max_batch, bucket.sequence) for bucket in engine.buckets.all], wholes


def _open_cuda(bundle: Path, manifest: Manifest, variant: Variant, folder: Path) -> _Opened:
    graph = write_whole_model(bundle, variant, folder)
    wholes = {
        "streams": WholeModel(open_session(graph, manifest)),
        "CUDA graphs": WholeModel(open_session(graph, manifest, cuda_graphs=True), cuda_graphs=True),
    }
    return [(batch, sequence) for batch in _BATCHES for sequence in _SEQUENCES], wholes


def _require(device: str) -> None:
    if device == "cuda":
        require_onnxruntime(CUDA)
        open_gpu("gpu")
    else:
        LIBRARIES[device].load()
        open_gpu(LIBRARIES[device].extra)


_OPENED = {"cuda": _open_cuda, **dict.fromkeys(LIBRARIES, _open_tensorrt)}


def _run(chain: DeviceChain, arrays: Sequence[Any], stages: int) -> None:
    state = chain.start(*arrays)
    for stage in range(stages):
        state, _ = chain.run_stage(stage, state)
    chain.logits(state)


def main() -> None:
    """Build if needed, measure, print the results per shape, and write the report; exit 1 if the device is missing."""
    parser = argparse.ArgumentParser(prog="python -m studies.depths", description=__doc__.split(":")[0])
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle with a variant for the device")
    parser.add_argument("--device", choices=list(_OPENED), default="tensorrt")
    parser.add_argument("--runs", type=int, default=200, help="of each system")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    try:
        document = _document(arguments.bundle, arguments.device, arguments.runs)
    except FastBertError as error:
        sys.exit(f"Error: {error}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    for shape in document["shapes"]:
        best = min(shape["whole_model_ms"].values())
        sys.stdout.write(f"batch {shape['batch']}, {shape['sequence']} tokens: whole model {best:.3f} ms\n")
        for name, found in shape["chain"].items():
            sys.stdout.write(
                f"  {name:<28} all layers {found['whole_depth_against_whole_model']:.2f} x, "
                f"break-even at {found.get('break_even_layers', float('nan')):.1f} layers\n"
            )
        if row := shape.get("single_row_engine"):
            sys.stdout.write(
                f"  one engine, one call         first exit {row['first_exit_ms'] / best:.2f} x, "
                f"last exit {row['last_exit_ms'] / best:.2f} x\n"
            )


def _document(bundle: Path | None, device: str, runs: int) -> dict[str, Any]:
    _require(device)  # before long work
    with tempfile.TemporaryDirectory(prefix="fastbert-gpu-") as folder:
        if bundle is None:
            from studies.random_bundle import make_bundle

            make_bundle(12, 768, folder, precisions=("fp32", "fp16"))
            bundle = Path(folder) / "bundle"
            if device in LIBRARIES:
                bounds = Bounds(max_label_flips=1.0)  # random weights are sure of no label
                build(bundle, BuildOptions(batches=_BATCHES, sequences=_SEQUENCES, bounds=bounds, engine=device))
        document = measure(bundle, device=device, runs=runs)
    document["environment"] = describe_environment()
    return document


if __name__ == "__main__":
    main()
