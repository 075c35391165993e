import pytest

from fastbert.console.failures import EXTRAS, describe, exit_code
from fastbert.runtime.errors import DataError, MissingDependencyError, UsageError

FLAGS = {"max_length": "--max-length", "speed": "--speed", "batch": "--batch", "model": "MODEL"}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`max_length` is 0.", "--max-length is 0."),
        ("`speeds` has 2; `batches` has 0.", "--speed has 2; --batch has 0."),
        ("`model` is not a directory.", "MODEL is not a directory."),
        ("`other` and max_length stay.", "`other` and max_length stay."),
    ],
)
def test_parameters_are_spelled_as_flags(message, shown):
    assert describe(UsageError(message), FLAGS) == shown


def test_exit_codes():
    assert [exit_code(error) for error in (UsageError(""), DataError(""), OSError())] == [2, 1, 1]


@pytest.mark.parametrize(("package", "extra"), EXTRAS.items())
def test_a_missing_package_names_its_extra(package, extra):
    error = ModuleNotFoundError(f"No module named '{package}'", name=package)
    assert f"pip install 'fastbert-deploy[{extra}]'" in describe(error, {})


def test_other_errors():
    assert describe(FileNotFoundError(2, "No such file", "x.tsv"), {}) == "x.tsv: No such file."
    assert "--debug" in describe(RuntimeError("surprise"), {})
    assert "pip install" in describe(MissingDependencyError("onnx", "export"), {})
