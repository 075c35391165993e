"""Train an early-exit text classifier, export it, and run it on an inference engine.

The public names here are loaded on first use, so ``from fastbert import Classifier`` needs no PyTorch. They come from
``fastbert.training``, ``fastbert.export`` (checkpoint -> bundle), ``fastbert.runtime`` (bundle -> predictions) and
``fastbert.benchmarks.tuning`` (what may be lost -> a speed).
"""

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastbert.version import __version__, other_fastbert

# The Linux wheels of ONNX Runtime 1.29 and later have telemetry (onnxruntime#27379), which is on unless this is set
# before their import: a thread, a database in the home directory, and forked workers that hang when they end. Set it to
# 0 to have it.
_TELEMETRY = "ORT_DISABLE_TELEMETRY"
telemetry_came_first = _TELEMETRY not in os.environ and "onnxruntime" in sys.modules
os.environ.setdefault(_TELEMETRY, "1")

# In a checkout the other folders are beside this one, not in it (see pyproject.toml). Looking there too makes
# `python -m fastbert...` and editable installs work from the repository's root. It also makes the root's other folders
# importable from there, such as `fastbert.tests`.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "runtime" / "__init__.py").is_file() and (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from fastbert.benchmarks.tuning import TuneOptions, TuneReport, tune
    from fastbert.checkpoint import load_checkpoint
    from fastbert.configuration import ExitHeadConfig, FastBertConfig
    from fastbert.export import Bounds, BuildOptions, ExportOptions, build, export_bundle, pack, verify
    from fastbert.importing import import_checkpoint
    from fastbert.modeling import FastBertForSequenceClassification
    from fastbert.runtime import (
        BundleError,
        CheckpointError,
        Classifier,
        DataError,
        EngineError,
        FastBertError,
        MissingDependencyError,
        OutputExistsError,
        Prediction,
        UsageError,
        VerificationError,
    )
    from fastbert.training import PhaseOptions, PhaseReport, TrainOptions, TrainReport, train

# Module -> the public names that it defines, loaded on first use.
_LAZY = {
    "fastbert.benchmarks.tuning": ("TuneOptions", "TuneReport", "tune"),
    "fastbert.checkpoint": ("load_checkpoint",),
    "fastbert.configuration": ("ExitHeadConfig", "FastBertConfig"),
    "fastbert.export": ("Bounds", "BuildOptions", "ExportOptions", "build", "export_bundle", "pack", "verify"),
    "fastbert.importing": ("import_checkpoint",),
    "fastbert.modeling": ("FastBertForSequenceClassification",),
    "fastbert.runtime": (
        "BundleError",
        "CheckpointError",
        "Classifier",
        "DataError",
        "EngineError",
        "FastBertError",
        "MissingDependencyError",
        "OutputExistsError",
        "Prediction",
        "UsageError",
        "VerificationError",
    ),
    "fastbert.training": ("PhaseOptions", "PhaseReport", "TrainOptions", "TrainReport", "train"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}

__all__ = [
    "Bounds",
    "BuildOptions",
    "BundleError",
    "CheckpointError",
    "Classifier",
    "DataError",
    "EngineError",
    "ExitHeadConfig",
    "ExportOptions",
    "FastBertConfig",
    "FastBertError",
    "FastBertForSequenceClassification",
    "MissingDependencyError",
    "OutputExistsError",
    "PhaseOptions",
    "PhaseReport",
    "Prediction",
    "TrainOptions",
    "TrainReport",
    "TuneOptions",
    "TuneReport",
    "UsageError",
    "VerificationError",
    "__version__",
    "build",
    "export_bundle",
    "import_checkpoint",
    "load_checkpoint",
    "pack",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        if (problem := other_fastbert()) is not None:
            raise ImportError(problem)
        globals()[name] = value = getattr(importlib.import_module(_HOME[name]), name)
        return value
    raise AttributeError(f"module 'fastbert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
