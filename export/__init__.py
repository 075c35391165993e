"""Checkpoint -> bundle: ONNX engines, TensorRT builds, and the check that both answer as PyTorch does; one packed file.

::

    from fastbert.export import ExportOptions, export_bundle
    export_bundle("model", Path("bundle"), ExportOptions(precisions=("fp32", "int8")))

Importing this package loads neither torch nor onnx; each name loads what it needs on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbert.export.bundle import ExportReport, export_bundle
    from fastbert.export.options import ExportOptions
    from fastbert.export.packing import PackReport, pack
    from fastbert.export.precisions import PRECISIONS
    from fastbert.export.tensorrt.build import BuildOptions, BuildReport, build
    from fastbert.export.verification.bundle import verify
    from fastbert.export.verification.outcome import Bounds, Verification

__all__ = [
    "PRECISIONS",
    "Bounds",
    "BuildOptions",
    "BuildReport",
    "ExportOptions",
    "ExportReport",
    "PackReport",
    "Verification",
    "build",
    "export_bundle",
    "pack",
    "verify",
]

# public name -> the module that defines it
_MODULES = {
    "PRECISIONS": "precisions",
    "Bounds": "verification.outcome",
    "BuildOptions": "tensorrt.build",
    "BuildReport": "tensorrt.build",
    "ExportOptions": "options",
    "ExportReport": "bundle",
    "PackReport": "packing",
    "Verification": "verification.outcome",
    "build": "tensorrt.build",
    "export_bundle": "bundle",
    "pack": "packing",
    "verify": "verification.bundle",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
