"""Run a bundle: predictions with early exit, without PyTorch.

Needs numpy, tokenizers and one ONNX Runtime (``pip install 'fastbert-deploy[cpu]'``).
"""

from fastbert.runtime.chain import ChainOutput
from fastbert.runtime.classifier import Classifier, Prediction
from fastbert.runtime.errors import (
    BundleError,
    EngineError,
    FastBertError,
    MissingDependencyError,
    UsageError,
)
from fastbert.runtime.manifest import Manifest

__all__ = [
    "BundleError",
    "ChainOutput",
    "Classifier",
    "EngineError",
    "FastBertError",
    "Manifest",
    "MissingDependencyError",
    "Prediction",
    "UsageError",
]
