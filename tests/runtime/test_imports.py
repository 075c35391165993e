import subprocess
import sys
import time

import pytest

import fastbert.runtime


def test_the_runtime_is_light_and_quick():
    script = (
        "import fastbert.runtime, sys; print({'torch', 'transformers', 'typer', 'onnx', 'datasets'} & set(sys.modules))"
    )
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
    assert done.stdout.strip() == "set()"
    assert min(times) < 0.5


def test_predicting_needs_no_torch(bundle):
    script = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'typer', 'onnx', 'datasets', 'sklearn'): sys.modules[name] = None\n"
        "from fastbert.runtime import Classifier\n"
        "print(Classifier.load(sys.argv[1]).predict(['good'])[0].label)"
    )
    done = subprocess.run([sys.executable, "-c", script, bundle], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("negative", "neutral", "positive")


@pytest.mark.parametrize("module", ["fastbert", "fastbert.runtime", "fastbert.runtime.errors"])
def test_public_names_are_sorted_and_exist(module):
    names = __import__(module, fromlist=["__all__"]).__all__
    assert names == sorted(names)
    assert all(hasattr(sys.modules[module], name) for name in names)
    assert fastbert.runtime.Classifier.__doc__
