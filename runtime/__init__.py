"""Run a bundle: predictions with early exit, without PyTorch.

Needs numpy, tokenizers and one ONNX Runtime (``pip install 'fastbert-deploy[cpu]'``).
"""

from fastbert.runtime.chain import ChainOutput
from fastbert.runtime.classifier import Classifier, Prediction
from fastbert.runtime.errors import (
    BundleError,
    CheckpointError,
    DataError,
    EngineError,
    FastBertError,
    MissingDependencyError,
    OutputExistsError,
    UsageError,
    VerificationError,
)
from fastbert.runtime.manifest import Manifest, TensorRtBuild, Variant
from fastbert.runtime.operating_points import OperatingPoint
from fastbert.runtime.tokenization import Encoded

__all__ = [
    "BundleError",
    "ChainOutput",
    "CheckpointError",
    "Classifier",
    "DataError",
    "Encoded",
    "EngineError",
    "FastBertError",
    "Manifest",
    "MissingDependencyError",
    "OperatingPoint",
    "OutputExistsError",
    "Prediction",
    "TensorRtBuild",
    "UsageError",
    "Variant",
    "VerificationError",
]
