"""An operating point, written into a bundle's manifest in one step."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastbert.export.exclusive import exclusive_bundle
from fastbert.files.atomic import replace_file
from fastbert.files.places import try_to_write
from fastbert.runtime.documents import Unfit
from fastbert.runtime.errors import BundleError, UsageError
from fastbert.runtime.manifest import MANIFEST, read_manifest
from fastbert.runtime.manifest_rules import MANIFEST_FIELDS
from fastbert.runtime.operating_points import OperatingPoint, variant_digest


def require_writable_bundle(bundle: Path) -> None:
    """Raise if no operating point could be written. Call it before the work begins.

    :raises UsageError: the bundle's folder cannot be written.
    """
    try:
        try_to_write(bundle)
    except OSError as error:
        raise UsageError(
            f"{bundle} cannot be written ({error.strerror}), and `name` writes the operating point into it. Omit "
            "`name`, or tune a copy of the bundle."
        ) from error


def write_point(bundle: Path, name: str, record: Mapping[str, Any]) -> OperatingPoint | None:
    """Add an operating point, or replace the one of this name. Writers of one bundle take turns.

    :param record: speed, variant, variant_sha256, and what the manifest's schema has besides.
    :returns: the point that was replaced; None: there was none.
    :raises BundleError: the variant's engines are not those that were tuned.
    """
    with exclusive_bundle(bundle):
        manifest = read_manifest(bundle)
        variant = next((held for held in manifest.variants if held.name == record["variant"]), None)
        if variant is None or variant_digest(manifest, variant) != record["variant_sha256"]:
            raise BundleError(
                f"The variant {record['variant']!r} of {bundle} was exported or built again while it was tuned. "
                "Nothing was written; tune it again."
            )
        document = json.loads((bundle / MANIFEST).read_bytes())
        created = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        document.setdefault("operating_points", {})[name] = {**record, "created": created}
        content = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        try:
            MANIFEST_FIELDS.read(json.loads(content))
        except Unfit as unfit:
            raise BundleError(f"{bundle / MANIFEST} would be damaged: {unfit}. Nothing was written.") from unfit
        replace_file(bundle / MANIFEST, content.encode())
    return manifest.operating_points.get(name)
