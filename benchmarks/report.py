"""Reports for the terminal and for files."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from fastbert.benchmarks.single_stream import BenchReport
from fastbert.evaluation import SpeedResult

__all__ = ["bench_table", "evaluation_tables", "write_json"]

_BASELINE_NAMES = {"onnxruntime": "whole model, ONNX Runtime", "pytorch": "whole model, PyTorch"}


def bench_table(report: BenchReport) -> Table:
    """Return the figures as a table: one row a speed, then the baselines."""
    table = Table(
        title=f"batch 1, {report.threads} thread{'s' if report.threads > 1 else ''}, {report.rows} rows, "
        f"{report.mean_tokens:.0f} tokens on average"
    )
    baselines = [system.name for system in report.systems if system.speed is None]
    columns = ["speed", "accuracy", "mean layers", "p50 ms", "p90 ms", "p95 ms", "p99 ms"]
    for column in [*columns, *(f"x faster than\n{name}" for name in baselines)]:
        table.add_column(column, justify="right")
    for system in report.systems:
        latency = system.latency
        figures = [latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms]
        table.add_row(
            _BASELINE_NAMES[system.name] if system.speed is None else f"{system.speed:g}",
            "-" if system.accuracy is None else f"{100 * system.accuracy:.1f} %",
            f"{system.mean_layers:.2f}",
            *("-" if figure is None else f"{figure:.2f}" for figure in figures),
            *(f"{system.times_faster[name]:.2f}" if name in system.times_faster else "" for name in baselines),
        )
    return table


def evaluation_tables(results: Sequence[SpeedResult]) -> list[Table]:
    """Return two tables: one row a speed; and how deep each exit and class goes."""
    table = Table(title=f"{results[0].samples} rows; FLOPs: 2 per multiply-add, attention products included")
    for column in ("speed", "accuracy", "macro F1", "mean layers", "x fewer layers", "MFLOPs a row", "x fewer FLOPs"):
        table.add_column(column, justify="right")
    for result in results:
        table.add_row(
            f"{result.speed:g}",
            f"{100 * result.accuracy:.2f} %",
            f"{100 * result.macro_f1:.2f} %",
            f"{result.mean_layers:.2f}",
            f"{result.layer_speedup:.2f}",
            f"{result.flops_per_sample / 1e6:.1f}",
            f"{result.flops_speedup:.2f}",
        )
    depth = Table(title="rows that leave after layer (0-based), and mean layers run by class")
    layers, classes = list(results[0].exit_histogram), list(results[0].class_mean_layers)
    for column in ("speed", *map(str, layers), *classes):
        depth.add_column(column, justify="right")
    for result in results:
        means = [result.class_mean_layers[name] for name in classes]
        depth.add_row(
            f"{result.speed:g}",
            *(str(result.exit_histogram[layer]) for layer in layers),
            *("-" if mean is None else f"{mean:.2f}" for mean in means),
        )
    return [table, depth]


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
