"""Measurements: latency, throughput and load against the whole model, and accuracy and cost at each speed.

`run_bench` is ``fastbert bench``, and `evaluate` is ``fastbert evaluate``. Names load their modules on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbert.benchmarks.baselines import BASELINES
    from fastbert.benchmarks.bench import run_bench
    from fastbert.benchmarks.evaluation import SpeedResult, evaluate
    from fastbert.benchmarks.options import SCENARIOS, BenchOptions
    from fastbert.benchmarks.report.results import BenchReport
    from fastbert.benchmarks.report.tables import write_report

# Public name -> its module in this package.
_LAZY = {
    "BASELINES": "baselines",
    "SCENARIOS": "options",
    "BenchOptions": "options",
    "BenchReport": "report.results",
    "SpeedResult": "evaluation",
    "evaluate": "evaluation",
    "run_bench": "bench",
    "write_report": "report.tables",
}

__all__ = [
    "BASELINES",
    "SCENARIOS",
    "BenchOptions",
    "BenchReport",
    "SpeedResult",
    "evaluate",
    "run_bench",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
