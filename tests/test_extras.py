"""What each command needs: with only numpy, tokenizers, typer and onnxruntime a bundle is checked and run."""

import json
import subprocess
import sys

import pytest
from support.factories import make_rows, write_tsv

# what other extras bring; each is made impossible to import
BLOCKED = (
    *("torch", "transformers", "accelerate", "onnx", "sklearn", "datasets", "pyarrow", "jsonschema", "scipy", "pandas"),
    *("psutil", "matplotlib", "jinja2", "polygraphy", "tensorrt"),
)
SCRIPT = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
from fastbert.cli import main
main()
"""


@pytest.fixture
def run_without_extras(tmp_path):
    """Run a command in a fresh interpreter without what other extras bring: arguments -> stdout."""

    def run(*arguments):
        command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_verify_needs_only_the_runtime(bundle, run_without_extras):
    assert json.loads(run_without_extras("verify", bundle, "--json"))["fp32"]["passed"]


def test_predict_from_a_data_file_needs_only_the_runtime(bundle, run_without_extras, tmp_path):
    rows = make_rows(5)
    answers = run_without_extras("predict", bundle, "--file", write_tsv(tmp_path / "x.tsv", rows)).splitlines()
    assert [json.loads(answer)["text"] for answer in answers] == [row.text for row in rows]


def test_info_needs_only_the_runtime(bundle, run_without_extras):
    assert json.loads(run_without_extras("info", bundle, "--json"))["schema"] == "fastbert-bundle/1"
