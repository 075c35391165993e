"""Operating points in reports, which show speeds: what a name stands for is noted."""

import logging

from fastbert.runtime.manifest import Manifest, Variant
from fastbert.runtime.operating_points import resolve_speed

_log = logging.getLogger(__name__)


def named_speed(manifest: Manifest, variant: Variant, speed: float | str) -> float:
    """Return the speed that a name stands for, and note it; a number is returned as it is.

    :raises UsageError: as `resolve_speed`.
    """
    number = resolve_speed(manifest, variant, speed)
    if isinstance(speed, str):
        _log.info("%s is speed %g of %s", speed, number, variant.name)
    return number
