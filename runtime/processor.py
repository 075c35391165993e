"""What the processor says about itself."""

import platform
from itertools import takewhile
from pathlib import Path

__all__ = ["int8_products_saturate", "processor_info"]

_CPUINFO = Path("/proc/cpuinfo")
_EXACT = {"avx_vnni", "avx512_vnni", "amx_int8"}  # any of them adds products of 8 bits up in 32


def processor_info() -> dict[str, str]:
    """Return the first processor's block of /proc/cpuinfo; elsewhere nothing."""
    try:
        with _CPUINFO.open() as lines:  # many cores make a long file, and every load of a bundle reads it
            pairs = [line.partition(":") for line in takewhile(str.strip, lines)]
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in pairs}


def int8_products_saturate() -> bool:
    """Return whether sums of uint8 x int8 products may saturate in 16 bits: on x86 processors without VNNI.

    Where the processor cannot be asked, an x86 counts as one that does.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return _EXACT.isdisjoint(processor_info().get("flags", "").split())
