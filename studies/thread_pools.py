"""How the chain's threads are pooled and how long they spin: ``python -m studies.thread_pools [--json]``.

The measurement behind the session options of `fastbert.runtime.engines.cpu`. Every setting runs the same stages at
speed 0, batch 1, 64 tokens, in its own sessions; its time is compared with the whole model's in one session with
ONNX Runtime's defaults. Systems take turns after a pause, with one untimed run before each timed one. A process has one
global pool, so that setting has its own process, with its own run of the whole model. Medians over processes, as the
core on which the system wakes a thread differs from process to process.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime.engines.cpu.sessions import DISABLED_OPTIMIZERS
from fastbert.runtime.manifest import Variant, read_manifest
from fastbert.runtime.tensors import stage_digits
from studies.random_bundle import Bundles, in_child, whole_session

_PROCESSES = 3
_TOKENS = 64
# setting -> (the form of the chain, microseconds that idle threads spin)
SETTINGS = {
    **{f"one session per stage, spin {us} us": ("stages", us) for us in (10, 40, 100, 1000)},
    **{f"one session, spin {us} us": ("chain", us) for us in (40, 200, 1000, 5000)},
    **{f"one session and one call, spin {us} us": ("row", us) for us in (200, 1000, 5000)},
}
GLOBAL_POOL = "one session per stage, ONNX Runtime's global pool"


def compare_pools(directory: str, precision: str, threads: int, runs: int, global_pool: bool) -> str:
    """Measure all settings, or with ``global_pool`` that one; return JSON: setting -> figures.

    :param directory: of `studies.random_bundle.make_bundle`.
    """
    bundle = Path(directory) / "bundle"
    manifest = read_manifest(bundle)
    variant = manifest.variant_for("cpu", precision)
    ids = np.random.default_rng(0).integers(3, manifest.vocab_size, (1, _TOKENS))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    arena = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(arena, None)  # one for all sessions, as in the runtime
    if global_pool:
        ort.set_global_thread_pool_sizes(threads, 1)
        systems = {GLOBAL_POOL: chain_call(bundle, variant, "stages", feeds, threads, None)}
    else:
        systems = {
            name: chain_call(bundle, variant, form, feeds, threads, spin_us)
            for name, (form, spin_us) in SETTINGS.items()
        }
    session = whole_session(directory, threads, precision, global_pool=global_pool)
    systems["whole model"] = lambda: session.run(None, feeds)
    times = alternating_medians(systems, runs, rest=True)
    return json.dumps(
        {
            name: {"times_whole_model": times[name] / times["whole model"], "idle_cpu_after_a_run_ms": _idle_ms(system)}
            for name, system in systems.items()
        }
    )


def chain_call(
    bundle: Path, variant: Variant, form: str, feeds: Mapping[str, Any], threads: int, spin_us: int | None
) -> Callable[[], Any]:
    """Load all stages; return a function that runs them and returns the last exit's logits, float32 [1, classes].

    :param form: ``"stages"``: one session per stage; ``"chain"``: one session, which runs the stage that it is asked
        for; ``"row"``: one call that runs all stages.
    :param feeds: the embeddings' inputs.
    :param spin_us: microseconds that idle threads spin; None: the process's global pool.
    """
    if form == "row":
        row = _session(bundle / str(variant.row), threads, spin_us)
        inputs = {"input_ids": feeds["input_ids"], "token_type_ids": feeds["token_type_ids"]}
        speed = np.zeros(1, np.float32)
        return lambda: row.run(["logits"], {**inputs, "speed": speed})[0]
    embeddings = _session(bundle / variant.embeddings, 1, 0 if spin_us is not None else None)
    count = len(variant.stages)
    if form == "chain":
        joined = _session(bundle / str(variant.chain), threads, spin_us)
        digits = [stage_digits(stage, count) for stage in range(count)]
        stages = [(joined, {name: np.array(digit) for name, digit in one.items()}, "chain/") for one in digits]
    else:
        stages = [(_session(bundle / name, threads, spin_us), {}, "") for name in variant.stages]

    def run() -> Any:
        hidden_states, mask = embeddings.run(["hidden_states", "extended_attention_mask"], feeds)
        logits = None
        for session, chosen, prefix in stages:
            names = [f"{prefix}{name}" for name in ("next_hidden_states", "logits", "uncertainty")]
            inputs = {"hidden_states": hidden_states, "extended_attention_mask": mask, **chosen}
            hidden_states, logits, _ = session.run(names, inputs)
        return logits

    return run


def _session(path: Path, threads: int, spin_us: int | None) -> Any:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if spin_us is None:
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin_us))
    return ort.InferenceSession(
        path, options, providers=["CPUExecutionProvider"], disabled_optimizers=DISABLED_OPTIMIZERS
    )


def _idle_ms(system: Callable[[], Any]) -> float:
    """Return the CPU time that the process uses in the 100 ms after a run, in milliseconds: the median of 5."""
    spent = []
    for _ in range(5):
        system()
        began = time.process_time()
        time.sleep(0.1)
        spent.append(time.process_time() - began)
    return statistics.median(spent) * 1e3


def main() -> None:
    """Print the comparison for MiniLM's and BERT-base's shapes."""
    parser = argparse.ArgumentParser(prog="python -m studies.thread_pools", description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    document: dict[str, Any] = {"environment": describe_environment(), "threads": arguments.threads, "tokens": _TOKENS}
    bundles = Bundles()
    for layers, hidden, precision, runs in ((6, 384, "fp32", 40), (6, 384, "int8", 60), (12, 768, "fp32", 16)):
        setting = (bundles.get(layers, hidden), precision, arguments.threads, runs)
        texts = [
            [in_child("thread_pools", "compare_pools", *setting, global_pool) for global_pool in (False, True)]
            for _ in range(_PROCESSES)
        ]
        found = [json.loads(pooled) | json.loads(own) for own, pooled in texts]
        name = f"{layers}x{hidden}, {precision}"
        document[name] = {
            system: {key: statistics.median(one[system][key] for one in found) for key in figures}
            for system, figures in found[0].items()
        }
        if not arguments.json:
            for system, figures in document[name].items():
                sys.stdout.write(
                    f"{name}  {system:<46} {figures['times_whole_model']:.3f} x whole model, "
                    f"{figures['idle_cpu_after_a_run_ms']:.2f} ms idle CPU after a run\n"
                )
    if arguments.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
