"""A bundle's operating points, one line each, as ``fastbert info`` shows them."""

from typing import Any

from fastbert.runtime.manifest import Manifest
from fastbert.runtime.operating_points import OperatingPoint


def point_lines(manifest: Manifest) -> list[str]:
    """Return one line for each operating point, for people: what it is, and whether it can be used."""
    variants = {variant.name: variant for variant in manifest.variants}
    lines = []
    for point in manifest.operating_points.values():
        variant = variants.get(point.variant)
        usable = variant is not None and point.fits(manifest, variant)
        gone = "is no longer in the bundle" if variant is None else "was exported or built again since: tune it again"
        detail = "" if usable else f", which {gone}"
        lines.append(
            f"operating point: {point.name} is speed {point.speed:g} of {point.variant}{detail}{_figures(point)}"
        )
    return lines


def _figures(point: OperatingPoint) -> str:
    """Return what was measured and guaranteed; the record is informative, so anything may be in it."""
    measured, guarantee = point.record.get("measured"), point.record.get("guarantee")
    parts = []
    if isinstance(measured, dict):
        for key, form in (("layer_speedup", "{:.2f} times fewer layers"), ("agreement", "agreement {:.2%}")):
            value = measured.get(key)
            if _is_number(value):
                parts.append(form.format(value))
    if isinstance(guarantee, dict) and _is_number(guarantee.get("confidence")):
        parts.append(f"{guarantee.get('kind')} {guarantee.get('value')} guaranteed at {guarantee['confidence']:.2%}")
    return f" ({', '.join(parts)})" if parts else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
