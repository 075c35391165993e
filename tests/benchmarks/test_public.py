import ast
import inspect
from pathlib import Path

import pytest

import fastbert.benchmarks


def test_public_names_are_importable_and_listed():
    for name in fastbert.benchmarks.__all__:
        assert not inspect.ismodule(getattr(fastbert.benchmarks, name)), name
    assert set(fastbert.benchmarks.__all__) <= set(dir(fastbert.benchmarks))


def test_types_and_lazy_names_are_the_same():
    tree = ast.parse(Path(fastbert.benchmarks.__file__).read_text())
    typed = {
        alias.name: node.module
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }  # fmt: skip
    lazy = {name: f"fastbert.benchmarks.{module}" for name, module in fastbert.benchmarks._LAZY.items()}
    assert typed == lazy
    assert set(lazy) == set(fastbert.benchmarks.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'speed'"):
        fastbert.benchmarks.speed  # noqa: B018
