"""The project's promises, measured: ``python -m studies.targets [NAME] [--report FILE] [--json]``.

One line per target: its name, the figure, the bar, and whether it is met. Most models here have random weights; times
are medians of runs that alternate in one process, with equal threads, and each comparison has its own process. Targets
that need a trained model are judged from a report of ``fastbert bench`` over its labelled rows.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastbert.benchmarks.machine.environment import describe_environment
from studies.measures import import_seconds
from studies.random_bundle import Bundles, in_child

_SPEEDS = (0.1, 0.2, 0.3, 0.4, 0.5)
_ACCURACY_SPEEDS = (0.0, 0.1, 0.3, 0.5)
_ALLOWED_LOSS = 0.005  # of accuracy, at the best operating point
_OFFLINE_SPEED = 0.3


@dataclass(frozen=True)
class Target:
    """A promise: the figure of ``measure`` is at most ``bar``, or with ``at_least`` at least ``bar``."""

    name: str
    bar: float
    unit: str
    measure: Callable[[], float]
    at_least: bool = False


@dataclass(frozen=True)
class TargetResult:
    """A target, measured.

    :param holds: whether it is met.
    """

    name: str
    figure: float
    bar: float
    unit: str
    holds: bool
    at_least: bool = False


_bundles = Bundles()


def _overhead(layers: int, hidden: int, tokens: int, threads: int, precision: str, exit_size: int = 128) -> float:
    """Return the median of four processes; two load the chain first, and two the whole model."""
    directory, runs = _bundles.get(layers, hidden, exit_size), 40 if hidden > 384 else 120
    arguments = ("measures", "chain_overhead", directory, tokens, threads, runs, precision)
    return statistics.median(float(in_child(*arguments, whole_first)) for whole_first in (False, True) * 2)


def _file_memory(rows: int) -> float:
    return float(in_child("measures", "file_memory", _bundles.get(1, 48), rows))


def _ratio(function: str, layers: int, hidden: int, runs: int) -> float:
    """Return chain / whole model: medians of a function of `studies.measures` over alternating fresh processes."""
    found: dict[str, list[float]] = {"chain": [], "whole": []}
    for _ in range(runs):
        for system, values in found.items():
            values.append(float(in_child("measures", function, _bundles.get(layers, hidden), system)))
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


def report_targets(path: Path) -> list[Target]:
    """Return the targets that a report can judge; their names begin with the name of the report's folder.

    :param path: a ``report.json``, schema ``fastbert-bench/2``.
    """
    report = json.loads(path.read_bytes())
    data = path.resolve().parent.name
    found = []
    if report["single_stream"]:
        systems = {(one["family"], one["speed"]): one for one in report["single_stream"]["systems"]}
        names = {family for family, _ in systems}
        whole = [one for (family, speed), one in systems.items() if speed is None]
        int8 = "int8-reduced" if "int8-reduced" in names else "int8"
        for family, bar in (("fp32", 2.2), (int8, 4.5)):
            if family in names and not any(one["efficiency"] is None for one in _early(systems, family)):
                unit = "measured / layer speed-up, the least over speeds 0.1-0.5"
                measure = partial(_efficiency, systems, family)
                found.append(Target(f"{data}-efficiency-{family}", 0.92, unit, measure, at_least=True))
            if {family, "pytorch-early-exit"} <= names:
                unit = "times faster than PyTorch's early exit, the least over speeds 0.1-0.5"
                measure = partial(_against_pytorch, systems, family)
                found.append(Target(f"{data}-pytorch-{family}", bar, unit, measure, at_least=True))
        if {"fp32", int8} <= names:
            unit = "points of accuracy lost to fp32, the most over speeds 0, 0.1, 0.3, 0.5"
            found.append(Target(f"{data}-accuracy-{int8}", 0.3, unit, partial(_accuracy_loss, systems, int8)))
        if int8 in names and whole:
            unit = f"p50 of the fastest whole model / of int8 within {100 * _ALLOWED_LOSS:g} points of full depth"
            measure = partial(_best_point, systems, whole, int8)
            found.append(Target(f"{data}-best-point-{int8}", 2.0, unit, measure, at_least=True))
    if report["offline"]:
        systems = {(one["family"], one["speed"]): one for one in report["offline"]["systems"]}
        unit = f"throughput at speed {_OFFLINE_SPEED} / the whole model's / layer speed-up"
        measure = partial(_offline, systems, report["model"]["layers"])
        found.append(Target(f"{data}-offline-fp32", 1.1, unit, measure, at_least=True))
    return found


def _early(systems: dict[Any, Any], family: str) -> list[Any]:
    return [one for (name, speed), one in systems.items() if name == family and speed is not None]


def _efficiency(systems: dict[Any, Any], family: str) -> float:
    return min(float(systems[family, speed]["efficiency"]) for speed in _SPEEDS)


def _against_pytorch(systems: dict[Any, Any], family: str) -> float:
    def mean_ms(name: str, speed: float) -> float:
        return float(systems[name, speed]["latency"]["mean_ms"])

    return min(mean_ms("pytorch-early-exit", speed) / mean_ms(family, speed) for speed in _SPEEDS)


def _accuracy_loss(systems: dict[Any, Any], int8: str) -> float:
    losses = [systems["fp32", speed]["accuracy"] - systems[int8, speed]["accuracy"] for speed in _ACCURACY_SPEEDS]
    return float(round(100 * max(losses), 6))


def _best_point(systems: dict[Any, Any], whole: list[Any], int8: str) -> float:
    """Compare with the accuracy of float32 at full depth, so that a loss by int8 at full depth counts."""
    full = systems["fp32", 0.0]["accuracy"]
    allowed = [one for one in _early(systems, int8) if one["accuracy"] >= full - _ALLOWED_LOSS - 1e-9]
    if not allowed:
        return 0.0
    return float(min(one["latency"]["p50_ms"] for one in whole) / min(one["latency"]["p50_ms"] for one in allowed))


def _offline(systems: dict[Any, Any], layers: int) -> float:
    chain, whole = systems["fp32", _OFFLINE_SPEED], systems["onnxruntime", None]
    return float(chain["rows_per_s"] / whole["rows_per_s"] / (layers / chain["mean_layers"]))


def measure(target: Target) -> TargetResult:
    """Measure one target."""
    figure = target.measure()
    holds = figure >= target.bar if target.at_least else figure <= target.bar
    return TargetResult(target.name, figure, target.bar, target.unit, holds, target.at_least)


def main() -> None:
    """Measure the named targets, or all, and print one line each; exit 1 if one is missed."""
    parser = argparse.ArgumentParser(prog="python -m studies.targets", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(target.name for target in TARGETS))
    parser.add_argument(
        "--report", type=Path, action="append", default=[], help="also judge this report.json of fastbert bench"
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
                verdict = "met" if found.holds else "MISSED"
                bar = f"{'>=' if found.at_least else '<='} {found.bar:.2f}"
                sys.stdout.write(f"{found.name:<40} {found.figure:7.3f}  {bar}  {verdict}  ({found.unit})\n")
                sys.stdout.flush()
    if arguments.json:
        document = {"environment": describe_environment(), "targets": [asdict(result) for result in results]}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(result.holds for result in results) else 1)


if __name__ == "__main__":
    main()
