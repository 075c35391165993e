"""Early-exit BERT text classifiers: the model, its data and its two-stage training.

The rest of the package stands in its own folders: ``fastbert.export`` (checkpoint -> bundle), ``fastbert.runtime``
(bundle -> predictions, no torch) and ``fastbert.benchmarks``. Importing ``fastbert`` loads none of them.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from fastbert.version import __version__

# The Linux wheels of ONNX Runtime 1.29 and later have telemetry, which is on unless this is set before their import: a
# thread, a database in the home directory, and forked workers that hang when they end. Set it to 0 to have it.
_TELEMETRY = "ORT_DISABLE_TELEMETRY"
telemetry_came_first = _TELEMETRY not in os.environ and "onnxruntime" in sys.modules
os.environ.setdefault(_TELEMETRY, "1")

# In a checkout the other folders stand beside this one, not in it (see pyproject.toml). Looking there too makes
# `python -m fastbert...` and editable installs work from the repository's root.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "runtime" / "__init__.py").is_file() and (_checkout / "pyproject.toml").is_file():
    __path__.append(str(_checkout))

# Public name -> the module that defines it. Loaded on first use, so that the runtime never pulls in torch.
_LAZY = {
    "ExitHeadConfig": "fastbert.configuration",
    "FastBertConfig": "fastbert.configuration",
    "FastBertForSequenceClassification": "fastbert.modeling",
    "import_checkpoint": "fastbert.importing",
    "load_checkpoint": "fastbert.checkpoint",
}

__all__ = [
    "ExitHeadConfig",
    "FastBertConfig",
    "FastBertForSequenceClassification",
    "__version__",
    "import_checkpoint",
    "load_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'fastbert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
