"""What a measurement was made on."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastbert.runtime.threads import usable_cores

__all__ = ["describe_environment"]

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
_PACKAGES = ("fastbert-deploy", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "tokenizers", "numpy")


def describe_environment() -> dict[str, Any]:
    """Return processor, cores, versions and the command, for a report."""
    info = _cpu_info()
    flags = set(info.get("flags", "").split())
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores_usable": usable_cores(),
        "cores_machine": os.cpu_count(),
        "instruction_sets": [flag for flag in _FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "command": " ".join(["fastbert" if Path(sys.argv[0]).name == "fastbert" else sys.argv[0], *sys.argv[1:]]),
    }


def _cpu_info() -> dict[str, str]:
    """Return the first processor's block of /proc/cpuinfo; elsewhere nothing."""
    try:
        block = Path("/proc/cpuinfo").read_text().split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in block.split("\n"))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
