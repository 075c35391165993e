"""Load time and memory of one engine: ``python -m fastbert.benchmarks.machine.footprint``, a fresh process for each.

It reads a JSON request from stdin and prints a JSON answer. It imports only what the engine needs, as imports count.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbert.benchmarks.systems import Budget, Sources, System
    from fastbert.benchmarks.workload import Workload

_ROWS = 8
_LIMIT_S = 300


@dataclass(frozen=True)
class Footprint:
    """One engine in a fresh process that does nothing else.

    :param load_s: from a running interpreter to a loaded engine, imports included; files are in the page cache.
    :param first_answer_ms: the first call after that.
    :param peak_memory_bytes: largest resident memory of the process after it ran its longest rows at full depth; None:
        the system does not report it.
    """

    load_s: float
    first_answer_ms: float
    peak_memory_bytes: int | None


def measure_footprint(
    system: "System", sources: "Sources", budget: "Budget", workload: "Workload"
) -> tuple[Footprint | None, str | None]:
    """Load a system in a fresh process and run the longest rows at full depth.

    :returns: the footprint and None, or None and the error.
    """
    longest = sorted(range(len(workload)), key=lambda row: -int(workload.lengths[row]))[:_ROWS]
    request = {
        "system": system.name,
        "chain": system.kind == "chain",
        "sources": asdict(sources),
        "threads": budget.threads,
        "rows": [[array.tolist() for array in workload.inputs[row]] for row in longest],
    }
    command = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(request, default=str),
            capture_output=True,
            text=True,
            check=False,
            timeout=_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return None, f"it took more than {_LIMIT_S} s"
    if done.returncode:
        return None, done.stderr.strip().split("\n")[-1]
    return Footprint(**json.loads(done.stdout.strip().split("\n")[-1])), None


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request of `measure_footprint`, in this process."""
    began = time.perf_counter()
    from fastbert.benchmarks.systems import Budget, Sources, chain_systems
    from fastbert.runtime.manifest import read_manifest

    named = request["sources"]
    sources = Sources(
        Path(named["bundle"]),
        None if named["checkpoint"] is None else Path(named["checkpoint"]),
        named["device"],
        Path(named["folder"]),
        named["cuda_graphs"],
        named["variant"],
    )
    if request["chain"]:
        (system,) = chain_systems(sources, read_manifest(sources.bundle), [request["system"]])
    else:
        from fastbert.benchmarks.baselines import baseline_system

        system = baseline_system(request["system"], sources)
    runner = system.load(Budget(request["threads"]))
    load_s = time.perf_counter() - began

    import numpy as np

    first_answer_ms = None
    for row in request["rows"]:
        input_ids, attention_mask, token_type_ids = (np.array(array, dtype=np.int64) for array in row)
        called = time.perf_counter()
        runner.run(input_ids, attention_mask, token_type_ids, 0.0)
        first_answer_ms = first_answer_ms or (time.perf_counter() - called) * 1e3
    return {"load_s": load_s, "first_answer_ms": first_answer_ms, "peak_memory_bytes": _peak_memory_bytes()}


def _peak_memory_bytes() -> int | None:
    """Return the largest resident memory of this process so far; None: the system does not report it."""
    try:
        lines = Path("/proc/self/status").read_text().split("\n")
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_answer(json.load(sys.stdin))) + "\n")
