"""Tables for the terminal, and the report's files."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.table import Table

from fastbert.benchmarks.evaluation import SpeedResult
from fastbert.console.streams import table_cell
from fastbert.files.atomic import replace_file, require_writable_file
from fastbert.runtime.errors import UsageError

_CLASSES = 10
_SHORT = {
    "onnxruntime": "ORT",
    "onnxruntime-int8": "ORT int8",
    "pytorch": "PyTorch",
    "openvino": "OpenVINO",
    "openvino-bf16": "OV bf16",
    "openvino-int8": "OV int8",
}


def bench_tables(document: dict[str, Any]) -> list[Table]:
    """Return one table per measured scenario.

    :param document: `fastbert.benchmarks.report.results.BenchReport.as_dict`.
    """
    tables = []
    for name, make in (("offline", _offline_table), ("server", _server_table), ("single_stream", _single_stream_table)):
        if document[name] is not None:
            tables.append(make(document, document[name]))
    return tables


def _single_stream_table(document: dict[str, Any], found: dict[str, Any]) -> Table:
    method = document["method"]
    table = Table(
        title=f"single-stream: batch 1, {_threads(found)}, {found['rows']} rows x {found['passes']:.1f} passes, "
        f"{method['tokens_mean']:.0f} tokens on average; ms from token ids, +tok with tokenization"
    )
    whole = _compared(document, found)
    columns = ["speed", "accuracy", "mean layers", "p50", "p90", "p95", "p99", "max", "+tok\np50"]
    columns += ["efficiency", *(f"x faster\n{_short(name)}" for name in whole)]
    table.add_column("system", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for system in found["systems"]:
        latency = system["latency"]
        table.add_row(
            *_name_and_speed(system),
            _share(system["accuracy"]),
            f"{system['mean_layers']:.2f}",
            *(_number(latency[key]) for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")),
            _number(system["latency_with_tokenization"]["p50_ms"]),
            _number(system["efficiency"]),
            *(_number(system["times_faster"].get(name), "") for name in whole),
        )
    return table


def _name_and_speed(system: dict[str, Any]) -> tuple[str, str]:
    return table_cell(system["family"]), "" if system["speed"] is None else f"{system['speed']:g}"


def _offline_table(document: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table(
        title=f"offline: {found['rows']} rows x {found['passes']} passes, baselines in batches of "
        f"{found['batch_size']}, {_threads(found)}, tokenization included"
    )
    table.add_column("system", overflow="fold")
    whole = _compared(document, found)
    for column in (
        "speed",
        "mean layers",
        "rows/s",
        "rows/s with-\nout tok",
        *(f"x faster\n{_short(name)}" for name in whole),
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for system in found["systems"]:
        table.add_row(
            *_name_and_speed(system),
            f"{system['mean_layers']:.2f}",
            f"{system['rows_per_s']:.0f}",
            "-" if system["rows_per_s_without_tokenization"] is None
            else f"{system['rows_per_s_without_tokenization']:.0f}",
            *(_number(system["times_faster"].get(name), "") for name in whole),
        )  # fmt: skip
    return table


def _server_table(document: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table(
        title=f"server: Poisson arrivals, {found['workers']} worker{'s' if found['workers'] > 1 else ''} of 1 thread, "
        f"{found['seconds_per_point']:.1f} s per rate; p50 / p95 ms from arrival to answer, queue included"
    )
    table.add_column("system", overflow="fold")
    table.add_column("speed", justify="right", no_wrap=True)
    for rate in found["rates_per_s"]:
        table.add_column(f"{rate:g} rows/s", justify="right", no_wrap=True)
    for system in found["systems"]:
        table.add_row(
            *_name_and_speed(system),
            *(_point(point) for point in system["points"]),
        )
    return table


def _point(point: dict[str, Any]) -> str:
    if point["saturated"]:
        return f"saturated ({point['completed_per_s']:.0f}/s)"
    latency = point["latency"]
    return "-" if latency is None else f"{_number(latency['p50_ms'])} / {_number(latency['p95_ms'])}"


def _compared(document: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Return the whole models that get a column: the chains' references, PyTorch, and the fastest one."""
    whole = [family["name"] for family in document["families"] if family["kind"] == "whole"]
    measured = {system["name"]: system for system in found["systems"] if system["name"] in whole}
    chosen = {family["reference"] for family in document["families"] if family["kind"] == "chain"} | {"pytorch"}
    if measured:
        chosen.add(max(measured, key=lambda name: sum(measured[name]["times_faster"].values())))
    return [name for name in whole if name in measured and name in chosen]


def _threads(found: dict[str, Any]) -> str:
    return f"{found['threads']} thread{'s' if found['threads'] > 1 else ''}"


def _short(name: str) -> str:
    return table_cell(_SHORT.get(name, name))


def _number(value: float | None, absent: str = "-") -> str:
    return absent if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def evaluation_tables(results: Sequence[SpeedResult]) -> list[Table]:
    """Return three tables: one row per speed; mean layers of the classes that exit latest; and rows per exit."""
    table = Table(title=f"{results[0].samples} rows; FLOPs: 2 per multiply-add, attention products included")
    for column in ("speed", "accuracy", "macro F1", "mean layers", "x fewer layers", "MFLOPs/row", "x fewer FLOPs"):
        table.add_column(column, justify="right", no_wrap=True)
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
    exits = Table(title="rows that exit after layer (0-based)")
    for column in ("speed", *map(str, results[0].exit_histogram)):
        exits.add_column(column, justify="right", no_wrap=True)
    for result in results:
        exits.add_row(f"{result.speed:g}", *map(str, result.exit_histogram.values()))
    return [table, _class_table(results), exits]


def _class_table(results: Sequence[SpeedResult]) -> Table:
    """Return a table with one row per class, latest exits first, of at most `_CLASSES` rows."""
    names = list(results[0].class_mean_layers)
    depths = {name: sum(result.class_mean_layers[name] or 0.0 for result in results) for name in names}
    shown = sorted(names, key=lambda name: -depths[name])[:_CLASSES]
    title = None
    if len(shown) < len(names):
        title = f"{len(shown)} of {len(names)} classes: those that exit latest (all classes: JSON output)"
    table = Table(title=title)
    table.add_column("mean layers by class", overflow="fold")
    for result in results:
        table.add_column(f"speed {result.speed:g}", justify="right", no_wrap=True)
    for name in shown:
        table.add_row(table_cell(name), *(_number(result.class_mean_layers[name]) for result in results))
    return table


def check_output(output: Path) -> None:
    """Check that `write_report` can write.

    :raises UsageError: ``output`` is a directory but should be a JSON file, or the reverse; or it is not writable.
    """
    with suppress(OSError):  # the check below reports it
        if output.suffix == ".json" and output.is_dir():
            raise UsageError(f"`output` {output} is a directory; a name that ends in .json is for a file.")
        if output.suffix != ".json" and output.exists() and not output.is_dir():
            raise UsageError(f"`output` {output} is a file; it must be a directory, or a file that ends in .json.")
    for path in _files(output):
        require_writable_file(path)


def write_report(output: Path, document: dict[str, Any]) -> list[Path]:
    """Write ``report.json`` and ``report.html`` into a directory, or only JSON if ``output`` ends in ``.json``.

    Each file is written atomically.

    :returns: the files.
    """
    files = _files(output)
    texts = [json.dumps(document, indent=2, ensure_ascii=False) + "\n"]
    if len(files) > 1:
        from fastbert.benchmarks.report.page import render_page

        texts.append(render_page(document))
    for path, text in zip(files, texts, strict=True):
        replace_file(path, text.encode(errors="backslashreplace"))  # for file names that are not UTF-8
    return files


def _files(output: Path) -> list[Path]:
    return [output] if output.suffix == ".json" else [output / "report.json", output / "report.html"]
