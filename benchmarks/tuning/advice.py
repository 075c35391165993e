"""Whether a bundle would do better with the measure of uncertainty that it does not have."""

from pathlib import Path

from fastbert.benchmarks.statistics.paired import paired_difference
from fastbert.benchmarks.tuning.exits import other_measure
from fastbert.benchmarks.tuning.report import OtherMeasure, measure
from fastbert.benchmarks.tuning.search import Choice, choose
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.export.commands import export_command
from fastbert.runtime.manifest import Manifest

_NOTABLY_FEWER = 0.15  # share of the layers that the other measure must save
_NOTABLY_BETTER = 0.005  # share of the rows that must agree more, at the same layers


def advice(
    bundle: Path, manifest: Manifest, deciding: Rows, measuring: Rows, target: Target, choice: Choice
) -> OtherMeasure | None:
    """Return what the other measure does for the same target; None: not notably more.

    Rows that did not choose the speeds judge, and a difference that may be chance is none.
    """
    if not choice.reached or len(manifest.labels) <= 2:  # two classes: both rank rows alike
        return None
    if not target.kind.loses:  # at the same layers
        target = Target(TARGETS["speedup"], deciding.layers / deciding.mean_layers(choice.speed))
    found = choose(deciding.with_other_measure(), target)
    if not found.reached:
        return None
    others = measuring.with_other_measure()
    ours, theirs = measure(measuring, choice.speed), measure(others, found.speed)
    if target.kind.loses:  # without losing more
        pair = (theirs, ours)
        new, old = (one.accuracy if target.kind.labels else one.agreement for one in pair)
        notable = (new or 0.0) >= (old or 0.0) and theirs.mean_layers <= (1 - _NOTABLY_FEWER) * ours.mean_layers
    else:
        same, theirs_same = ~measuring.disagreements(choice.speed), ~others.disagreements(found.speed)
        more = paired_difference(theirs_same, same)
        notable = more.change >= _NOTABLY_BETTER and more.low > 0
    name = other_measure(manifest)
    return OtherMeasure(name, theirs, export_command(bundle, manifest, name)) if notable else None
