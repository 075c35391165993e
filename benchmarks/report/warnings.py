"""Warnings of a report. Each check is an entry of `CHECKS`; its name is the warning's code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fastbert.benchmarks.classes import mix_note
from fastbert.benchmarks.latency import PERCENTILES, samples_needed
from fastbert.benchmarks.machine.load import MachineLoad
from fastbert.benchmarks.report.results import BenchReport, BenchWarning
from fastbert.benchmarks.scenarios import offline, single_stream
from fastbert.benchmarks.statistics.binomial import wilson_interval
from fastbert.runtime.hardware import usable_cores

_OTHER_LOAD, _STOLEN, _CLOCK_S, _DRIFT = 0.05, 0.02, 0.05, 0.10
_ACCURACY = 0.03  # half of the 95 % interval


@dataclass(frozen=True)
class Evidence:
    """What the checks read.

    :param truncated: rows that were cut to the bundle's ``max_length``.
    :param noise: see `fastbert.benchmarks.scenarios.single_stream.SingleStream`; ``drift`` as well.
    """

    report: BenchReport
    load: MachineLoad
    truncated: int
    noise: float | None
    drift: float | None


def find_warnings(evidence: Evidence) -> tuple[BenchWarning, ...]:
    """Run every check."""
    return tuple(BenchWarning(code, message) for code, check in CHECKS.items() for message in check(evidence))


def _incomplete(evidence: Evidence) -> Iterator[str]:
    if evidence.report.status != "complete":
        yield f"{evidence.report.interrupted_by} stopped the bench: the report has what was measured until then."


def _unstable(evidence: Evidence) -> Iterator[str]:
    found, batch = evidence.report.single_stream, evidence.report.offline
    if found and found.window_spread is not None and found.window_spread > single_stream.SPREAD:
        yield (
            f"single-stream: medians of the last two passes differ by {100 * found.window_spread:.0f} %, more than "
            f"{100 * single_stream.SPREAD:.0f} %. Measure on a quiet machine, or for longer."
        )
    if evidence.noise is not None and evidence.noise > 0.10:
        yield (
            f"single-stream: calls on the same row vary by {100 * evidence.noise:.0f} % (coefficient of variation); "
            "the tails come from the machine, not from the model."
        )
    if batch and batch.window_spread is not None and batch.window_spread > offline.SPREAD:
        yield f"offline: the last two passes differ by {100 * batch.window_spread:.0f} %."


def _stopped_by_time(evidence: Evidence) -> Iterator[str]:
    found = evidence.report.single_stream
    if found and found.stopped == "time":
        part = "less than one pass" if found.passes <= 1 else f"{found.passes:.1f} passes"
        yield f"single-stream reached its time limit after {part} over {found.rows} rows; raise `max_seconds`."


def _too_few_samples(evidence: Evidence) -> Iterator[str]:
    found, server = evidence.report.single_stream, evidence.report.server
    if found:
        missing = [p for p in PERCENTILES if found.rows < samples_needed(p)]
        if missing:
            names = ", ".join(f"p{p}" for p in missing)
            yield f"{found.rows} rows are too few for {names}, not reported: {samples_needed(missing[-1])} are needed."
        known = [system.accuracy for system in found.systems if system.accuracy is not None]
        if known:
            half_width = max((high - low) / 2 for low, high in (wilson_interval(share, found.rows) for share in known))
            if half_width > _ACCURACY:
                yield (
                    f"{found.rows} rows give accuracy only to within {100 * half_width:.1f} points (95 % interval): "
                    "small differences between speeds may be chance."
                )
    if server:
        counts = [point.completed for system in server.systems for point in system.points if not point.saturated]
        missing = [p for p in PERCENTILES if counts and min(counts) < samples_needed(p)]
        if missing:
            names = ", ".join(f"p{p}" for p in missing)
            yield f"server: some points have {min(counts)} requests, too few for {names}: not reported there."


def _saturated(evidence: Evidence) -> Iterator[str]:
    server = evidence.report.server
    for number, rate in enumerate(server.rates_per_s if server else ()):
        systems = [system for system in server.systems if len(system.points) > number] if server else []
        over = [system.name for system in systems if system.points[number].saturated]
        if over:
            names = "every system" if len(over) == len(systems) > 1 else ", ".join(over)
            yield f"server: saturated at {rate:g} rows/s: {names}."


def _provider_fallback(evidence: Evidence) -> Iterator[str]:
    for system in evidence.report.families:
        asked, used = system.settings.get("provider_asked"), system.settings.get("provider")
        if asked != used:
            yield f"{system.name} was asked to run on {asked} and runs on {used}."


def _other_load(evidence: Evidence) -> Iterator[str]:
    load = evidence.load
    if load.other_share > _OTHER_LOAD:
        yield (
            f"Other programs used {100 * load.other_share:.0f} % of the processor during the bench"
            + ("" if load.load_average is None else f" (load average before: {load.load_average:.1f})")
            + ". All systems took turns and were affected equally, but absolute times are too long."
        )
    if load.stolen_share > _STOLEN:
        yield f"{100 * load.stolen_share:.0f} % of CPU time was stolen by the hypervisor."


def _clock(evidence: Evidence) -> Iterator[str]:
    step = evidence.load.clock_step_s
    if abs(step) > _CLOCK_S:
        yield f"The system's clock was set during the bench, by {step:+.2f} s; times are from the monotonic clock."


def _drift(evidence: Evidence) -> Iterator[str]:
    if evidence.drift is not None and abs(evidence.drift) > _DRIFT:
        slower = "slower" if evidence.drift > 0 else "faster"
        yield f"The machine became {100 * abs(evidence.drift):.0f} % {slower} from the first pass to the last."


def _threads(evidence: Evidence) -> Iterator[str]:
    threads = evidence.report.method["threads"]
    if threads > usable_cores():
        yield f"Systems have {threads} threads, but this process may use only {usable_cores()} cores."


def _truncated(evidence: Evidence) -> Iterator[str]:
    if evidence.truncated:
        longest = evidence.report.model["max_length"]
        yield f"{evidence.truncated} rows are longer than the {longest} tokens that the bundle reads, and were cut."


def _other_precision(evidence: Evidence) -> Iterator[str]:
    for system in evidence.report.families:
        if system.same_precision is False:
            yield (
                f"{system.name} ({system.precision}) is compared with {system.reference}, which has another precision: "
                "its speed-up includes the effect of the precision. Efficiency, overhead and break-even are not shown: "
                "they need a whole model in the same precision."
            )


def _rivals_saw_rows(evidence: Evidence) -> Iterator[str]:
    seen = evidence.report.method.get("rivals_timed_rows")
    if seen:
        yield (
            f"{seen} of the timed rows are also in {evidence.report.method['rivals']}, which the linear rivals were "
            "trained on: their accuracy may be too high."
        )


def _class_mix(evidence: Evidence) -> Iterator[str]:
    found, best = evidence.report.single_stream, evidence.report.verdict.system
    for system in found.systems if found else ():
        note = mix_note(system.classes) if system.name == best else None
        if note:
            yield f"At {system.name}, {note}"


def _skipped(evidence: Evidence) -> Iterator[str]:
    for skipped in evidence.report.skipped:
        yield f"{skipped.name} was not measured: {skipped.reason.rstrip('.')}."


CHECKS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "incomplete": _incomplete,
    "skipped": _skipped,
    "unstable": _unstable,
    "stopped_by_time": _stopped_by_time,
    "too_few_samples": _too_few_samples,
    "saturated": _saturated,
    "provider_fallback": _provider_fallback,
    "other_load": _other_load,
    "clock": _clock,
    "drift": _drift,
    "threads": _threads,
    "truncated": _truncated,
    "other_precision": _other_precision,
    "rivals_saw_rows": _rivals_saw_rows,
    "class_mix": _class_mix,
}
