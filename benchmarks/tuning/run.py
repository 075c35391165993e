"""``fastbert tune``: from a target to a speed, with what it costs, and a guarantee where one is asked for.

A third of the rows measures and has no part in the choice. With a guarantee, the others certify: the speeds and their
order are fixed beforehand, so no rows are spent on choosing what to test (`fastbert.benchmarks.statistics.guarantees`).
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastbert.benchmarks.tuning.advice import advice
from fastbert.benchmarks.tuning.exits import exit_answers
from fastbert.benchmarks.tuning.options import TuneOptions
from fastbert.benchmarks.tuning.publish import require_writable_bundle, write_point
from fastbert.benchmarks.tuning.report import ReplacedPoint, TuneReport, contradicts, measure
from fastbert.benchmarks.tuning.rows import (
    DataRows,
    few_rows_warning,
    read_data,
    require_others,
    shared_rows_warning,
    split,
    warnings_about,
)
from fastbert.benchmarks.tuning.search import choose, fewest_rows
from fastbert.benchmarks.tuning.single_rows import MAX_ROWS, Timer, row_timer, strictest_within
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.data import Row
from fastbert.data.row_counts import count_rows
from fastbert.runtime import Classifier
from fastbert.runtime.errors import DataError
from fastbert.runtime.hardware import usable_cores
from fastbert.runtime.manifest import Manifest, Variant, read_manifest
from fastbert.runtime.operating_points import variant_digest


def tune(bundle: Path, options: TuneOptions) -> TuneReport:
    """Find the speed for a target.

    Every exit runs once on every row; the results are kept in the bundle for the next call with the same file.

    :returns: what was found. If no speed reaches the target, ``reached`` is false and nothing is written.
    :raises UsageError: the bundle has no such variant; ``name`` is given and the bundle cannot be written; ``test`` is
        ``data``.
    :raises DataError: the rows cannot be read, lack labels that the target needs, or are too few for the guarantee.
    :raises BundleError: the bundle is missing or damaged, or was replaced meanwhile.
    :raises EngineError: the engine cannot run here.
    """
    manifest = read_manifest(bundle)
    variant = manifest.variant_for(options.device, options.variant)
    if options.name is not None:
        require_writable_bundle(bundle)
    return _Tuning(bundle, options, manifest, variant).run()


class _Tuning:
    def __init__(self, bundle: Path, options: TuneOptions, manifest: Manifest, variant: Variant) -> None:
        self._bundle, self._options, self._manifest, self._variant = bundle, options, manifest, variant
        self._target = options.target
        self._computed = False
        self._problem: str | None = None
        self._classifier: Classifier | None = None  # for timing

    def run(self) -> TuneReport:
        options, target = self._options, self._target
        data = self._read(options.data)
        needed = fewest_rows(target)
        if len(data.rows) < needed:
            raise DataError(
                f"{data.path} has {count_rows(len(data.rows))}; a guarantee to {target.words} with a confidence of "
                f"{options.confidence:g} needs at least {needed}, and more than that to gain much. Name a file with "
                "more rows, or ask for less."
            )
        test = None if options.test is None else self._read(options.test)
        if test is not None:
            require_others(test, data)
        least = needed if test is None else len(data.rows)  # with other rows to measure on, all of these decide
        decide, rest = split(len(data.rows), needed=least, seed=options.seed)
        everything = self._answers(data)
        deciding = everything.part(decide)
        if test is not None:
            measuring, measured_rows = self._answers(test), test.rows
        else:
            drawn = decide if rest is None else rest
            measuring, measured_rows = everything.part(drawn), [data.rows[index] for index in drawn]
        timed: dict[float, float] = {}
        if target.kind.figure is None:
            choice = strictest_within(target, deciding, self._timer([data.rows[index] for index in decide[:MAX_ROWS]]))
            timed = self._timer(measured_rows[:MAX_ROWS])(list(dict.fromkeys([0.0, choice.speed])))
            figure = timed[choice.speed]
        else:
            choice = choose(deciding, target)
            figure = target.kind.figure(measuring, choice.speed)
        apart = test is not None or rest is not None
        contradicted = apart and choice.guarantee is not None and contradicts(measuring, choice.speed, target)
        report = TuneReport(
            bundle=self._bundle,
            variant=self._variant.name,
            uncertainty=self._manifest.uncertainty,
            data=data.path,
            data_sha256=data.sha256,
            target=self._target_record(),
            words=target.words,
            confidence=target.confidence,
            reached=choice.reached,
            rows=len(data.rows),
            deciding_rows=len(deciding),
            measuring_rows=len(measuring),
            measured_apart=apart,
            met_when_measured=target.is_met(figure),
            chosen=measure(measuring, choice.speed, timed.get(choice.speed)),
            full_depth=measure(measuring, 0.0, timed.get(0.0)),
            guarantee=choice.guarantee,
            other_measure=advice(self._bundle, self._manifest, deciding, measuring, target, choice),
            computed=self._computed,
            kept_problem=self._problem,
            contradicted=contradicted,
            warnings=self._warnings(data, test, len(deciding), contradicted=contradicted),
        )
        return self._written(report) if options.name is not None and choice.reached else report

    def _warnings(self, data: DataRows, test: DataRows | None, deciding: int, *, contradicted: bool) -> tuple[str, ...]:
        found = [few_rows_warning(deciding, self._target)]
        if contradicted:
            found.append(
                f"The rows of {(test or data).path} that measured miss the guaranteed target by more than chance "
                "would. They seem to be of another kind than those that decided, and the guarantee does not hold for "
                "such rows."
            )
        if test is not None:
            found.append(shared_rows_warning(test, data))
        for file in (data, test):
            found += [] if file is None else warnings_about(file, self._bundle, self._manifest)
        return tuple(warning for warning in found if warning is not None)

    def _read(self, path: Path) -> DataRows:
        labels = self._target.kind.labels
        return read_data(path, self._manifest, needs_labels=labels, ignore_labels=self._options.ignore_labels)

    def _answers(self, data: DataRows) -> Rows:
        options = self._options
        kept = exit_answers(
            self._bundle,
            self._manifest,
            self._variant,
            data.rows,
            data.sha256,
            device=options.device,
            threads=options.threads,
        )
        self._computed |= kept.computed
        self._problem = kept.problem or self._problem
        return Rows(kept.exits, data.labels, self._manifest.exits)

    def _timer(self, rows: Sequence[Row]) -> Timer:
        options = self._options
        if self._classifier is None:
            self._classifier = Classifier.load(
                self._bundle, device=options.device, variant=self._variant.name, threads=options.threads
            )
        return row_timer(self._classifier, [row.text_input for row in rows], rest=self._threads != 1)

    @property
    def _threads(self) -> int:
        return self._options.threads or usable_cores()

    def _target_record(self) -> dict[str, Any]:
        record: dict[str, Any] = {"kind": self._target.kind.name, "value": self._target.value}
        return {**record, "threads": self._threads} if self._target.kind.figure is None else record

    def _written(self, report: TuneReport) -> TuneReport:
        name = self._options.name
        assert name is not None
        record = {
            "speed": report.chosen.speed,
            "variant": self._variant.name,
            "variant_sha256": variant_digest(self._manifest, self._variant),
            "target": report.target,
            "rows": {"count": report.rows, "sha256": report.data_sha256},
            "guarantee": None if report.guarantee is None else asdict(report.guarantee),
            "measured": _measured_record(report),
        }
        before = write_point(self._bundle, name, record)
        replaced = None if before is None else ReplacedPoint(before.speed, before.variant)
        return replace(report, written=name, written_flags=self._flags(name), replaced=replaced)

    def _flags(self, name: str) -> str:
        device, variant = self._options.device, self._variant.name
        flags = [f"--speed {name}"]
        flags += [] if device == "cpu" else [f"--device {device}"]
        flags += [] if self._manifest.variant_for(device).name == variant else [f"--variant {variant}"]
        return " ".join(flags)


def _measured_record(report: TuneReport) -> dict[str, Any]:
    return {
        "rows": report.measuring_rows,
        "apart": report.measured_apart,
        **{name: value for name, value in asdict(report.chosen).items() if value is not None and name != "speed"},
    }
