"""A bundle's variants, one line each, as ``fastbert info`` shows them."""

import shlex
from pathlib import Path
from typing import Any

from fastbert.runtime.manifest import Manifest, TensorRtBuild, Variant


def variant_lines(bundle: Path, manifest: Manifest) -> list[str]:
    """Return a line for each variant: its precision, what runs it, its size, and whether it was verified."""
    verified = manifest.raw.get("verification")
    found = verified if isinstance(verified, dict) else {}
    return [_line(bundle, manifest, variant, found.get(variant.name)) for variant in manifest.variants]


def _line(bundle: Path, manifest: Manifest, variant: Variant, verification: Any) -> str:
    size = sum(manifest.files[file]["bytes"] for file in variant.files)
    parts = [
        f"{variant.precision} for {', '.join(variant.devices) or 'fastbert build'}",
        *([] if variant.tensorrt is None else _build(variant.tensorrt)),
        f"{size / 1e6:.1f} MB",
        _verification(bundle, variant, verification),
    ]
    return f"{'variant:':<16} {variant.name}: {'; '.join(parts)}"


def _build(build: TensorRtBuild) -> list[str]:
    capabilities = build.compute_capabilities
    gpus = f"GPUs of compute capability {', '.join(capabilities)}" if capabilities else f"{build.sm} GPUs"
    rows, tokens = max(each.max_batch for each in build.profiles), max(each.sequence for each in build.profiles)
    return [
        f"built from {build.source} by version {build.version} for {gpus}",
        f"up to {rows} rows of {tokens} tokens",
    ]


def _verification(bundle: Path, variant: Variant, record: Any) -> str:
    """Return what the manifest says about the comparison with PyTorch; it is informative, so it may say anything."""
    record = record if isinstance(record, dict) else {}
    if record.get("passed") is True:
        return f"verified on {record['rows']} rows" if isinstance(record.get("rows"), int) else "verified"
    reason = record.get("reason")
    if not isinstance(reason, str) or not variant.devices:
        return "not verified"
    command = f"fastbert verify {shlex.quote(str(bundle))} --device {variant.devices[0]} --variant {variant.name}"
    return f"{reason} Verify them on a GPU that runs it: {command}"
