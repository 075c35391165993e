"""The public names of ``fastbert.export``."""

import subprocess
import sys

import pytest

import fastbert.export


def test_every_public_name_exists_and_is_listed():
    names = fastbert.export.__all__
    assert names == sorted(names, key=lambda name: (not name.isupper(), name.islower(), name))
    assert set(names) == set(fastbert.export._MODULES) <= set(dir(fastbert.export))
    for name in names:
        value = getattr(fastbert.export, name)
        assert isinstance(value, dict) or value.__name__ == name
    with pytest.raises(AttributeError, match="export_checkpoint"):
        fastbert.export.export_checkpoint  # noqa: B018


def test_importing_the_package_and_its_options_loads_no_framework():
    script = (
        "import sys\n"
        "from fastbert.export import Bounds, BuildOptions, ExportOptions, Verification, build, verify\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'onnxruntime', 'sklearn', 'jsonschema'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
