"""Tables for the terminal, and the report's files."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from fastbert.benchmarks.classes import ClassDepth, mix_note
from fastbert.benchmarks.evaluation import SpeedResult
from fastbert.console.streams import table_cell
from fastbert.files.atomic import replace_file, require_writable_file
from fastbert.runtime.errors import UsageError

_CLASSES = 10
_NAME_WIDTH = 24  # characters
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
    tables = _class_depths(document)
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
    columns = ["speed", "accuracy", "change\n[95 %]", "mean layers", "p50", "p90", "p95", "p99", "max"]
    columns += ["+tok\np50", "efficiency", *(f"x faster\n{_short(name)}" for name in whole)]
    _add_names(
        table,
        "system",
        [system["family"] for system in found["systems"]] + [rival["name"] for rival in found["rivals"]],
    )
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for system in found["systems"]:
        latency = system["latency"]
        table.add_row(
            *_name_and_speed(system),
            _share(system["accuracy"]),
            "" if system["name"] == found["accuracy_reference"] else change_cell(system["accuracy_change"]),
            f"{system['mean_layers']:.2f}",
            *(_number(latency[key]) for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "max_ms")),
            _number(system["latency_with_tokenization"]["p50_ms"]),
            _number(system["efficiency"]),
            *(_number(system["times_faster"].get(name), "") for name in whole),
        )
    for rival in found["rivals"]:  # timed from the text alone
        times = rival["latency_with_tokenization"]
        change = change_cell(rival["accuracy_change"])
        table.add_row(
            table_cell(rival["name"]), "", _share(rival["accuracy"]), change, *[""] * 6, _number(times["p50_ms"])
        )
    return table


def _add_names(table: Table, heading: str, names: Sequence[str]) -> None:
    """Add a column of names; only very long ones are folded, however wide the other columns are."""
    longest = max((len(table_cell(name)) for name in names), default=0)
    table.add_column(heading, overflow="fold", min_width=min(longest, _NAME_WIDTH))


def _name_and_speed(system: dict[str, Any]) -> tuple[str, str]:
    return table_cell(system["family"]), "" if system["speed"] is None else f"{system['speed']:g}"


def _offline_table(document: dict[str, Any], found: dict[str, Any]) -> Table:
    table = Table(
        title=f"offline: {found['rows']} rows x {found['passes']} passes, baselines in batches of "
        f"{found['batch_size']}, {_threads(found)}, tokenization included"
    )
    _add_names(table, "system", [system["family"] for system in found["systems"]])
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
    _add_names(table, "system", [system["family"] for system in found["systems"]])
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


def change_cell(change: Mapping[str, Any] | None) -> str:
    """Return a change of accuracy and its interval, in points: ``-0.3 [-0.9, +0.2]``.

    :param change: `fastbert.benchmarks.statistics.paired.PairedDifference` as a dict.
    """
    if change is None:
        return "-"
    middle, low, high = (f"{100 * change[name]:+.1f}" for name in ("change", "low", "high"))
    return f"{middle} [{low}, {high}]"


def evaluation_tables(results: Sequence[SpeedResult]) -> list[Table]:
    """Return three tables: one row per speed; the classes that exit latest; and rows per exit."""
    table = Table(
        title=f"{results[0].samples} rows; change: of accuracy against full depth, in points, with its 95 % "
        "interval; FLOPs: 2 per multiply-add, attention products included"
    )
    columns = ["speed", "accuracy", "change", "macro F1"]
    for column in (*columns, "mean layers", "x fewer layers", "MFLOPs/row", "x fewer FLOPs"):
        table.add_column(column, justify="right", no_wrap=True)
    for result in results:
        table.add_row(
            f"{result.speed:g}",
            f"{100 * result.accuracy:.2f} %",
            change_cell(asdict(result.accuracy_change) if result.accuracy_change and result.speed else None),
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
    depths = {f"speed {result.speed:g}": result.classes for result in results}
    return [table, _class_table(depths, list(results[0].class_mean_layers)), exits]


def evaluation_notes(results: Sequence[SpeedResult]) -> list[str]:
    """Return what the tables do not say: that the saving depends on how frequent the classes are."""
    notes = [f"At speed {result.speed:g}, {note}" for result in results if (note := mix_note(result.classes))]
    return notes[-1:]  # the last speed's: the others say much the same


def _class_depths(document: dict[str, Any]) -> list[Table]:
    """Return the table of classes for the verdict's system, all its speeds."""
    found, best = document["single_stream"], document["verdict"]["system"]
    own = [] if found is None else [one for one in found["systems"] if one["name"] == best]
    if not own or not own[0]["classes"]:
        return []
    depths = {
        f"{one['family']} speed {one['speed']:g}": [ClassDepth(**depth) for depth in one["classes"]]
        for one in found["systems"]
        if one["family"] == own[0]["family"]
    }
    return [_class_table(depths, document["model"]["labels"])]


def _class_table(columns: Mapping[str, Sequence[ClassDepth]], names: Sequence[str]) -> Table:
    """Return a table with one row per class, latest exits first, of at most `_CLASSES` rows.

    :param columns: heading -> the classes that have rows.
    :param names: of all classes.
    """
    depths = {heading: {depth.name: depth for depth in found} for heading, found in columns.items()}

    def depth_of(name: str) -> float:
        return sum(found[name].mean_layers for found in depths.values() if name in found)

    shown = sorted(names, key=lambda name: -depth_of(name))[:_CLASSES]
    title = "mean layers by class, and the share of the class that runs all layers"
    if len(shown) < len(names):
        title += f"; {len(shown)} of {len(names)} classes: those that exit latest (all classes: JSON output)"
    table = Table(title=title)
    _add_names(table, "class", shown)
    for heading in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for name in shown:
        table.add_row(table_cell(name), *(_depth(found.get(name)) for found in depths.values()))
    return table


def _depth(depth: ClassDepth | None) -> str:
    return "-" if depth is None else f"{depth.mean_layers:.2f}, {100 * depth.full_depth:.0f} %"


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
    _write(files[0], json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    if len(files) > 1:
        from fastbert.benchmarks.report.page import render_page

        _write(files[1], render_page(document))
    return files


def _write(path: Path, text: str) -> None:
    replace_file(path, text.encode(errors="backslashreplace"))  # for file names that are not UTF-8


def _files(output: Path) -> list[Path]:
    return [output] if output.suffix == ".json" else [output / "report.json", output / "report.html"]
