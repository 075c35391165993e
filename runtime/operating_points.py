"""Operating points: named speeds in a bundle's manifest, which ``fastbert tune`` writes.

A point belongs to the engines that it was tuned on: it names their variant, and a digest of the engines' own digests.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastbert.runtime.documents import is_number
from fastbert.runtime.errors import UsageError

if TYPE_CHECKING:
    from fastbert.runtime.manifest import Manifest, Variant

POINT_NAME = re.compile("[A-Za-z][A-Za-z0-9_-]{0,63}")  # begins with a letter, so that no number is a name
_TARGET_KIND = re.compile("[a-z]{1,20}(_[a-z]{1,20}){0,3}")


@dataclass(frozen=True)
class OperatingPoint:
    """A named speed.

    :param speed: in [0, 1].
    :param variant: name of the variant that it was tuned on.
    :param variant_sha256: `variant_digest` of that variant then, in lower case.
    :param record: its whole object in the manifest: also what it was tuned for, on which rows, what was measured, and
        the guarantee.
    """

    name: str
    speed: float
    variant: str
    variant_sha256: str
    record: Mapping[str, Any]

    def fits(self, manifest: "Manifest", variant: "Variant") -> bool:
        """Whether it was tuned on the engines that this variant has now."""
        return self.variant == variant.name and self.variant_sha256 == variant_digest(manifest, variant)


def variant_digest(manifest: "Manifest", variant: "Variant") -> str:
    """Return the sha256, in hexadecimal, of one line ``PATH SHA256`` for each file that holds weights of the model.

    Those are the embeddings and the stages, in order, and the ``row`` of a TensorRT variant, which ``fastbert build``
    can add or replace while the stages stay. The ``row`` and ``chain`` of other engines have no part: they read their
    weights from the stages' files, and only an export, which keeps no points, writes them. Nor have golden rows, which
    change no answer. The digests are the manifest's, in lower case.
    """
    files = [variant.embeddings, *variant.stages]
    if variant.plans_of and variant.row is not None:
        files.append(variant.row)
    lines = (f"{file} {manifest.files[file]['sha256'].lower()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def usable_speeds(manifest: "Manifest", variant: "Variant") -> dict[str, float]:
    """Return name -> speed of the points that were tuned on the engines that this variant has now."""
    return {name: point.speed for name, point in manifest.operating_points.items() if point.fits(manifest, variant)}


def resolve_speed(manifest: "Manifest", variant: "Variant | None", speed: float | str) -> float:
    """Return the speed that a name stands for; a number is returned as it is.

    :param variant: that will run; None: engines that the manifest does not have yet.
    :raises UsageError: there is no such operating point, it was tuned on another variant, or the variant was exported
        or built again since.
    """
    if not isinstance(speed, str):
        return speed
    if variant is None:
        raise UsageError(f"`speed` is {speed!r}; engines that are not in the manifest yet have no operating points.")
    points = manifest.operating_points
    if speed not in points:
        if POINT_NAME.fullmatch(speed) is None:
            raise UsageError(
                f"`speed` is {speed!r}; it must be a number from 0 (never exit early) to 1, or the name of an "
                "operating point."
            )
        held = f"it has {', '.join(points)}" if points else "it has none"
        raise UsageError(
            f"`speed` is {speed!r}, and the bundle has no operating point of that name: {held}. Make one with: "
            f"{tune_command(speed, variant)}"
        )
    point = points[speed]
    if point.variant != variant.name:
        raise UsageError(
            f"The operating point {speed!r} was tuned on the variant {point.variant!r}; this is {variant.name!r}. Use "
            f"that variant, or tune this one: {tune_command(f'{speed}-{variant.name}', variant, point.record)}"
        )
    if not point.fits(manifest, variant):
        raise UsageError(
            f"The variant {variant.name!r} was exported or built again since the operating point {speed!r} was tuned, "
            f"so its figures may no longer hold. Tune it again: {tune_command(speed, variant, point.record)}"
        )
    return point.speed


def tune_command(name: str, variant: "Variant", record: Mapping[str, Any] | None = None) -> str:
    """Return the command that makes an operating point of this name on a variant.

    :param record: of a point to make again, for the same target; None: an example of a target.
    """
    target = (None if record is None else _target_flags(record)) or "--min-agreement 0.99"
    others = () if "cpu" in variant.devices else variant.devices
    device = f" --device {others[0]}" if others else ""
    return f"fastbert tune BUNDLE --data DATA {target} --variant {variant.name}{device} --name {name}"


def _target_flags(record: Mapping[str, Any]) -> str:
    """Return what a point was tuned for as flags; nothing where its record, which is informative, does not say."""
    target, guarantee = record.get("target"), record.get("guarantee")
    if not isinstance(target, dict):
        return ""
    kind, value, threads = target.get("kind"), target.get("value"), target.get("threads")
    if not isinstance(kind, str) or _TARGET_KIND.fullmatch(kind) is None or not is_number(value):
        return ""
    flags = f"--{kind.replace('_', '-')} {value!r}"
    confidence = guarantee.get("confidence") if isinstance(guarantee, dict) else None
    flags += f" --confidence {confidence!r}" if is_number(confidence) else ""
    return f"{flags} --threads {threads}" if type(threads) is int else flags
