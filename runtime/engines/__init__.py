"""The engines, one file each. `DEVICES` names the file for each device."""

import importlib
from pathlib import Path
from typing import Any

from fastbert.runtime.chain import Engine
from fastbert.runtime.errors import UsageError
from fastbert.runtime.manifest import Variant

__all__ = ["DEVICES", "load_engine"]

# device -> module that has `load(bundle, variant, **options) -> Engine`
DEVICES = {
    "cpu": "fastbert.runtime.engines.cpu.engine",
    "cuda": "fastbert.runtime.engines.gpu.onnxruntime",
    "tensorrt": "fastbert.runtime.engines.gpu.tensorrt",
}


def load_engine(device: str, bundle: Path, variant: Variant, **options: Any) -> Engine:
    """Load a variant's engines on a device.

    :raises UsageError: no engine is known for the device.
    :raises EngineError: the engine cannot run here.
    """
    if device not in DEVICES:
        raise UsageError(f"The device {device!r} is unknown; known are {', '.join(DEVICES)}.")
    engine: Engine = importlib.import_module(DEVICES[device]).load(bundle, variant, **options)
    return engine
