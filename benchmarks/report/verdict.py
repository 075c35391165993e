"""The bench in a few sentences."""

from collections.abc import Mapping, Sequence

from fastbert.benchmarks.report.results import BenchReport, SystemResult, Verdict
from fastbert.benchmarks.scenarios.single_stream import RivalResult, SingleStreamSpeed
from fastbert.benchmarks.statistics.paired import PairedDifference

NOTABLY_FASTER = 0.05  # share of the time, which is more than systems that take turns differ by chance
ALLOWED_LOSS = 0.005  # of accuracy, for the verdict's operating point against full depth


def verdict(report: BenchReport) -> Verdict:
    """Compare the fastest chain that loses at most `ALLOWED_LOSS` of accuracy with the fastest system at full depth."""
    found = report.single_stream
    if found is None or not found.systems:
        return Verdict("No latency was measured.", None, None, None, None, ALLOWED_LOSS)
    families = {family.name: family for family in report.families}
    chains = [system for system in found.systems if families[system.family].kind == "chain"]
    accurate = next((system for system in found.systems if system.name == found.accuracy_reference), None)
    base = fastest_at_full_depth(found.systems, families)
    good = [system for system in chains if (_change(system, accurate) or 0.0) >= -ALLOWED_LOSS - 1e-9]
    if not good:
        assert accurate is not None  # otherwise every chain is good
        best = max(chains, key=lambda system: system.accuracy or 0.0)
        beating = beaten_by(best, found.rivals)
        text = (
            f"No measured speed keeps the accuracy within {100 * ALLOWED_LOSS:g} points of "
            f"{_named(accurate, families)}. The closest, {_named(best, families)}, changes it by "
            f"{_points(_change(best, accurate) or 0.0)}{_interval(best.accuracy_change)}."
            f"{_rivals_sentence(beating, best, families)}"
        )
        names = tuple(rival.name for rival in beating)
        return Verdict(text, None, None if base is None else base.name, None, None, ALLOWED_LOSS, names)
    best = min(good, key=lambda system: system.latency.mean_ms)
    times = None if base in (None, best) or base is None else base.latency.mean_ms / best.latency.mean_ms
    against = "" if accurate is None else "it" if accurate is base else _named(accurate, families)
    lone = accurate is None and best.accuracy is not None
    sentences = [
        _speed_sentence(best, base, times, families),
        _accuracy_sentence(best, accurate, against, found.rows),
        f"It runs {best.mean_layers:.1f} of {report.model['layers']} layers.",
        *(["No system ran at full depth, so what this loses is not known: measure speed 0 too."] if lone else []),
    ]
    beating = beaten_by(best, found.rivals)
    text = " ".join(sentences) + _rivals_sentence(beating, best, families)
    reference = None if times is None or base is None else base.name
    names = tuple(rival.name for rival in beating)
    return Verdict(text, best.name, reference, times, _change(best, accurate), ALLOWED_LOSS, names)


def fastest_at_full_depth(
    systems: Sequence[SingleStreamSpeed], families: Mapping[str, SystemResult]
) -> SingleStreamSpeed | None:
    """Return the system of the lowest mean latency among the whole models and the chains at speed 0."""
    full = [
        system
        for system in systems
        if families[system.family].kind == "whole" or (families[system.family].kind == "chain" and system.speed == 0.0)
    ]
    return min(full, key=lambda system: system.latency.mean_ms, default=None)


def beaten_by(system: SingleStreamSpeed, rivals: Sequence[RivalResult]) -> list[RivalResult]:
    """Return the rivals that beat a system, fastest first.

    They are at least as accurate and answer a text in at most the median time; and more accurate, or notably faster.
    """
    if system.accuracy is None:
        return []
    time, found = _median(system), []
    for rival in rivals:
        more = -1.0 if rival.accuracy is None else rival.accuracy - system.accuracy
        if more >= 0 and _median(rival) <= (time if more > 0 else (1 - NOTABLY_FASTER) * time):
            found.append(rival)
    return sorted(found, key=_median)


def _median(one: SingleStreamSpeed | RivalResult) -> float:
    latency = one.latency_with_tokenization
    return latency.mean_ms if latency.p50_ms is None else latency.p50_ms


def _rivals_sentence(
    beating: Sequence[RivalResult], best: SingleStreamSpeed, families: Mapping[str, SystemResult]
) -> str:
    """Say which rivals are better, with both latencies and accuracies."""
    if not beating:
        return ""
    beat = "A rival beats" if len(beating) == 1 else f"{len(beating)} rivals beat"
    middle = "mean" if best.latency_with_tokenization.p50_ms is None else "p50"
    return (
        f" {beat} {_named(best, families)}, which takes {_median(best):.2f} ms from text to answer ({middle}) at "
        f"{100 * (best.accuracy or 0):.1f} %: {'; '.join(_beating(rival, best) for rival in beating)}."
    )


def _beating(rival: RivalResult, best: SingleStreamSpeed) -> str:
    change, against = rival.accuracy_against.get(best.name), ""
    if change is not None:
        interval = f"95 % interval {_points(change.low)} to {_points(change.high)}"
        against = f", {_points(change.change)} points, {interval}{_chance(change)}"
    return f"{rival.title} ({_median(rival):.2f} ms at {100 * (rival.accuracy or 0):.1f} %{against})"


def _speed_sentence(
    best: SingleStreamSpeed,
    base: SingleStreamSpeed | None,
    times: float | None,
    families: Mapping[str, SystemResult],
) -> str:
    where = f"At speed {best.speed:g} {families[best.family].title}"
    if times is None or base is None:
        return f"{where} takes {best.latency.mean_ms:.2f} ms per text on average."
    faster = f"{times:.1f} times faster" if times >= 1 else f"{1 / times:.1f} times slower"
    return f"{where} is {faster} on average than the fastest at full depth, {_named(base, families)}."


def _accuracy_sentence(best: SingleStreamSpeed, accurate: SingleStreamSpeed | None, against: str, rows: int) -> str:
    if best.accuracy is None:
        return "The file has no labels, so accuracy is not known."
    here = f"Its accuracy is {100 * best.accuracy:.1f} % of {rows} rows"
    change = _change(best, accurate)
    if change is None or accurate is best:
        return f"{here}."
    found = best.accuracy_change
    return f"{here}, {_points(change)} points{_interval(found)} against {against}{_chance(found)}."


def _chance(change: PairedDifference | None) -> str:
    may_be = change is not None and change.change and change.low <= 0 <= change.high
    return ", which may be chance" if may_be else ""


def _change(system: SingleStreamSpeed, accurate: SingleStreamSpeed | None) -> float | None:
    if accurate is None or system.accuracy is None or accurate.accuracy is None:
        return None
    return system.accuracy - accurate.accuracy


def _interval(change: PairedDifference | None) -> str:
    if change is None:
        return ""
    return f" (95 % interval {_points(change.low)} to {_points(change.high)})"


def _points(change: float) -> str:
    return f"{100 * change:+.1f}".replace("-", "−")


def _named(system: SingleStreamSpeed, families: Mapping[str, SystemResult]) -> str:
    family = families[system.family]
    if family.kind == "whole":
        return "the " + family.title.replace("whole model, ", "whole model in ")
    return f"{family.title} at speed {system.speed:g}"
