"""The bench in one sentence."""

from fastbert.benchmarks.report.results import BenchReport, Verdict

ALLOWED_LOSS = 0.005  # of accuracy, for the verdict's operating point against the whole model


def verdict(report: BenchReport) -> Verdict:
    """Return the fastest chain that loses at most `ALLOWED_LOSS` of accuracy, as a sentence.

    The comparison is with the first whole model, or without one with the chain itself at speed 0.
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
            f"No measured speed keeps the accuracy within {100 * ALLOWED_LOSS:g} points of the whole model's. The "
            f"closest, {titles[best.family]} at speed {best.speed:g}, loses {loss:.1f}."
        )
        return Verdict(text, None, base.name if base else None, None, None, ALLOWED_LOSS)
    best = min(good, key=lambda system: system.latency.mean_ms)
    where = f"At speed {best.speed:g} {titles[best.family]}"
    times = best.times_faster.get(base.name) if base else None
    if base is None or times is None or base is best:
        text = f"{where} takes {best.latency.mean_ms:.2f} ms per text on average."
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
