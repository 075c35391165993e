"""Whether the measure that a bundle does not have would do better, and the command that makes the bundle with it."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastbert.benchmarks.paired import paired_difference
from fastbert.benchmarks.tuning.exits import other_measure
from fastbert.benchmarks.tuning.report import OtherMeasure, measure
from fastbert.benchmarks.tuning.search import Choice, choose
from fastbert.benchmarks.tuning.speeds import Rows
from fastbert.benchmarks.tuning.targets import TARGETS, Target
from fastbert.export.verification.outcome import DEFAULT_BOUNDS
from fastbert.runtime.manifest import Manifest, Variant

_NOTABLY_FEWER = 0.15  # share of the layers that the other measure must save
_NOTABLY_BETTER = 0.005  # share of the rows that must agree more, at the same layers
_DEFAULT_SPEED = 0.5  # of `fastbert export`


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


def export_command(bundle: Path, manifest: Manifest, measure: str) -> str:
    """Return the command that makes this bundle with another measure, from the checkpoint MODEL."""
    output = shlex.quote(f"{bundle}-{measure}")
    exported = [variant.name for variant in manifest.variants if variant.tensorrt is None]
    built = [variant for variant in manifest.variants if variant.tensorrt is not None]
    options = [f"--uncertainty {measure}", f"--precision {shlex.quote(','.join(exported))}"]
    if manifest.exits != tuple(range(manifest.layers)):
        options.append(f"--exits {','.join(map(str, manifest.exits))}")
    if manifest.default_speed != _DEFAULT_SPEED:
        options.append(f"--default-speed {manifest.default_speed:g}")
    options += _bounds(manifest)
    commands = [f"fastbert export MODEL {' '.join(options)} --output {output}"]
    return " && ".join([*commands, *(_build_command(output, variant) for variant in built)])


def _bounds(manifest: Manifest) -> Iterator[str]:
    """Yield the options of the comparison with PyTorch that are not the defaults, where the manifest has them."""
    recorded = manifest.raw.get("verification")
    records = recorded.values() if isinstance(recorded, dict) else ()
    bounds = next((record["bounds"] for record in records if isinstance(record, dict) and "bounds" in record), {})
    for name in ("tolerance", "max_label_flips"):
        value = bounds.get(name) if isinstance(bounds, dict) else None
        if isinstance(value, int | float) and value != getattr(DEFAULT_BOUNDS, name):
            yield f"--{name.replace('_', '-')} {value:g}"


def _build_command(bundle: str, variant: Variant) -> str:
    build = variant.tensorrt_build
    capabilities = build.compute_capabilities
    options = [
        f"--variant {shlex.quote(build.source)}",
        f"--engine {variant.engine}",
        f"--batch {_listed(sorted({profile.max_batch for profile in build.profiles}))}",
        f"--sequence {_listed(sorted({profile.sequence for profile in build.profiles}))}",
        f"--level {build.optimization_level}",
        "--single-row" if variant.row is not None else "--no-single-row",
    ]
    if capabilities and not any(one.startswith(">") for one in capabilities):  # otherwise the default set
        options.append(f"--compute-capability {_listed(capabilities)}")
    return f"fastbert build {bundle} {' '.join(options)}"


def _listed(values: Iterable[object]) -> str:
    return ",".join(map(str, values))
