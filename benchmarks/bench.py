"""``fastbert bench``: load every system, run the scenarios, say what was found."""

import contextlib
import dataclasses
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastbert.benchmarks.baselines import Skipped, check_names, prepare_baselines
from fastbert.benchmarks.interruption import Interrupted, interruptible
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.footprint import measure_footprint
from fastbert.benchmarks.machine.load import LoadMonitor, MachineLoad
from fastbert.benchmarks.options import BenchOptions
from fastbert.benchmarks.report.analysis import (
    family_result,
    offline_systems,
    server_systems,
    single_stream_systems,
    verdict,
)
from fastbert.benchmarks.report.results import (
    BenchReport,
    Footprint,
    OfflineResult,
    ServerResult,
    SingleStreamResult,
    Verdict,
)
from fastbert.benchmarks.report.warnings import Evidence, find_warnings
from fastbert.benchmarks.scenarios import offline, server, single_stream
from fastbert.benchmarks.scenarios.offline import OfflineRecord, run_offline
from fastbert.benchmarks.scenarios.server import ServerRecord, run_server
from fastbert.benchmarks.scenarios.single_stream import SingleStreamRecord, run_single_stream
from fastbert.benchmarks.systems import Budget, ChainRunner, Family, Runner, Sources, chain_families
from fastbert.benchmarks.workload import Workload, read_workload
from fastbert.runtime import Classifier, Manifest
from fastbert.runtime.errors import FastBertError
from fastbert.runtime.hardware import usable_cores
from fastbert.runtime.manifest import MANIFEST, file_record, read_manifest

__all__ = ["run_bench"]

_log = logging.getLogger(__name__)
_Systems = Mapping[str, tuple[Family, float | None]]


@dataclass
class _Bench:
    """A bench under way: what is loaded, and what was measured."""

    options: BenchOptions
    threads: int
    manifest: Manifest
    workload: Workload
    classifier: Classifier
    families: list[Family]
    skipped: list[Skipped]
    runners: dict[str, Runner] = field(default_factory=dict)
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    footprints: dict[str, Footprint] = field(default_factory=dict)
    single_stream: SingleStreamRecord | None = None
    offline: OfflineRecord | None = None
    server: ServerRecord | None = None

    @property
    def systems(self) -> _Systems:
        """Name -> family and speed, of everything that is loaded."""
        return {
            family.name if speed is None else f"{family.name} speed {speed:g}": (family, speed)
            for family in self.families
            if family.name in self.runners
            for speed in family.speeds(self.options.speeds)
        }


def run_bench(options: BenchOptions) -> BenchReport:
    """Measure. An interrupted bench returns what it measured, as an incomplete report.

    :raises UsageError: unknown baseline or variant; a baseline that needs a checkpoint and has none.
    :raises DataError: the data file is unreadable or has too few rows for the percentiles asked.
    :raises BundleError: the bundle is missing or damaged.
    """
    check_names(options.baselines, has_checkpoint=options.checkpoint is not None)
    threads = options.threads or usable_cores()
    with _tokenizer_threads(threads), tempfile.TemporaryDirectory(prefix="fastbert-bench-") as folder:
        sources = Sources(options.bundle, options.checkpoint, options.device, Path(folder), options.cuda_graphs)
        manifest = read_manifest(options.bundle)
        chains = chain_families(sources, options.variants)
        first = chains[0].load(Budget(threads))
        assert isinstance(first, ChainRunner)
        workload = read_workload(
            options.data,
            first.classifier,
            max_rows=options.max_rows,
            seed=options.seed,
            percentiles=options.percentiles,
        )
        baselines, skipped = prepare_baselines(options.baselines, sources)
        bench = _Bench(
            options, threads, manifest, workload, first.classifier, [*chains, *baselines], skipped,
            runners={chains[0].name: first},
        )  # fmt: skip
        interrupted_by = None
        monitor = LoadMonitor()
        try:
            with interruptible():
                _measure(bench, sources)
        except Interrupted as stopped:
            interrupted_by = stopped.name
            _log.info("%s: writing what was measured", stopped.name)
        return _report(bench, monitor.read(), interrupted_by)


def _measure(bench: _Bench, sources: Sources) -> None:
    """Run what was asked for, in order."""
    options = bench.options
    for family in list(bench.families):
        _log.info("%s: load time and memory, in a fresh process", family.name)
        footprint, problem = measure_footprint(family, sources, Budget(bench.threads), bench.workload)
        if footprint is not None:
            bench.footprints[family.name] = footprint
        elif family.kind != "chain":
            bench.skipped.append(Skipped(family.name, problem or "it could not be loaded"))
            bench.families.remove(family)
    _load(bench, Budget(bench.threads))
    _log.info(
        "%d rows, %d thread%s, %s",
        len(bench.workload), bench.threads, "s" if bench.threads > 1 else "", ", ".join(bench.systems),
    )  # fmt: skip
    encode = bench.classifier.encode
    common: dict[str, Any] = {"max_seconds": options.max_seconds, "note": _log.info}
    if "single-stream" in options.scenarios:
        bench.single_stream = SingleStreamRecord(bench.systems)
        run_single_stream(bench.single_stream, bench.runners, bench.workload, encode, threads=bench.threads, **common)
    if "offline" in options.scenarios:
        if bench.threads > 1:  # what is fastest for many texts: workers of one thread each
            _load(bench, Budget(1, calls=bench.threads), kinds=("chain",))
        bench.offline = OfflineRecord(bench.systems)
        run_offline(
            bench.offline,
            bench.runners,
            bench.workload,
            encode,
            batch_size=options.batch_size,
            workers=bench.threads,
            **common,
        )
    if "server" in options.scenarios:
        if bench.threads > 1:
            _load(bench, Budget(1, calls=bench.threads), kinds=("chain", "whole", "early-exit"))
        bench.server = ServerRecord(bench.systems)
        run_server(
            bench.server, bench.runners, bench.workload, encode,
            rates=options.rates, workers=bench.threads, seed=options.seed, **common,
        )  # fmt: skip


def _load(bench: _Bench, budget: Budget, *, kinds: Sequence[str] = ()) -> None:
    """Load every family that is not, and those of ``kinds`` again; a baseline that cannot be is skipped."""
    for family in bench.families:
        if family.kind in kinds:
            bench.runners.pop(family.name, None)
    for family in list(bench.families):
        try:
            if family.name not in bench.runners:
                bench.runners[family.name] = family.load(budget)
        except FastBertError as error:
            if family.kind == "chain":
                raise
            bench.skipped.append(Skipped(family.name, str(error)))
            bench.families.remove(family)
            continue
        bench.settings.setdefault(family.name, dict(bench.runners[family.name].settings))


def _report(bench: _Bench, load: MachineLoad, interrupted_by: str | None) -> BenchReport:
    options, record = bench.options, bench.single_stream
    usable = record if record is not None and record.rows else None
    report = BenchReport(
        status="incomplete" if interrupted_by else "complete",
        interrupted_by=interrupted_by,
        verdict=Verdict("", None, None, None, None, 0.0),
        model={
            "layers": bench.manifest.layers,
            "hidden_size": bench.manifest.hidden_size,
            "exits": list(bench.manifest.exits),
            "labels": list(bench.manifest.labels),
            "max_length": bench.manifest.max_length,
            "bundle": "/".join(options.bundle.absolute().parts[-2:]),
            "bundle_sha256": file_record(options.bundle / MANIFEST)["sha256"],
        },
        method={
            "scenarios": list(options.scenarios),
            "device": options.device,
            "threads": bench.threads,
            "threads_spin_after_a_run_us": 40 if options.device == "cpu" else None,
            "data": options.data.name,
            "data_sha256": file_record(options.data)["sha256"],
            "rows_in_file": bench.workload.available,
            "rows_drawn": len(bench.workload),
            "row_order": "drawn without replacement by the seed; the same for every system",
            "seed": options.seed,
            "labelled": bench.workload.labels is not None,
            "tokens_mean": float(bench.workload.lengths.mean()),
            "tokens_p50": float(np.median(bench.workload.lengths)),
            "tokens_max": int(bench.workload.lengths.max()),
            "tokenization": "the bundle's tokenizer, the same for every system",
            "memory_and_load": "one engine in a fresh process, its longest rows at full depth",
        },
        environment={**describe_environment(options.device), "load": dataclasses.asdict(load)},
        families=tuple(
            family_result(
                family, bench.families, usable,
                settings=bench.settings.get(family.name, {}),
                footprint=bench.footprints.get(family.name),
            )
            for family in bench.families
        ),
        skipped=tuple(bench.skipped),
        warnings=(),
        single_stream=None if usable is None else _single_stream(bench, usable),
        offline=_offline(bench),
        server=_server(bench),
    )  # fmt: skip
    noise, drift = _noise_and_drift(usable)
    warnings = find_warnings(Evidence(report, load, bench.workload.truncated, noise, drift))
    return dataclasses.replace(report, verdict=verdict(report), warnings=warnings)


def _single_stream(bench: _Bench, record: SingleStreamRecord) -> SingleStreamResult:
    return SingleStreamResult(
        timed=single_stream.TIMED,
        stop_rule=single_stream.STOP_RULE,
        threads=bench.threads,
        rows=record.rows,
        passes=record.passes,
        window_spread=record.window_spread(),
        stopped=record.stopped,
        elapsed_s=record.elapsed_s,
        systems=single_stream_systems(record, bench.families, bench.workload, bench.manifest),
    )


def _offline(bench: _Bench) -> OfflineResult | None:
    record = bench.offline
    if record is None or not record.passes:
        return None
    return OfflineResult(
        timed=offline.TIMED,
        stop_rule=offline.STOP_RULE,
        threads=bench.threads,
        batch_size=bench.options.batch_size,
        rows=record.rows,
        passes=record.passes,
        window_spread=record.window_spread(),
        stopped=record.stopped,
        elapsed_s=record.elapsed_s,
        systems=offline_systems(record),
    )


def _server(bench: _Bench) -> ServerResult | None:
    record = bench.server
    if record is None or not record.points:
        return None
    return ServerResult(
        timed=server.TIMED,
        stop_rule=server.STOP_RULE,
        workers=bench.threads,
        threads=bench.threads,
        rates_per_s=tuple(record.rates),
        rates_from=record.rates_from,
        seconds_per_point=record.seconds_per_point,
        stopped=record.stopped,
        elapsed_s=record.elapsed_s,
        systems=server_systems(record),
    )


def _noise_and_drift(record: SingleStreamRecord | None) -> tuple[float | None, float | None]:
    """Return the coefficient of variation of repeated calls, and the change from the first to the last whole pass."""
    if record is None:
        return None, None
    noises, drifts = [], []
    for passes in record.model_ms.values():
        whole = np.array([one for one in passes if len(one) == record.rows])
        if len(whole) < 2:
            return None, None
        noises.append(np.median(whole.std(axis=0, ddof=1) / whole.mean(axis=0)))
        drifts.append(np.median(whole[-1] / whole[0]) - 1)
    return float(np.median(noises)), float(max(drifts, key=abs))


@contextlib.contextmanager
def _tokenizer_threads(threads: int) -> Iterator[None]:
    """Give the tokenizer the systems' threads: it splits a batch over all cores unless told otherwise.

    Its pool is made once in a process, by the first batch.
    """
    wanted = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false" if threads == 1 else "true"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
