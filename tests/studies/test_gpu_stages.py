"""The report of a stage's cost, made with sessions on the CPU: its content, not its times."""

import json
import sys
from functools import partial

import numpy as np
import pytest

from fastbert.benchmarks.baselines.whole_model_gpu import open_session
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.engines.gpu.onnxruntime import CPU
from studies import gpu_stages


@pytest.fixture
def on_the_cpu(monkeypatch):
    load = partial(onnxruntime_cuda.load, provider=CPU)
    monkeypatch.setattr(gpu_stages, "load_engine", lambda device, *where, **options: load(*where, **options))
    monkeypatch.setattr(gpu_stages, "open_session", partial(open_session, provider=CPU))
    monkeypatch.setattr(gpu_stages, "require_onnxruntime", lambda provider: None)
    monkeypatch.setattr(gpu_stages, "open_gpu", lambda extra: None)
    monkeypatch.setattr(gpu_stages, "describe_device", dict)
    monkeypatch.setattr(gpu_stages, "_SEQUENCES", (4096, 16))  # the model has fewer positions than 4096
    monkeypatch.setattr(gpu_stages, "_BATCHES", (4, 1))
    monkeypatch.setattr(gpu_stages, "_ROUNDS", 2)


def test_the_report_has_every_part_at_every_shape(gpu_bundle, on_the_cpu, monkeypatch, tmp_path, capsys):
    output = tmp_path / "report.json"
    monkeypatch.setattr(sys, "argv", ["gpu_stages.py", str(gpu_bundle), "--runs", "3", "--output", str(output)])
    gpu_stages.main()
    report = json.loads(output.read_text())
    [model] = report["models"]
    assert (model["layers"], model["hidden_size"], model["variant"]) == (3, 32, "fp16")
    assert model["runs"] == 4  # two rounds of two
    assert [(shape["batch"], shape["sequence"]) for shape in model["shapes"]] == [(4, 16), (1, 16)]
    for shape in model["shapes"]:
        assert len(shape["stage_ms"]) == 3
        assert set(shape) - {"batch", "sequence"} == set(report["timed"]) - {"medians_of"}
        parts = [*shape["stage_ms"], *(shape[name] for name in shape if name.endswith("_ms") and name != "stage_ms")]
        assert min(parts) > 0
    assert "3 layers of 32" in capsys.readouterr().out


def test_medians_are_those_of_each_part_and_the_chain_is_its_parts_but_the_removal():
    turns = np.array([[9, 1, 2, 30, 4, 5], [8, 1, 20, 3, 4, 5], [7, 1, 2, 3, 40, 50]], float)
    assert gpu_stages._summary(turns) == {
        "whole_model_ms": 8,
        "chain_ms": 37,  # of 37, 28 and 46
        "embeddings_ms": 1,
        "stage_ms": [2, 3],
        "compaction_ms": 5,
        "logits_ms": 4,
    }


def test_a_missing_device_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu_stages.py"])
    with pytest.raises(SystemExit, match=r"^Error: "):
        gpu_stages.main()
