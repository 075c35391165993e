"""The public names of ``fastbert``; those of its packages have tests beside theirs."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import fastbert
from fastbert.runtime import errors

PACKAGES = ["fastbert", "fastbert.benchmarks.tuning", "fastbert.data", "fastbert.importing", "fastbert.training"]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist_once_and_are_documented(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__doc__, name


def test_types_and_lazy_names_are_the_same():
    tree = ast.parse(Path(fastbert.__file__).read_text())
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == fastbert._HOME
    assert {*typed, "__version__"} == set(fastbert.__all__) <= set(dir(fastbert))


def test_every_error_is_public():
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined <= set(fastbert.__all__)


def test_errors_are_pickled_with_their_messages():
    for error in (errors.UsageError("`speed` is 2."), errors.MissingDependencyError("onnx", "export")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error))


def test_the_classifier_needs_no_framework():
    script = (
        "import sys; from fastbert import Classifier, Prediction, UsageError\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'onnxruntime', 'typer', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'speed'"):
        fastbert.speed  # noqa: B018
