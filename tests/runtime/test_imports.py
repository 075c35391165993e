"""What the runtime imports, and what it exports."""

import subprocess
import sys

import pytest

import fastbert
import fastbert.runtime
import fastbert.runtime.engines
import fastbert.runtime.engines.cpu
from fastbert.runtime import errors

BLOCKED = ("torch", "transformers", "typer", "onnx", "datasets", "sklearn")


def test_importing_and_predicting_need_only_numpy_tokenizers_and_onnxruntime(bundle):
    script = (
        "import sys\n"
        f"for name in {BLOCKED}: sys.modules[name] = None\n"
        "from fastbert.runtime import Classifier\n"
        "assert not {'onnxruntime', 'tokenizers'} & set(sys.modules), 'imported before they are needed'\n"
        "print(Classifier.load(sys.argv[1]).predict(['good'])[0].label)"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("negative", "neutral", "positive")


@pytest.mark.parametrize(
    "package", [fastbert, fastbert.runtime, fastbert.runtime.engines, fastbert.runtime.engines.cpu]
)
def test_public_names_are_sorted_and_exist(package):
    assert list(package.__all__) == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_runtime_exports_every_error():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined == {
        name for name in fastbert.runtime.__all__ if issubclass(getattr(fastbert.runtime, name), Exception)
    }
