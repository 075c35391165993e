"""A bundle's operating points, one line each, as ``fastbert info`` shows them."""

from fastbert.runtime.documents import is_number
from fastbert.runtime.manifest import Manifest
from fastbert.runtime.operating_points import OperatingPoint

_FIGURES = {"layer_speedup": (1, "{:.2f} times fewer layers"), "agreement": (100, "agreement {:.2f} %")}
# kind of a guarantee -> what its value is multiplied by, and words for it
_GUARANTEES = {
    "min_agreement": (100, "agreement of at least {:g} %"),
    "max_drop": (1, "a loss of at most {:g} points"),
}


def point_lines(manifest: Manifest) -> list[str]:
    """Return one line for each operating point, for people: what it is, and whether it can be used."""
    variants = {variant.name: variant for variant in manifest.variants}
    lines = []
    for point in manifest.operating_points.values():
        variant = variants.get(point.variant)
        if variant is None:
            detail = ", which is no longer in the bundle"
        elif point.fits(manifest, variant):
            detail = ""
        else:
            detail = ", which was exported or built again since: tune it again"
        lines.append(
            f"operating point: {point.name} is speed {point.speed:g} of {point.variant}{detail}{_figures(point)}"
        )
    return lines


def _figures(point: OperatingPoint) -> str:
    """Return what was measured and guaranteed; the record is informative, so anything may be in it."""
    measured, guarantee = point.record.get("measured"), point.record.get("guarantee")
    parts = []
    if isinstance(measured, dict):
        for key, (times, form) in _FIGURES.items():
            value = measured.get(key)
            if is_number(value):
                parts.append(form.format(times * float(value)))
    if isinstance(guarantee, dict):
        kind, value, confidence = (guarantee.get(key) for key in ("kind", "value", "confidence"))
        if isinstance(kind, str) and is_number(value) and is_number(confidence):
            times, form = _GUARANTEES.get(kind, (1, "{kind} {:g}"))
            sure = f"guaranteed with {100 * float(confidence):g} % confidence"
            parts.append(f"{form.format(times * float(value), kind=kind)} {sure}")
    return f" ({', '.join(parts)})" if parts else ""
