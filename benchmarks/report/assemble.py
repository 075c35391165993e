"""From measurements to a report."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from fastbert.benchmarks.latency import quartiles
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.footprint import Footprint
from fastbert.benchmarks.machine.load import MachineLoad
from fastbert.benchmarks.options import BenchOptions
from fastbert.benchmarks.report.results import BenchReport, ExitLatency, SystemResult, Verdict
from fastbert.benchmarks.report.verdict import verdict
from fastbert.benchmarks.report.warnings import Evidence, find_warnings
from fastbert.benchmarks.scenarios import Scenario
from fastbert.benchmarks.scenarios.offline import Offline
from fastbert.benchmarks.scenarios.server import Server
from fastbert.benchmarks.scenarios.single_stream import SingleStream
from fastbert.benchmarks.speedups import break_even_layers
from fastbert.benchmarks.systems import Skipped, System, reference_for
from fastbert.benchmarks.workload import Workload
from fastbert.data import read_rows
from fastbert.runtime import Manifest
from fastbert.runtime.manifest import MANIFEST, file_record
from fastbert.runtime.tokenization import TextInput

_S = TypeVar("_S", bound=Scenario)


@dataclass
class Measurements:
    """What a bench measured, filled in as it runs.

    :param systems: loaded or still to load; those that fail to load are removed.
    :param footprints: by name of the system.
    :param scenarios: by name of the scenario, once it has started.
    :param interrupted_by: name of the signal that stopped the bench.
    """

    options: BenchOptions
    threads: int
    manifest: Manifest
    workload: Workload
    systems: list[System]
    skipped: list[Skipped]
    footprints: dict[str, Footprint] = field(default_factory=dict)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    interrupted_by: str | None = None

    def settings(self, system: str) -> Mapping[str, Any]:
        """Return what a system's engine reported about itself in the first scenario that it ran in."""
        for scenario in self.scenarios.values():
            if system in scenario.setup.settings:
                return scenario.setup.settings[system]
        return {}

    def measured(self, system: str) -> bool:
        """Return whether a system ran in a scenario."""
        return any(system in scenario.setup.settings for scenario in self.scenarios.values())

    def scenario(self, kind: type[_S]) -> _S | None:
        """Return the scenario of a class, if it has started."""
        return next((one for one in self.scenarios.values() if isinstance(one, kind)), None)


def assemble_report(found: Measurements, load: MachineLoad) -> BenchReport:
    """Return the report, with its verdict and warnings.

    :param load: the machine's load during the measurements.
    """
    stream, offline, server = found.scenario(SingleStream), found.scenario(Offline), found.scenario(Server)
    if stream is not None and not stream.rows:
        stream = None
    report = BenchReport(
        status="incomplete" if found.interrupted_by else "complete",
        interrupted_by=found.interrupted_by,
        verdict=Verdict("", None, None, None, None, 0.0),
        model=_model(found),
        method=_method(found, 0 if stream is None else stream.rows),
        environment={**describe_environment(found.options.device), "load": dataclasses.asdict(load)},
        families=tuple(_system_result(system, found, stream) for system in found.systems),
        skipped=tuple(found.skipped),
        warnings=(),
        single_stream=None if stream is None else stream.result(),
        offline=None if offline is None else offline.result(),
        server=None if server is None else server.result(),
    )
    noise, drift = (None, None) if stream is None else (stream.noise(), stream.drift())
    report = dataclasses.replace(report, verdict=verdict(report))
    warnings = find_warnings(Evidence(report, load, found.workload.truncated, noise, drift))
    return dataclasses.replace(report, warnings=warnings)


def _model(found: Measurements) -> dict[str, Any]:
    manifest, bundle = found.manifest, found.options.bundle
    return {
        "layers": manifest.layers,
        "hidden_size": manifest.hidden_size,
        "exits": list(manifest.exits),
        "uncertainty": manifest.uncertainty,
        "labels": list(manifest.labels),
        "max_length": manifest.max_length,
        "bundle": "/".join(bundle.absolute().parts[-2:]),
        "bundle_sha256": file_record(bundle / MANIFEST)["sha256"],
    }


def _method(found: Measurements, timed: int) -> dict[str, Any]:
    options, workload = found.options, found.workload
    return {
        "scenarios": list(options.scenarios),
        "device": options.device,
        "threads": found.threads,
        "data": options.data.name,
        "data_sha256": file_record(options.data)["sha256"],
        "rivals": None if options.rivals is None else options.rivals.name,
        "rivals_timed_rows": _seen_by_rivals(options, workload.texts[:timed]),
        "rivals_sha256": None if options.rivals is None else file_record(options.rivals)["sha256"],
        "rows_in_file": workload.available,
        "rows_drawn": len(workload),
        "row_order": "drawn without replacement by the seed; the same for every system",
        "seed": options.seed,
        "labelled": workload.labels is not None,
        "tokens_mean": float(workload.lengths.mean()),
        "tokens_p50": float(np.median(workload.lengths)),
        "tokens_max": int(workload.lengths.max()),
        "tokenization": "the bundle's tokenizer, the same for every system",
        "memory_and_load": "one engine in a fresh process, its longest rows at full depth",
    }


def _seen_by_rivals(options: BenchOptions, timed: Sequence[TextInput]) -> int | None:
    """Return how many of the timed texts the linear models were trained on; None: there are none of these models."""
    if options.rivals is None:
        return None
    seen = {row.text_input for row in read_rows(options.rivals, require_label=True)}
    return sum(text in seen for text in timed)


def _system_result(system: System, found: Measurements, stream: SingleStream | None) -> SystemResult:
    """Return what was measured of a system over all its speeds."""
    reference = reference_for(system, found.systems)
    overhead = break_even = None
    boxes: list[ExitLatency] = []
    own = [] if stream is None else [one for one in stream.setup.systems if one.system.name == system.name]
    if stream is not None and own:
        layers = np.concatenate([np.array(stream.layers[one.name]) for one in own])
        times = np.concatenate([stream.row_ms(one.name) for one in own])
        if system.kind != "whole":
            boxes = [ExitLatency(int(run) - 1, quartiles(times[layers == run])) for run in sorted(set(layers.tolist()))]
        # in another precision, both would count what the precision saves
        if reference is not None and reference.precision == system.precision and reference.name in stream.layers:
            base = stream.row_ms(reference.name)
            break_even = break_even_layers(layers.astype(np.float64), times / np.tile(base, len(own)))
            full = [one.name for one in own if one.speed == 0.0]
            if full:
                overhead = float(np.median(stream.row_ms(full[0]) / base)) - 1
    return SystemResult(
        name=system.name,
        title=system.title,
        kind=system.kind,
        precision=system.precision,
        settings=found.settings(system.name),
        footprint=found.footprints.get(system.name),
        reference=reference.name if reference else None,
        same_precision=reference.precision == system.precision if reference else None,
        overhead_at_speed_0=overhead,
        break_even_layers=break_even,
        exit_latency=tuple(boxes),
    )
