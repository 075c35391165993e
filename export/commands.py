"""Commands that make a bundle again."""

import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fastbert.export.options import DEFAULT_OPTIONS
from fastbert.runtime.documents import is_number
from fastbert.runtime.manifest import Manifest, Variant


def export_command(bundle: Path, manifest: Manifest, measure: str) -> str:
    """Return the command that makes this bundle with another measure, from the checkpoint MODEL."""
    output = shlex.quote(f"{bundle}-{measure}")
    exported = [variant.name for variant in manifest.variants if variant.tensorrt is None]
    built = [variant for variant in manifest.variants if variant.tensorrt is not None]
    options = [f"--uncertainty {measure}", f"--precision {shlex.quote(','.join(exported))}"]
    if manifest.exits != tuple(range(manifest.layers)):
        options.append(f"--exits {','.join(map(str, manifest.exits))}")
    if manifest.default_speed != DEFAULT_OPTIONS.default_speed:
        options.append(f"--default-speed {manifest.default_speed:g}")
    options += _bounds(manifest)
    commands = [f"fastbert export MODEL {' '.join(options)} --output {output}"]
    return " && ".join([*commands, *(_build_command(output, variant) for variant in built)])


def _bounds(manifest: Manifest) -> Iterator[str]:
    """Yield the options of the comparison with PyTorch that are not the defaults, where the manifest has them."""
    recorded = manifest.raw.get("verification")
    records = recorded.values() if isinstance(recorded, dict) else ()
    found = (record["bounds"] for record in records if isinstance(record, dict) and "bounds" in record)
    bounds: Any = next(found, None)
    for name in ("tolerance", "max_label_flips") if isinstance(bounds, dict) else ():
        value = bounds.get(name)
        if is_number(value) and value != getattr(DEFAULT_OPTIONS.bounds, name):
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
