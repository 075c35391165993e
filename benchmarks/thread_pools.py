"""How the chain's threads are pooled and how long they spin: ``python -m fastbert.benchmarks.thread_pools [--json]``.

The measurement behind the defaults of `fastbert.runtime.engines.onnxruntime`. Every setting runs the same stages at
speed 0, batch 1; times are compared with the whole model in one session with ONNX Runtime's defaults. Settings take
turns in one process, except the global pool (``shared``, with a session a stage): it belongs to a process, and has one
with its own run of the whole model.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.environment import describe_environment
from fastbert.benchmarks.targets import in_child
from fastbert.runtime.engines.onnxruntime import DISABLED_OPTIMIZERS

__all__ = ["compare_pools"]

_TURNS = 10
_RUNS = 12
_SPIN = "session.intra_op.spin_duration_us"
# setting -> (whether all stages are one session, its entries)
_SETTINGS: dict[str, tuple[bool, dict[str, str]]] = {
    "a session a stage, no spinning": (False, {"session.intra_op.allow_spinning": "0"}),
    **{f"a session a stage, spin {us} us": (False, {_SPIN: str(us)}) for us in (20, 40, 100, 1000)},
    **{f"one session, spin {us} us": (True, {_SPIN: str(us)}) for us in (40, 200, 1000, 5000)},
    "one session, ONNX Runtime's own spinning": (True, {}),
}


def compare_pools(directory: str, threads: int, shared: bool) -> str:
    """Measure all settings, or with ``shared`` the global pool; return JSON: setting -> figures.

    :param directory: what `fastbert.benchmarks.targets.make_bundle` wrote.
    """
    import onnxruntime as ort

    from fastbert.runtime.manifest import read_manifest, stage_digits

    bundle = Path(directory) / "bundle"
    variant = read_manifest(bundle).variant_for("cpu")
    ids = np.random.default_rng(0).integers(3, 1000, (1, 64))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    def session(path: Path, entries: dict[str, str], most_threads: int = threads) -> Any:
        options = ort.SessionOptions()
        if shared:
            options.use_per_session_threads = False
        else:
            options.intra_op_num_threads = most_threads
        for key, value in entries.items():
            options.add_session_config_entry(key, value)
        return ort.InferenceSession(path, options, disabled_optimizers=DISABLED_OPTIMIZERS)

    def chain(one: bool, entries: dict[str, str]) -> Callable[[], None]:
        count, outputs = len(variant.stages), ["next_hidden_states", "logits", "uncertainty"]
        embeddings = session(bundle / variant.embeddings, entries, 1)
        if one:
            stages = [session(bundle / str(variant.chain), entries)] * count
            outputs = [f"chain/{name}" for name in outputs]
        else:
            stages = [session(bundle / name, entries) for name in variant.stages]
        digits = [
            {name: np.array(digit) for name, digit in stage_digits(number, count).items()} if one else {}
            for number in range(count)
        ]

        def run() -> None:
            hidden_states, mask = embeddings.run(None, feeds)
            for stage, chosen in zip(stages, digits, strict=True):
                given = {"hidden_states": hidden_states, "extended_attention_mask": mask, **chosen}
                hidden_states = stage.run(outputs, given)[0]

        return run

    if shared:
        ort.set_global_thread_pool_sizes(threads, 1)
    whole = session(Path(directory) / "whole.onnx", {})
    systems: dict[str, Callable[[], Any]] = {"whole model": lambda: whole.run(None, feeds)}
    if shared:
        systems["shared"] = chain(False, {})
    else:
        systems.update({name: chain(*setting) for name, setting in _SETTINGS.items()})
    times: dict[str, list[float]] = {name: [] for name in systems}
    idle: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(_TURNS):
        for name, system in systems.items():
            time.sleep(0.1)
            system()
            for _ in range(_RUNS):
                began = time.perf_counter()
                system()
                times[name].append(time.perf_counter() - began)
            spent = time.process_time()
            time.sleep(0.1)
            idle[name].append(time.process_time() - spent)
    base = statistics.median(times["whole model"])
    return json.dumps(
        {
            name: {
                "times_whole_model": statistics.median(times[name]) / base,
                "idle_cpu_after_a_run_ms": statistics.median(idle[name]) * 1e3,
            }
            for name in systems
        }
    )


def main() -> None:
    """Print the comparison for MiniLM's and BERT-base's shapes."""
    parser = argparse.ArgumentParser(
        prog="python -m fastbert.benchmarks.thread_pools", description=__doc__.split(":")[0]
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "threads": arguments.threads, "tokens": 64}
    for layers, hidden in ((6, 384), (12, 768)):
        with tempfile.TemporaryDirectory(prefix="fastbert-pools-") as directory:
            in_child("make_bundle", layers, hidden, directory)
            module = "thread_pools"
            found = json.loads(in_child("compare_pools", directory, arguments.threads, False, module=module))
            found["shared"] = json.loads(in_child("compare_pools", directory, arguments.threads, True, module=module))[
                "shared"
            ]
        document[f"{layers}x{hidden}"] = found
        if not arguments.json:
            for name, figures in found.items():
                sys.stdout.write(
                    f"{layers}x{hidden}  {name:<40} {figures['times_whole_model']:.3f} x whole model, "
                    f"{figures['idle_cpu_after_a_run_ms']:.2f} ms idle CPU after a run\n"
                )
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
