"""The GPU report, made with stand-ins: its content and its arithmetic, not its times."""

from functools import partial

import pytest

from fastbert.benchmarks.baselines.whole_model_gpu import (
    open_session,
)
from fastbert.export import ExportOptions, export_bundle
from fastbert.export.tensorrt.build import BuildOptions, build
from fastbert.runtime import EngineError
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.onnxruntime import CPU
from studies import depths
from studies.depths import fit_break_even, measure


def test_the_break_even_is_where_the_chains_line_meets_the_whole_model():
    found = fit_break_even([(1, 0.3), (2, 0.4), (12, 1.4)], whole_ms=0.9)
    assert found == pytest.approx({"per_layer_ms": 0.1, "fixed_ms": 0.2, "break_even_layers": 7.0})
    assert fit_break_even([(1, 0.3), (2, 0.4)], whole_ms=0.1)["break_even_layers"] < 0  # never faster


def test_the_report_has_every_depth_of_every_setting_at_every_shape(tensorrt, bundle_copy):
    build(bundle_copy, BuildOptions(batches=(1, 4), sequences=(48,)))
    report = measure(bundle_copy, runs=2)
    assert [(shape["batch"], shape["sequence"]) for shape in report["shapes"]] == [(1, 48), (4, 48)]
    chain = report["shapes"][0]["chain"]
    assert list(chain["every exit"]["ms_by_layers_run"]) == ["1", "2", "3"]
    assert "break_even_layers" in chain["every exit, CUDA graphs"]
    assert report["variant"] == "tensorrt-fp16-sm90"
    assert set(report["gpu"]["synchronisation"]) == {"copy_and_wait_us", "wait_us"}


def test_with_onnxruntime_depths_are_layers_and_shapes_those_that_the_model_has(checkpoint, tmp_path, monkeypatch):
    precisions = ("fp32", "fp16")
    export_bundle(checkpoint, tmp_path / "b", ExportOptions(precisions=precisions, layers_per_stage=2))
    on_the_cpu = partial(onnxruntime_cuda.load, provider=CPU)
    monkeypatch.setattr(depths, "load_engine", lambda device, *where, **options: on_the_cpu(*where, **options))
    monkeypatch.setattr(depths, "open_session", partial(open_session, provider=CPU))
    monkeypatch.setattr(depths, "describe_device", dict)
    monkeypatch.setattr(depths, "_SEQUENCES", (16, 4096))  # the model has fewer positions than 4096
    monkeypatch.setattr(depths, "_BATCHES", (1, 2))
    report = measure(tmp_path / "b", device="cuda", runs=1)
    assert [(shape["batch"], shape["sequence"]) for shape in report["shapes"]] == [(1, 16), (2, 16)]
    chain = report["shapes"][0]["chain"]
    assert set(chain) == {"every exit", "every exit, CUDA graphs"}
    assert set(report["shapes"][0]["whole_model_ms"]) == {"streams", "CUDA graphs"}
    assert list(chain["every exit"]["ms_by_layers_run"]) == ["2", "3"]


def test_one_text_also_runs_in_one_call_where_the_variant_has_its_engine(tensorrt_rtx, bundle_copy, monkeypatch):
    monkeypatch.setattr(depths, "_SETTLE_S", {"tensorrt-rtx": 0.01})
    build(bundle_copy, BuildOptions(engine="tensorrt-rtx", batches=(1, 4), sequences=(48,)))
    one, four = measure(bundle_copy, device="tensorrt-rtx", runs=2)["shapes"]
    assert set(one["single_row_engine"]) == {"first_exit_ms", "last_exit_ms"}
    assert "single_row_engine" not in four


@pytest.mark.gpu
def test_on_a_gpu_the_report_is_made(tmp_path, bundle_copy):
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    try:
        open_gpu("tensorrt")
    except EngineError as error:
        pytest.skip(str(error))
    build(bundle_copy, BuildOptions(batches=(1,), sequences=(48,)))
    report = measure(bundle_copy, runs=20)
    assert report["gpu"]["gpu"]
    assert report["gpu"]["synchronisation"]["copy_and_wait_us"] > 1
