"""The GPU of a measurement: its name, clocks and driver, and the cost of checking an exit on it."""

import importlib
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fastbert.runtime.engines.gpu.cuda import Gpu, open_gpu

_WARM_UP = 10

_CLOCKS = {"graphics": 0, "sm": 1, "memory": 2}  # NVML's numbers; cuda-bindings 13.3 and 13.5 name them differently
_PACKAGES = ("tensorrt-cu13", "tensorrt-rtx-cu13", "cuda-bindings", "onnxruntime-gpu", "polygraphy")


def describe_device() -> dict[str, Any]:
    """Return the GPU's state and the cost of checking an exit.

    :raises EngineError: no GPU.
    """
    return {**describe_gpu(), "synchronisation": synchronisation_us(open_gpu("gpu"))}


def synchronisation_us(gpu: Gpu, runs: int = 1000) -> dict[str, float]:
    """Return what checking an exit costs beyond its layer, in microseconds.

    ``copy_and_wait_us``: copy 4 bytes to the host and wait; ``wait_us``: only wait. Both are medians.
    """
    stream, buffer, host = gpu.stream(), gpu.allocate(4, "a measurement"), gpu.pinned((1,), np.float32)

    def check_exit() -> None:
        stream.to_host(host, buffer.address)
        stream.synchronize()

    return {
        "copy_and_wait_us": 1e3 * _median_ms(check_exit, runs),
        "wait_us": 1e3 * _median_ms(stream.synchronize, runs),
    }


def _median_ms(call: Callable[[], Any], runs: int) -> float:
    """Return the median time of a call, after a warm-up."""
    for _ in range(_WARM_UP):
        call()
    times = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return statistics.median(times) / 1e6


def describe_gpu() -> dict[str, Any]:
    """Return the first GPU's state and current clocks. What is not available is None, and ``note`` says why."""
    found: dict[str, Any] = {"packages": {name: number for name in _PACKAGES if (number := _version(name))}}
    try:
        nvml = importlib.import_module("cuda.bindings.nvml")
        nvml.init_v2()
    except Exception as error:  # no package, no driver, or no permission
        return {**found, "note": f"NVML is not available: {error}"}
    try:
        device = nvml.device_get_handle_by_index_v2(0)
        questions: dict[str, Callable[[], Any]] = {
            "gpu": lambda: nvml.device_get_name(device),
            "driver": nvml.system_get_driver_version,
            "cuda_driver": lambda: _dotted(nvml.system_get_cuda_driver_version_v2()),
            "clocks_mhz": lambda: _clocks(nvml, nvml.device_get_clock_info, device),
            "max_clocks_mhz": lambda: _clocks(nvml, nvml.device_get_max_clock_info, device),
            "persistence_mode": lambda: bool(nvml.device_get_persistence_mode(device)),
            "power_limit_w": lambda: nvml.device_get_power_management_limit(device) / 1000,
        }
        problems = []
        for name, ask in questions.items():
            try:
                found[name] = ask()
            except Exception as error:  # not every GPU and not every version of the package answers every question
                found[name] = None
                problems.append(f"{name}: {error}")
        return found | ({"note": f"NVML does not report {'; '.join(problems)}"} if problems else {})
    finally:
        nvml.shutdown()


def _clocks(nvml: Any, ask: Callable[[Any, Any], int], device: Any) -> dict[str, int]:
    return {name: ask(device, nvml.ClockType(number)) for name, number in _CLOCKS.items()}


def _dotted(version: int) -> str:
    """Return a version in CUDA's form, such as 13040, as ``"13.4"``."""
    return f"{version // 1000}.{version % 1000 // 10}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
