"""The engines that run a bundle: one module per device, named in `DEVICES`."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbert.runtime.chain import Engine
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Variant

__all__ = ["DEVICES", "Device", "load_engine", "options_given"]


@dataclass(frozen=True)
class Device:
    """Where a bundle runs.

    :param module: has ``load(bundle, variant, **options) -> Engine``, imported when the device is asked for.
    :param options: what of `fastbert.runtime.Classifier.load` this device has and others may lack.
    """

    module: str
    options: tuple[str, ...]


DEVICES = {
    "cpu": Device("fastbert.runtime.engines.cpu", ("threads", "thread_pool", "batches")),
    "cuda": Device("fastbert.runtime.engines.gpu.onnxruntime", ("cuda_graphs",)),
    "tensorrt": Device("fastbert.runtime.engines.gpu.tensorrt.engines", ("cuda_graphs",)),
    "tensorrt-rtx": Device("fastbert.runtime.engines.gpu.tensorrt.rtx", ("cuda_graphs", "runtime_cache")),
}
_ON_BY_DEFAULT = ("runtime_cache",)


def options_given(device: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, which None is not, nor False unless it turns something off.

    :raises UsageError: the device is unknown, or lacks an option that was given.
    """
    if device not in DEVICES:
        raise UsageError(f"`device` is {device!r}; it must be one of {', '.join(DEVICES)}.")
    given = {
        name: value
        for name, value in options.items()
        if value is not None and (value is not False or name in _ON_BY_DEFAULT)
    }
    for name in given:
        if name not in DEVICES[device].options:
            others = " or ".join(repr(other) for other, found in DEVICES.items() if name in found.options)
            raise UsageError(f"The device {device!r} does not have the option `{name}`. Omit it, or use {others}.")
    return given


def load_engine(device: str, bundle: Path, variant: Variant, **options: Any) -> Engine:
    """Load a variant's engines on a device.

    :raises UsageError: the device is unknown, or lacks an option.
    :raises EngineError: the engine cannot run here.
    """
    given = options_given(device, options)
    engine: Engine = importlib.import_module(DEVICES[device].module).load(bundle, variant, **given)
    return engine
