"""From records to results: speed-ups, efficiency, overhead, break-even."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score

from fastbert.benchmarks.latency import quartiles, summarize
from fastbert.benchmarks.report.results import (
    BenchReport,
    ExitLatency,
    FamilyResult,
    Footprint,
    OfflineSystem,
    ServerSystem,
    SystemResult,
    Verdict,
)
from fastbert.benchmarks.scenarios.offline import OfflineRecord
from fastbert.benchmarks.scenarios.server import ServerRecord
from fastbert.benchmarks.scenarios.single_stream import SingleStreamRecord
from fastbert.benchmarks.systems import Family
from fastbert.benchmarks.workload import Workload
from fastbert.flops import flops_by_exit, full_model_flops
from fastbert.runtime import Manifest

__all__ = [
    "ALLOWED_LOSS",
    "break_even_layers",
    "family_result",
    "offline_systems",
    "reference_for",
    "server_systems",
    "single_stream_systems",
    "verdict",
]

ALLOWED_LOSS = 0.005  # of accuracy, that the verdict's operating point may lose against the whole model


def reference_for(family: Family, families: Sequence[Family]) -> Family | None:
    """Return the whole model that a family's speed-ups are against.

    The first whole-model baseline of its precision; if there is none, the first whole-model baseline; a whole model
    itself has none.
    """
    whole = [other for other in families if other.kind == "whole"]
    if family.kind == "whole" or not whole:
        return None
    return next((other for other in whole if other.precision == family.precision), whole[0])


def break_even_layers(layers: NDArray[np.float64], ratios: NDArray[np.float64]) -> float | None:
    """Return where the least-squares line through (layers run, time / whole model's time) reaches 1.

    Ratios are of the same row, so that a row's length, which goes with its depth, cancels out.

    :param layers: float64 [samples]; ``ratios`` likewise.
    :returns: None where all samples ran the same layers, or time does not grow with layers.
    """
    if len(set(layers.tolist())) < 2:
        return None
    slope, constant = np.polyfit(layers, ratios, 1)
    return float((1 - constant) / slope) if slope > 0 else None


def attainable_speedup(whole_ms: NDArray[np.float64], layers: NDArray[np.int64], count: int) -> float:
    """Return the speed-up of a chain whose exits and calls cost nothing: each row takes its share of the whole model.

    It is below layer_speedup where the rows that take long, the long ones, leave late.

    :param whole_ms: float64 [samples], the whole model's latency of each row.
    :param layers: int64 [samples], layers run.
    :param count: layers of the model.
    """
    return float(whole_ms.sum() / (whole_ms * layers / count).sum())


def family_result(
    family: Family,
    families: Sequence[Family],
    record: SingleStreamRecord | None,
    *,
    settings: Mapping[str, Any],
    footprint: Footprint | None,
) -> FamilyResult:
    """Return what is known of an engine over all its speeds."""
    reference = reference_for(family, families)
    overhead = break_even = None
    boxes: list[ExitLatency] = []
    if record is not None and record.rows:
        own = [name for name, (other, _) in record.systems.items() if other.name == family.name]
        layers = np.concatenate([np.array(record.layers[name]) for name in own])
        times = np.concatenate([record.by_row(name) for name in own])
        if family.kind != "whole":
            boxes = [ExitLatency(int(run) - 1, quartiles(times[layers == run])) for run in sorted(set(layers.tolist()))]
        if reference is not None:
            base = record.by_row(reference.name)
            break_even = break_even_layers(layers.astype(np.float64), times / np.tile(base, len(own)))
            full = [name for name in own if record.systems[name][1] == 0.0]
            if full:
                overhead = float(np.median(record.by_row(full[0]) / base)) - 1
    return FamilyResult(
        name=family.name,
        title=family.title,
        kind=family.kind,
        precision=family.precision,
        settings=dict(settings),
        footprint=footprint,
        reference=reference.name if reference else None,
        same_precision=reference.precision == family.precision if reference else None,
        overhead_at_speed_0=overhead,
        break_even_layers=break_even,
        exit_latency=tuple(boxes),
    )


def single_stream_systems(
    record: SingleStreamRecord, families: Sequence[Family], workload: Workload, manifest: Manifest
) -> tuple[SystemResult, ...]:
    """Return a result for each system of a record that has at least one turn."""
    lengths = workload.lengths[: record.rows]
    labels = None if workload.labels is None else workload.labels[: record.rows]
    full = full_model_flops(manifest.flops, manifest.layers, lengths)
    by_exit = flops_by_exit(manifest.flops, manifest.exits, lengths)
    position = {layer + 1: index for index, layer in enumerate(manifest.exits)}
    times = {name: np.concatenate(record.model_ms[name]) for name in record.systems}
    whole = [name for name, (family, _) in record.systems.items() if family.kind == "whole"]
    found = []
    for name, (family, speed) in record.systems.items():
        layers, predicted = np.array(record.layers[name]), np.array(record.labels[name])
        mean_layers = float(layers.mean())
        reference = reference_for(family, families)
        measured = float(times[reference.name].mean() / times[name].mean()) if reference else None
        flops = None
        if family.kind != "whole":
            flops = by_exit[np.arange(len(layers)), [position[int(run)] for run in layers]]
        by_row = record.by_row(name)
        runs = sorted(set(layers.tolist()))
        found.append(
            SystemResult(
                name=name,
                family=family.name,
                speed=speed,
                latency=summarize(times[name], rows=record.rows),
                latency_with_tokenization=summarize(np.concatenate(record.total_ms[name]), rows=record.rows),
                accuracy=None if labels is None else float(accuracy_score(labels, predicted)),
                macro_f1=None
                if labels is None
                else float(f1_score(labels, predicted, average="macro", labels=sorted(set(labels.tolist())))),
                mean_layers=mean_layers,
                exit_histogram={str(layer): int((layers == layer + 1).sum()) for layer in manifest.exits}
                if family.kind != "whole"
                else {},
                exit_mean_ms={str(run - 1): float(by_row[layers == run].mean()) for run in runs}
                if family.kind != "whole"
                else {},
                flops_speedup=None if flops is None else float(full.mean() / flops.mean()),
                layer_speedup=manifest.layers / mean_layers,
                attainable_speedup=attainable_speedup(record.by_row(reference.name), layers, manifest.layers)
                if reference
                else None,
                measured_speedup=measured,
                efficiency=None if measured is None else measured / (manifest.layers / mean_layers),
                times_faster={base: float(times[base].mean() / times[name].mean()) for base in whole if base != name},
                times_faster_p50={
                    base: float(np.median(times[base]) / np.median(times[name])) for base in whole if base != name
                },
            )
        )
    return tuple(found)


def offline_systems(record: OfflineRecord) -> tuple[OfflineSystem, ...]:
    """Return a result for each system of a record that has at least one pass."""
    median = {name: float(np.median(seconds)) for name, seconds in record.seconds.items()}
    tokenization = float(np.median(record.tokenization_s))
    whole = [name for name, (family, _) in record.systems.items() if family.kind == "whole"]
    return tuple(
        OfflineSystem(
            name=name,
            family=family.name,
            speed=speed,
            rows_per_s=record.rows / median[name],
            rows_per_s_without_tokenization=record.rows / (median[name] - tokenization)
            if median[name] > tokenization
            else None,
            mean_layers=record.mean_layers[name],
            times_faster={base: median[base] / median[name] for base in whole if base != name},
        )
        for name, (family, speed) in record.systems.items()
    )


def server_systems(record: ServerRecord) -> tuple[ServerSystem, ...]:
    """Return the points of each system that has some."""
    return tuple(
        ServerSystem(name, family.name, speed, tuple(record.points[name]))
        for name, (family, speed) in record.systems.items()
        if record.points.get(name)
    )


def verdict(report: BenchReport) -> Verdict:
    """Say the bench in a sentence: the fastest chain that loses at most `ALLOWED_LOSS` of accuracy.

    Against the first whole-model baseline; its accuracy is the reference, or the chain's own at speed 0.
    """
    found = report.single_stream
    if found is None or not found.systems:
        return Verdict("No latency was measured.", None, None, None, None, ALLOWED_LOSS)
    kinds = {family.name: family.kind for family in report.families}
    titles = {family.name: family.title for family in report.families}
    chains = [system for system in found.systems if kinds[system.family] == "chain"]
    whole = [system for system in found.systems if kinds[system.family] == "whole"]
    full = [*whole, *(system for system in chains if system.speed == 0.0)]
    base = full[0] if full else None
    good = [
        system
        for system in chains
        if base is None
        or system.accuracy is None
        or base.accuracy is None
        or system.accuracy >= base.accuracy - ALLOWED_LOSS
    ]
    if not good:
        best = min(chains, key=lambda system: -(system.accuracy or 0.0))
        loss = 100 * ((base.accuracy if base else 0.0) or 0.0) - 100 * (best.accuracy or 0.0)
        text = (
            f"No speed that was measured keeps the whole model's accuracy within {100 * ALLOWED_LOSS:g} points: the "
            f"closest, {titles[best.family]} at speed {best.speed:g}, loses {loss:.1f}."
        )
        return Verdict(text, None, base.name if base else None, None, None, ALLOWED_LOSS)
    best = min(good, key=lambda system: system.latency.mean_ms)
    where = f"At speed {best.speed:g} {titles[best.family]}"
    times = best.times_faster.get(base.name) if base else None
    if base is None or times is None or base is best:
        text = f"{where} takes {best.latency.mean_ms:.2f} ms a text on average."
        return Verdict(text, best.name, None, None, None, ALLOWED_LOSS)
    change = None if best.accuracy is None or base.accuracy is None else best.accuracy - base.accuracy
    accuracy = "; the file has no labels, so accuracy is not known"
    if change is not None:
        points = f"{100 * change:+.1f}".replace("-", "−")
        accuracy = f", accuracy {points} points ({100 * (best.accuracy or 0):.1f} % of {found.rows} rows)"
    named = titles[base.family].replace("whole model, ", "whole model in ")
    faster = f"{times:.1f} times faster than" if times >= 1 else f"{1 / times:.1f} times slower than"
    text = (
        f"{where} is {faster} the {named}, on average{accuracy}. "
        f"It runs {best.mean_layers:.1f} of {report.model['layers']} layers."
    )
    return Verdict(text, best.name, base.name, times, change, ALLOWED_LOSS)
