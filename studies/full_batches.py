"""What full batches save on a GPU: ``python -m studies.full_batches [BUNDLE]``.

Times many rows of one length, from token ids to answers: the whole model, the chain whose batches shrink, and the chain
whose batches are kept full. Where a row exits is drawn, so that a model with random weights will do: it exits at each
exit with the same probability, chosen for a mean number of layers. Without a bundle, it makes one of MiniLM's shape.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastbert.benchmarks.baselines.whole_model_gpu import WholeModel, open_session, write_whole_model
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_device
from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime.batching.stage_pools import run_pooled
from fastbert.runtime.chain import run_chain
from fastbert.runtime.engines.gpu.device_chain import POOL_TOKENS, DeviceChain
from fastbert.runtime.engines.gpu.onnxruntime import CUDA, load
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs
from fastbert.runtime.manifest import MANIFEST, file_record, read_manifest

SCHEMA = "fastbert-full-batches/1"


class DrawnRule(ExitRule):
    """Lets each row exit with the same probability at each exit."""

    def __init__(self, probability: float) -> None:
        super().__init__(0.5)
        object.__setattr__(self, "_probability", probability)
        object.__setattr__(self, "_draws", np.random.default_rng(0))

    def exits(self, uncertainty: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Draw which samples exit: float32 [samples] -> bool [samples]."""
        return self._draws.random(len(uncertainty)) < self._probability  # type: ignore[attr-defined, no-any-return]


def probability(mean_layers: float, exits: Sequence[int]) -> float:
    """Return with which probability a row must exit at each exit to run this many layers in the mean."""
    depths = np.array(exits) + 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        here = middle * (1 - middle) ** np.arange(len(depths))
        here[-1] = (1 - middle) ** (len(depths) - 1)
        low, high = (middle, high) if float(here @ depths) > mean_layers else (low, middle)
    return high


def measure(
    bundle: Path,
    *,
    rows: int,
    sequences: Sequence[int],
    batches: Sequence[int],
    mean_layers: Sequence[float],
    passes: int,
    provider: str = CUDA,
) -> dict[str, Any]:
    """Time every system on the same rows, alternating; medians of ``passes``, in rows per second."""
    manifest = read_manifest(bundle)
    variant = next(one for one in manifest.variants if one.compaction is not None and one.precision == "float16")
    engine = load(bundle, variant, cuda_graphs=True, provider=provider)
    found = []
    with tempfile.TemporaryDirectory(prefix="fastbert-whole-") as folder:
        session = open_session(
            write_whole_model(bundle, variant, Path(folder)), manifest, cuda_graphs=True, provider=provider
        )
        whole = WholeModel(session, cuda_graphs=True)
        for sequence in sequences:
            ids = np.random.default_rng(0).integers(3, manifest.vocab_size, (rows, sequence))
            systems: dict[str, Callable[[], Any]] = {}
            for batch in sorted({min(batch, POOL_TOKENS // sequence) for batch in batches}, reverse=True):
                parts = [Inputs(part, np.ones_like(part), np.zeros_like(part)) for part in _parts(ids, batch)]
                systems[f"whole model, batches of {batch}"] = partial(_run_whole, whole, parts)
                for layers in mean_layers:
                    rule = DrawnRule(probability(layers, manifest.exits))
                    systems[f"shrinking, {layers} layers, batches of {batch}"] = partial(
                        _run_chain, engine, manifest.exits, rule, parts
                    )
                    systems[f"full, {layers} layers, batches of {batch}"] = partial(
                        _run_pools, engine, manifest.exits, rule, parts
                    )
            times = alternating_medians(systems, passes, rest=False)
            found.append({"sequence": sequence, "rows_per_s": {name: rows / ms * 1e3 for name, ms in times.items()}})
    return {
        "schema": SCHEMA,
        "timed": "ids on the host to answers on the host, tokenization not; medians, alternating",
        "rows": rows,
        "passes": passes,
        "model": {
            "layers": manifest.layers,
            "hidden_size": manifest.hidden_size,
            "exits": list(manifest.exits),
            "bundle_sha256": file_record(bundle / MANIFEST)["sha256"],
        },
        "shapes": found,
    }


def _parts(ids: NDArray[np.int64], batch: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(ids), batch):
        yield ids[start : start + batch]


def _run_whole(whole: WholeModel, parts: Sequence[Inputs]) -> None:
    for part in parts:
        whole.run(*part[:3])


def _run_chain(engine: DeviceChain, exits: tuple[int, ...], rule: ExitRule, parts: Sequence[Inputs]) -> None:
    for part in parts:
        run_chain(engine, exits, rule, part)


def _run_pools(engine: DeviceChain, exits: tuple[int, ...], rule: ExitRule, parts: Sequence[Inputs]) -> None:
    rows, sequence = parts[0].input_ids.shape
    numbered = ((np.arange(len(part.input_ids)) + index * rows, part) for index, part in enumerate(parts))
    list(run_pooled(engine.pools(rows, sequence), exits, rule, numbered))


def main() -> None:
    """Measure, print, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m studies.full_batches", description=__doc__.split(":")[0])
    parser.add_argument("bundle", nargs="?", type=Path, help="a bundle with an fp16 variant")
    parser.add_argument("--layers", type=int, default=6, help="of the bundle that is made")
    parser.add_argument("--hidden-size", type=int, default=384, help="of the bundle that is made")
    parser.add_argument("--rows", type=int, default=8192)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--sequences", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 256, 128, 32])
    parser.add_argument("--mean-layers", type=float, nargs="+", default=[1.6, 3.0])
    parser.add_argument("--provider", default=CUDA)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fastbert-gpu-") as folder:
        bundle = arguments.bundle
        if bundle is None:
            from studies.random_bundle import make_bundle

            make_bundle(arguments.layers, arguments.hidden_size, folder, precisions=("fp32", "fp16"))
            bundle = Path(folder) / "bundle"
        document = measure(
            bundle,
            rows=arguments.rows,
            sequences=arguments.sequences,
            batches=arguments.batches,
            mean_layers=arguments.mean_layers,
            passes=arguments.passes,
            provider=arguments.provider,
        )
    document["environment"] = describe_environment()
    if arguments.provider == CUDA:
        document["gpu"] = describe_device()
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=2) + "\n")
    for shape in document["shapes"]:
        print(f"{shape['sequence']} tokens")
        for name, speed in shape["rows_per_s"].items():
            print(f"  {name:<44} {speed:10.0f} rows/s")


if __name__ == "__main__":
    main()
