import importlib.util
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fastbert.benchmarks.baselines import nncf_quantization
from fastbert.benchmarks.baselines.nncf_quantization import calibration_rows, quantize
from fastbert.benchmarks.baselines.onnx_graphs import float_model
from fastbert.benchmarks.systems import Sources
from fastbert.export.golden import GOLDEN, read_golden
from fastbert.runtime.errors import EngineError

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


def test_calibration_rows_are_the_first_golden_rows_without_padding(bundle, monkeypatch):
    monkeypatch.setattr(nncf_quantization, "CALIBRATION_ROWS", 3)
    golden = read_golden(bundle / GOLDEN)
    rows = list(calibration_rows(golden, ["input_ids", "attention_mask"]))
    assert len(rows) == 3
    for number, row in enumerate(rows):
        assert sorted(row) == ["attention_mask", "input_ids"]
        assert row["attention_mask"].all()
        assert np.array_equal(row["input_ids"][0], golden.input_ids[number][golden.attention_mask[number] > 0])
    assert len({row["input_ids"].shape for row in rows}) > 1


def test_a_failure_of_nncf_is_one_error_that_says_why(tmp_path, monkeypatch):
    (tmp_path / "nncf.py").write_text("raise ValueError('no such backend')")  # before any that is installed
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(EngineError, match=r"NNCF could not quantize .*m.onnx: ValueError: no such backend"):
        quantize(tmp_path / "m.onnx", tmp_path / GOLDEN, tmp_path / "m.xml")


@pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")
def test_the_layers_products_are_quantized_and_not_the_heads_and_stdout_stays_empty(bundle, tmp_path):
    script = (
        "import sys; from pathlib import Path; from fastbert.benchmarks.baselines.nncf_quantization import quantize;"
        "quantize(*map(Path, sys.argv[1:])); sys.exit('nncf' in sys.modules)"
    )
    model = float_model(Sources(bundle, None, "cpu", tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script, model, bundle / GOLDEN, tmp_path / "m.xml"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b""), done.stderr.decode()
    quantized = re.findall(r'name="([^"]*)" type="FakeQuantize"', (tmp_path / "m.xml").read_text())
    assert all(any(f"layer_{layer:02d}" in name for name in quantized) for layer in range(3)), quantized
    assert not any("exit_" in name and "exit_02/Add" not in name for name in quantized), quantized
