"""``fastbert bench``: load every system, run the scenarios, assemble the report."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fastbert.benchmarks.baselines import check_names, prepare_baselines
from fastbert.benchmarks.interruption import Interrupted, interruptible
from fastbert.benchmarks.machine.footprint import measure_footprint
from fastbert.benchmarks.machine.load import LoadMonitor
from fastbert.benchmarks.named_speeds import named_speed
from fastbert.benchmarks.options import BenchOptions
from fastbert.benchmarks.report.assemble import Measurements, assemble_report
from fastbert.benchmarks.report.results import BenchReport
from fastbert.benchmarks.rivals import Rival, load_rivals
from fastbert.benchmarks.scenarios import Scenario, Setup
from fastbert.benchmarks.scenarios.offline import Offline
from fastbert.benchmarks.scenarios.server import Server
from fastbert.benchmarks.scenarios.single_stream import SingleStream
from fastbert.benchmarks.systems import (
    Budget,
    ChainRunner,
    Runner,
    Skipped,
    Sources,
    SystemAtSpeed,
    chain_systems,
    variants_on,
)
from fastbert.benchmarks.workload import read_workload
from fastbert.runtime import Classifier
from fastbert.runtime.errors import FastBertError
from fastbert.runtime.hardware import usable_cores
from fastbert.runtime.manifest import Manifest, read_manifest

_log = logging.getLogger(__name__)

# In the order in which they run; the names are those of `fastbert.benchmarks.options.SCENARIOS`.
_SCENARIOS: dict[str, type[Scenario]] = {"single-stream": SingleStream, "offline": Offline, "server": Server}


def run_bench(options: BenchOptions) -> BenchReport:
    """Measure. An interrupted bench returns what it measured, as an incomplete report.

    :raises UsageError: a baseline, variant or operating point is unknown, a baseline needs a checkpoint and there is
        none, or a rival bundle has other labels.
    :raises DataError: a data file is unreadable or has too few rows for the requested percentiles.
    :raises BundleError: the bundle is missing or damaged.
    """
    check_names(options.baselines, has_checkpoint=options.checkpoint is not None)
    threads = options.threads or usable_cores()
    with _tokenizer_threads(threads), tempfile.TemporaryDirectory(prefix="fastbert-bench-") as folder:
        sources = Sources(
            options.bundle,
            options.checkpoint,
            options.device,
            Path(folder),
            options.cuda_graphs,
            options.variants[0] if options.variants else None,
        )
        manifest = read_manifest(options.bundle)
        options = _with_numbers(options, manifest)
        chains = chain_systems(sources, manifest, options.variants)
        first = chains[0].load(Budget(threads))
        assert isinstance(first, ChainRunner)
        workload = read_workload(
            options.data,
            first.classifier,
            max_rows=options.max_rows,
            seed=options.seed,
            percentiles=options.percentiles,
        )
        rivals, without = load_rivals(
            options.rivals, options.rival_bundles, manifest, device=options.device, threads=threads, seed=options.seed
        )
        baselines, skipped = prepare_baselines(options.baselines, sources)
        found = Measurements(options, threads, manifest, workload, [*chains, *baselines], [*skipped, *without])
        bench = _Bench(found, sources, first.classifier, {chains[0].name: (Budget(threads), first)}, rivals)
        monitor = LoadMonitor()
        try:
            with interruptible():
                bench.run()
        except Interrupted as stopped:
            found.interrupted_by = stopped.name
            _log.info("%s: writing what was measured", stopped.name)
        return assemble_report(found, monitor.read())


def _with_numbers(options: BenchOptions, manifest: Manifest) -> BenchOptions:
    """Return the options with the speeds of operating points in place of their names.

    Where no variant is named, those of the points are measured, and a name is the speed of its own.

    :raises UsageError: there is no such point, or it is not of every variant that was named.
    """
    names = [speed for speed in options.speeds if isinstance(speed, str)]
    if not names:
        return options
    points = manifest.operating_points
    own = {name: points[name].variant for name in names if name in points}
    chosen = variants_on(options.device, manifest, options.variants or list(dict.fromkeys(own.values())))
    speeds: dict[float, None] = {}
    for speed in options.speeds:
        tuned_on = [variant for variant in chosen if not options.variants and variant.name == own.get(str(speed))]
        speeds |= dict.fromkeys(named_speed(manifest, variant, speed) for variant in tuned_on or chosen)
    return replace(options, speeds=tuple(speeds), variants=[variant.name for variant in chosen])


class _Bench:
    """A bench in progress.

    :param found: filled in as the bench runs.
    :param classifier: its tokenizer is the one that all systems share.
    :param runners: name of a system -> the budget that it was loaded with, and its runner.
    """

    def __init__(
        self,
        found: Measurements,
        sources: Sources,
        classifier: Classifier,
        runners: dict[str, tuple[Budget, Runner]],
        rivals: Sequence[Rival],
    ) -> None:
        self._found = found
        self._sources = sources
        self._classifier = classifier
        self._runners = runners
        self._rivals = rivals

    def run(self) -> None:
        """Measure footprints, then the scenarios that were requested."""
        self._measure_footprints()
        for name, scenario_type in _SCENARIOS.items():
            if name in self._found.options.scenarios:
                self._load(scenario_type.one_thread_kinds)
                scenario = self._found.scenarios[name] = scenario_type(self._setup(name))
                scenario.run({name: runner for name, (_, runner) in self._runners.items()})

    def _measure_footprints(self) -> None:
        found = self._found
        for system in list(found.systems):
            _log.info("%s: load time and memory, in a fresh process", system.name)
            footprint, problem = measure_footprint(system, self._sources, Budget(found.threads), found.workload)
            if footprint is not None:
                found.footprints[system.name] = footprint
            elif system.kind == "chain":
                _log.warning("%s: load time and memory are not known: %s", system.name, problem)
            else:
                found.skipped.append(Skipped(system.name, problem or "it could not be loaded"))
                found.systems.remove(system)

    def _load(self, one_thread_kinds: Sequence[str]) -> None:
        """Load every system with the scenario's budget, unless it already is; skip a baseline that fails to load."""
        found = self._found
        budgets = {
            system.name: Budget(1, calls=found.threads) if system.kind in one_thread_kinds else Budget(found.threads)
            for system in found.systems
        }
        if found.threads > 1:  # free the memory first; with one thread both budgets are the same
            self._runners = {
                name: (budget, runner)
                for name, (budget, runner) in self._runners.items()
                if budget == budgets.get(name)
            }
        for system in list(found.systems):
            if system.name in self._runners:
                continue
            try:
                self._runners[system.name] = budgets[system.name], system.load(budgets[system.name])
            except FastBertError as error:
                if system.kind == "chain":
                    raise
                found.skipped.append(Skipped(system.name, str(error)))
                if not found.measured(system.name):
                    found.systems.remove(system)

    def _setup(self, scenario: str) -> Setup:
        """Return what a scenario times: everything that is loaded, at all its speeds."""
        found = self._found
        systems = [
            SystemAtSpeed(system, speed)
            for system in found.systems
            if system.name in self._runners
            for speed in system.speeds([float(speed) for speed in found.options.speeds])
        ]
        _log.info(
            "%s: %d rows, %d thread%s, %s",
            scenario, len(found.workload), found.threads, "s" if found.threads > 1 else "",
            ", ".join(one.name for one in systems),
        )  # fmt: skip
        return Setup(
            options=found.options,
            manifest=found.manifest,
            workload=found.workload,
            systems=systems,
            settings={name: dict(runner.settings) for name, (_, runner) in self._runners.items()},
            encode=self._classifier.encode,
            threads=found.threads,
            rivals=self._rivals,
        )


@contextlib.contextmanager
def _tokenizer_threads(threads: int) -> Iterator[None]:
    """Give the tokenizer the systems' threads; by default it splits a batch over all cores.

    A process makes the tokenizer's pool once, for its first batch.
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
