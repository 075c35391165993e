"""The machine, versions and command of a measurement, for its report."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastbert.benchmarks.machine.gpu import describe_device
from fastbert.runtime.hardware import processor_info, usable_cores

_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")
_PACKAGES = (
    "fastbert-deploy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "nncf",
    "torch",
    "transformers",
    "tokenizers",
    "numpy",
)

_GPU_DEVICES = ("cuda", "tensorrt", "tensorrt-rtx")


def describe_environment(device: str = "cpu") -> dict[str, Any]:
    """Return processor, cores, versions, time and command; for a GPU also what `describe_device` measures.

    :param device: one of `fastbert.runtime.engines.DEVICES`.
    """
    info = processor_info()
    flags = set(info.get("flags", "").split())
    return {
        "cpu": info.get("model name", platform.processor() or platform.machine()),
        "cores_usable": usable_cores(),
        "cores_machine": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "frequency_governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "threads_per_core": _threads_per_core(info),
        "virtual_machine": "hypervisor" in flags,
        "instruction_sets": [flag for flag in _FLAGS if flag in flags],
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": _command(),
        "device": describe_device() if device in _GPU_DEVICES else {},
    }


def _command() -> str:
    """Return the command of this process, as a user would type it."""
    program = Path(sys.argv[0])
    if program.name in ("fastbert", "cli.py"):
        return shlex.join(["fastbert", *sys.argv[1:]])
    if program.parent.name == "studies":
        return shlex.join(["python", "-m", f"studies.{program.stem}", *sys.argv[1:]])
    return shlex.join(sys.argv)


def _threads_per_core(info: dict[str, str]) -> int | None:
    try:
        return int(info["siblings"]) // int(info["cpu cores"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text().split("\n")[0]
    except OSError:
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
