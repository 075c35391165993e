"""Promises that need a trained model: judged from a report of ``fastbert bench`` over its labelled rows."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from studies.target import Target

__all__ = ["report_targets"]

_SPEEDS = (0.1, 0.2, 0.3, 0.4, 0.5)
_ACCURACY_SPEEDS = (0.0, 0.1, 0.3, 0.5)
_ALLOWED_LOSS = 0.005  # of accuracy, at the best operating point
_OFFLINE_SPEED = 0.3


def report_targets(path: Path) -> list[Target]:
    """Return the promises that a report can judge; each has the name of the report's folder before its own.

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
            if family in names:
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


def _efficiency(systems: dict[Any, Any], family: str) -> float:
    return min(systems[family, speed]["efficiency"] for speed in _SPEEDS)


def _against_pytorch(systems: dict[Any, Any], family: str) -> float:
    def mean_ms(name: str, speed: float) -> float:
        return float(systems[name, speed]["latency"]["mean_ms"])

    return min(mean_ms("pytorch-early-exit", speed) / mean_ms(family, speed) for speed in _SPEEDS)


def _accuracy_loss(systems: dict[Any, Any], int8: str) -> float:
    losses = [systems["fp32", speed]["accuracy"] - systems[int8, speed]["accuracy"] for speed in _ACCURACY_SPEEDS]
    return round(100 * max(losses), 6)


def _best_point(systems: dict[Any, Any], whole: list[Any], int8: str) -> float:
    """The bar is full depth in float32: an int8 that lost accuracy at full depth gains nothing by it."""
    full = systems["fp32", 0.0]["accuracy"]
    points = [one for (family, speed), one in systems.items() if family == int8 and speed is not None]
    allowed = [one for one in points if one["accuracy"] >= full - _ALLOWED_LOSS - 1e-9]
    if not allowed:
        return 0.0
    return float(min(one["latency"]["p50_ms"] for one in whole) / min(one["latency"]["p50_ms"] for one in allowed))


def _offline(systems: dict[Any, Any], layers: int) -> float:
    chain, whole = systems["fp32", _OFFLINE_SPEED], systems["onnxruntime", None]
    return float(chain["rows_per_s"] / whole["rows_per_s"] / (layers / chain["mean_layers"]))
