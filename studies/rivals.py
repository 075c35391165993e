"""What accuracy for which latency, beside cheaper models: ``python -m studies.rivals REPORT ...``.

Reads reports of ``fastbert bench --rivals FILE --rival BUNDLE ...`` and prints the two tables of docs/performance.md. A
report's name is that of its folder. Latency is p50 from text to answer at batch 1, as a share of the whole model's in
fp32 in the same run, since only ratios of one run can be compared.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LATENCIES = (0.02, 0.1, 0.2, 0.3, 0.5, 1.0)  # the rows of the second table
_NO_WORSE = 1e-9
_LINEAR = ("tfidf", "fasttext")
_PRECISIONS = {"float32": "fp32"}


@dataclass(frozen=True)
class Point:
    """One system at one speed.

    :param kind: ``"whole"``, ``"chain"``, ``"shallow"``, ``"tfidf"`` or ``"fasttext"``.
    :param precision: of the weights; empty for linear models.
    :param layers: of the model; 0 for linear models.
    :param latency: p50 / p50 of the whole model in fp32.
    """

    kind: str
    precision: str
    layers: int
    speed: float | None
    accuracy: float
    latency: float

    def __str__(self) -> str:
        names = {"whole": "whole model", "tfidf": "TF-IDF", "fasttext": "fastText"}
        if self.kind == "chain":
            return f"{self.precision}, speed {self.speed:g}"
        if self.kind == "shallow":
            return f"{self.precision}, {self.layers} layer{'s' if self.layers > 1 else ''}"
        return f"{self.precision}, {names[self.kind]}" if self.precision else names[self.kind]


def read_points(report: dict[str, Any]) -> list[Point]:
    """Return every system of a report at every speed.

    :param report: the document of ``report.json``; it has labels and the baseline ``onnxruntime``.
    """
    families = {one["name"]: one for one in report["families"]}
    systems, layers = report["single_stream"]["systems"], report["model"]["layers"]
    base = next(_median(one) for one in systems if one["family"] == "onnxruntime")
    points = [
        Point(
            families[one["family"]]["kind"],
            _PRECISIONS.get(families[one["family"]]["precision"], families[one["family"]]["precision"]),
            layers,
            one["speed"],
            one["accuracy"],
            _median(one) / base,
        )
        for one in systems
    ]
    for one in report["single_stream"]["rivals"]:
        linear = one["name"] in _LINEAR
        kind, precision = (one["name"], "") if linear else ("shallow", one["name"].split()[-1])
        depth = one["settings"].get("layers", 0)
        points.append(Point(kind, precision, depth, None, one["accuracy"], _median(one) / base))
    return points


def _median(one: dict[str, Any]) -> float:
    latency: dict[str, float] = one["latency_with_tokenization"]
    return latency["p50_ms"]


def system_rows(name: str, report: dict[str, Any]) -> list[str]:
    """Return a report's rows in the table of systems: one for each precision, linear models in the first.

    The chain is at the fastest speed that keeps its accuracy within the verdict's allowance of the whole model in fp32.
    """
    points = read_points(report)
    allowed = next(one.accuracy for one in points if one.kind == "whole" and one.precision == "fp32")
    allowed -= report["verdict"]["allowed_loss"] + _NO_WORSE
    rows = []
    for precision in ("fp32", "int8"):
        same = [one for one in points if one.precision == precision]
        chains = [one for one in same if one.kind == "chain" and one.accuracy >= allowed]
        shallow = {one.layers: one for one in same if one.kind == "shallow"}
        cells = [
            _cell(next((one for one in same if one.kind == "whole"), None)),
            _cell(min(chains, key=lambda one: one.latency, default=None)),
            *(_cell(shallow.get(depth)) for depth in (3, 2, 1)),
            *(_cell(next((one for one in points if one.kind == kind and not rows), None)) for kind in _LINEAR),
        ]
        title = f"{name}, {report['single_stream']['rows']} rows" if not rows else ""
        rows.append(f"| {' | '.join([title, precision, *cells])} |")
    return rows


def _cell(point: Point | None) -> str:
    return "" if point is None else f"{point.accuracy:.1%} at {point.latency:.2g}"


def best_rows(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return the rows of the table of latencies: for each, the most accurate system of each report no slower."""
    points = {name: read_points(report) for name, report in reports.items()}
    rows = []
    for latency in LATENCIES:
        best = [_best(found, latency) for found in points.values()]
        cells = ["–" if one is None else f"{one.accuracy:.1%}: {one}" for one in best]
        rows.append(f"| {' | '.join([f'{latency:g}', *cells])} |")
    return rows


def _best(points: Iterable[Point], latency: float) -> Point | None:
    """Return the most accurate point that takes at most ``latency``; of equals, the fastest."""
    found = [one for one in points if one.latency <= latency]
    return max(found, key=lambda one: (one.accuracy, -one.latency), default=None)


def tables(reports: dict[str, dict[str, Any]]) -> list[str]:
    """Return the lines of both tables, without their heads."""
    return [row for name, report in reports.items() for row in system_rows(name, report)] + best_rows(reports)


def read_reports(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Return reports by the names of their folders."""
    return {path.resolve().parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def main() -> int:
    """Print the tables of some reports."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("reports", type=Path, nargs="+", help="report.json of benches with rivals")
    print("\n".join(tables(read_reports(parser.parse_args().reports))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
