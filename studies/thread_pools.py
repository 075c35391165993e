"""How the chain's threads are pooled and how long they spin: ``python -m studies.thread_pools [--json]``.

The measurement behind the defaults of `fastbert.runtime.engines.cpu.sessions`. Every setting runs the same stages at
speed 0, batch 1, 64 tokens; its time is compared with that of the whole model in one session with ONNX Runtime's
defaults, as `studies.targets` does: they take turns after a pause, one run untimed and one timed. The
global pool belongs to a process, so it has one with its own run of the whole model. Medians over processes: where the
system puts a thread that it wakes differs from one to the next.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.timing import alternating_medians
from fastbert.runtime.chain import run_chain
from fastbert.runtime.engines.cpu import OnnxRuntimeEngine
from fastbert.runtime.engines.cpu.sessions import SessionPlan
from fastbert.runtime.exit_rule import ExitRule
from fastbert.runtime.inputs import Inputs
from fastbert.runtime.manifest import read_manifest
from studies.targets import Bundles, in_child, whole_session

__all__ = ["SETTINGS", "SHARED", "compare_pools"]

_PROCESSES = 3
_TOKENS = 64
# setting -> (the model that joins the stages, microseconds that idle threads spin)
SETTINGS = {
    **{f"a session a stage, spin {us} us": (None, us) for us in (10, 40, 100, 1000)},
    **{f"one session, spin {us} us": ("chain", us) for us in (40, 200, 1000, 5000)},
    **{f"one session and one call, spin {us} us": ("row", us) for us in (200, 1000, 5000)},
}
SHARED = "a session a stage, ONNX Runtime's global pool"


@dataclass(frozen=True, kw_only=True)
class _SpinPlan(SessionPlan):
    """Sessions whose idle threads spin for a time of the study's choice, in microseconds."""

    spin: int = 0

    def spin_us(self, *, one_session: bool) -> int:
        return self.spin


def compare_pools(directory: str, precision: str, threads: int, runs: int, shared: bool) -> str:
    """Measure all settings, or with ``shared`` the global pool; return JSON: setting -> figures.

    :param directory: what `studies.targets.make_bundle` wrote.
    """
    bundle = Path(directory) / "bundle"
    manifest = read_manifest(bundle)
    variant = manifest.variant_for("cpu", precision)
    ids = np.random.default_rng(0).integers(3, manifest.vocab_size, (1, _TOKENS))
    ones, zeros = np.ones_like(ids), np.zeros_like(ids)

    def chain(plan: Callable[..., SessionPlan], *, joined: str | None = None, **options: Any) -> Callable[[], Any]:
        models = {} if joined is None else {joined: bundle / getattr(variant, joined)}
        stages = [bundle / stage for stage in variant.stages]
        engine = OnnxRuntimeEngine(plan(embeddings=bundle / variant.embeddings, stages=stages, **models, **options))
        row = Inputs(ids, ones, zeros, single_row=True)
        return lambda: run_chain(engine, manifest.exits, ExitRule(0.0), row)

    if shared:
        import onnxruntime

        onnxruntime.set_global_thread_pool_sizes(threads, 1)
        systems = {SHARED: chain(SessionPlan, thread_pool="host")}
    else:
        systems = {
            name: chain(_SpinPlan, joined=joined, threads=threads, spin=spin)
            for name, (joined, spin) in SETTINGS.items()
        }
    session = whole_session(directory, threads, precision, shared=shared)
    feeds = {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros}
    systems["whole model"] = lambda: session.run(None, feeds)
    times = alternating_medians(systems, runs, rest=True)
    return json.dumps(
        {
            name: {"times_whole_model": times[name] / times["whole model"], "idle_cpu_after_a_run_ms": _idle_ms(system)}
            for name, system in systems.items()
        }
    )


def _idle_ms(system: Callable[[], Any]) -> float:
    """Return the processor time that the process takes in the 100 ms after a run: the median of 5."""
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
            [in_child("compare_pools", *setting, shared, module="thread_pools") for shared in (False, True)]
            for _ in range(_PROCESSES)
        ]
        found = [json.loads(shared) | json.loads(own) for own, shared in texts]
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
