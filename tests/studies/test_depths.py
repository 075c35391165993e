"""The GPU report, through stand-ins: what it holds, and that its arithmetic is right. Times here mean nothing."""

import inspect
import sys
from functools import partial

import numpy as np
import pytest

from fastbert.benchmarks.baselines import prepare_baselines
from fastbert.benchmarks.baselines.whole_model_gpu import (
    WholeModel,
    build_whole_model,
    open_engine,
    open_session,
    write_whole_model,
)
from fastbert.benchmarks.machine import gpu as gpu_environment
from fastbert.benchmarks.machine.environment import describe_environment
from fastbert.benchmarks.machine.gpu import describe_gpu, synchronisation_us
from fastbert.benchmarks.systems import Budget, Sources, chain_systems
from fastbert.export.bundle import export_checkpoint
from fastbert.export.tensorrt.build import BuildOptions, build
from fastbert.runtime import Classifier, EngineError
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.engines.gpu.onnxruntime import CPU
from fastbert.runtime.manifest import read_manifest
from studies import depths as gpu
from studies.depths import break_even_layers, measure


def test_the_break_even_is_where_the_chains_line_meets_the_whole_model():
    found = break_even_layers([(1, 0.3), (2, 0.4), (12, 1.4)], whole_ms=0.9)
    assert found == pytest.approx({"per_layer_ms": 0.1, "fixed_ms": 0.2, "break_even_layers": 7.0})
    assert break_even_layers([(1, 0.3), (2, 0.4)], whole_ms=0.1)["break_even_layers"] < 0  # it never pays


@pytest.mark.parametrize("graphs", [False, True])
def test_the_whole_model_in_one_engine_gives_the_last_exits_answers(built, tmp_path, graphs):
    manifest = read_manifest(built)
    variant = manifest.variant_for("tensorrt")
    plan = build_whole_model(built, manifest, variant, tmp_path)
    whole = WholeModel(open_engine(plan, variant, 3), cuda_graphs=graphs)
    ids = np.random.default_rng(0).integers(4, 24, (3, 20))
    expected = Classifier.load(built, variant="fp32").run(ids, speed=0.0).logits
    for _ in range(3):
        assert np.abs(whole.run(ids, np.ones_like(ids), np.zeros_like(ids)) - expected).max() < 0.02


@pytest.mark.parametrize("graphs", [False, True])
def test_the_whole_model_in_one_session_gives_the_last_exits_answers(gpu_bundle, tmp_path, graphs):
    manifest = read_manifest(gpu_bundle)
    graph = write_whole_model(gpu_bundle, manifest.variant_for("cuda"), tmp_path)
    whole = WholeModel(open_session(graph, manifest, cuda_graphs=graphs, provider=CPU), cuda_graphs=graphs)
    for rows, length in ((2, 9), (40, 48), (1, 5)):  # the buffers grow
        ids = np.random.default_rng(0).integers(4, 24, (rows, length))
        expected = Classifier.load(gpu_bundle, variant="fp32").run(ids, speed=0.0).logits
        assert np.abs(whole.run(ids, np.ones_like(ids), np.zeros_like(ids)) - expected).max() < 0.02


def test_the_report_has_every_depth_of_every_setting_at_every_shape(tensorrt, bundle_copy):
    build(bundle_copy, BuildOptions(batches=(1, 4), sequences=(48,)))
    report = measure(bundle_copy, runs=2)
    assert [(shape["batch"], shape["sequence"]) for shape in report["shapes"]] == [(1, 48), (4, 48)]
    chain = report["shapes"][0]["chain"]
    assert list(chain["every exit"]["ms_by_layers_run"]) == ["1", "2", "3"]
    assert list(chain["every 2nd exit, CUDA graphs"]["ms_by_layers_run"]) == ["2", "3"]
    assert "break_even_layers" in chain["every exit, CUDA graphs"]
    assert report["variant"] == "tensorrt-fp16-sm90"
    assert set(report["gpu"]["synchronisation"]) == {"copy_and_wait_us", "wait_us"}


def test_with_onnxruntime_depths_are_layers_and_shapes_those_that_the_model_has(checkpoint, tmp_path, monkeypatch):
    precisions = ("fp32", "fp16")
    export_checkpoint(
        checkpoint, tmp_path / "b", rows=checkpoint.sample_rows, precisions=precisions, layers_per_stage=2
    )
    on_the_cpu = partial(onnxruntime_cuda.load, provider=CPU)
    monkeypatch.setattr(gpu, "load_engine", lambda device, *where, **options: on_the_cpu(*where, **options))
    monkeypatch.setattr(gpu, "open_session", partial(open_session, provider=CPU))
    monkeypatch.setattr(gpu, "describe_device", dict)
    monkeypatch.setattr(gpu, "_SEQUENCES", (16, 4096))  # more than the model has positions
    report = measure(tmp_path / "b", device="cuda", runs=1)
    assert [(shape["batch"], shape["sequence"]) for shape in report["shapes"]] == [(1, 16), (8, 16), (32, 16)]
    chain = report["shapes"][0]["chain"]
    assert {"every exit", "every 4th exit", "every 2nd exit, CUDA graphs"} <= set(chain)
    assert set(report["shapes"][0]["whole_model_ms"]) == {"streams", "CUDA graphs"}
    assert list(chain["every exit"]["ms_by_layers_run"]) == ["2", "3"]
    assert list(chain["every 2nd exit"]["ms_by_layers_run"]) == ["3"]


def test_a_synchronisation_is_a_copy_and_a_wait(cuda):
    gpu = open_gpu("gpu")
    cuda.calls.clear()
    found = synchronisation_us(gpu, runs=3)
    assert all(value > 0 for value in found.values())
    assert cuda.calls.count("cudaMemcpyAsync") == 3 + gpu_environment._WARM_UP


class FakeNvml:
    """``cuda.bindings.nvml``, held to the real one's names and arguments."""

    def __init__(self, answers):
        self._real = pytest.importorskip("cuda.bindings.nvml", reason="the package cuda-bindings is not installed")
        self._answers = answers

    def __getattr__(self, name):
        real = getattr(self._real, name)  # AttributeError: there is no such function
        if inspect.isclass(real):
            return real

        def call(*arguments):
            inspect.signature(real).bind(*arguments)
            return self._answers.get(name)

        return call


def test_the_environment_names_gpu_driver_and_clocks(monkeypatch):
    answers = {
        "device_get_handle_by_index_v2": 77,
        "device_get_name": "NVIDIA Fake",
        "system_get_driver_version": "590.1",
        "system_get_cuda_driver_version_v2": 13040,
        "device_get_clock_info": 1410,
        "device_get_max_clock_info": 1980,
        "device_get_persistence_mode": 1,
        "device_get_power_management_limit": 700_000,
    }
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", FakeNvml(answers))
    found = describe_gpu()
    assert (found["gpu"], found["driver"], found["cuda_driver"]) == ("NVIDIA Fake", "590.1", "13.4")
    assert found["clocks_mhz"] == {"graphics": 1410, "sm": 1410, "memory": 1410}
    assert (found["max_clocks_mhz"]["sm"], found["power_limit_w"], found["persistence_mode"]) == (1980, 700.0, True)


def test_a_question_that_a_gpu_does_not_answer_costs_no_other_answer(monkeypatch):
    nvml = FakeNvml({"device_get_name": "NVIDIA Fake", "device_get_clock_info": 1410})
    nvml.device_get_max_clock_info = lambda *_: (_ for _ in ()).throw(RuntimeError("Not Supported"))
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", nvml)
    found = describe_gpu()
    assert (found["gpu"], found["clocks_mhz"]["sm"], found["max_clocks_mhz"]) == ("NVIDIA Fake", 1410, None)
    assert "max_clocks_mhz: Not Supported" in found["note"]


def test_where_nvml_cannot_be_asked_the_block_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.nvml", None)
    assert "NVML cannot be asked" in describe_gpu()["note"]


@pytest.mark.parametrize("graphs", [False, True])
def test_fastbert_bench_runs_the_chain_and_the_whole_model_on_tensorrt(built, tmp_path, cuda, graphs):
    sources = Sources(built, None, "tensorrt", tmp_path, cuda_graphs=graphs)
    [family], skipped = prepare_baselines(["tensorrt"], sources)
    assert skipped == []
    ids = np.random.default_rng(0).integers(4, 24, (20, 12))
    expected = Classifier.load(built, variant="fp32").run(ids, speed=0.0).logits
    for system in (family, *chain_systems(sources, None)):
        runner = system.load(Budget(1))
        for _ in range(3):
            cuda.calls.clear()
            logits, layers = runner.run(ids, np.ones_like(ids), np.zeros_like(ids), 0.0)
        assert ("cudaGraphLaunch" in cuda.calls) is graphs
        assert runner.settings.get("cuda_graphs", False) is graphs
        assert np.abs(logits - expected).max() < 0.02
        assert set(layers) == {3}


def test_fastbert_bench_has_no_whole_model_of_tensorrt_on_the_cpu(built, tmp_path):
    systems, skipped = prepare_baselines(["tensorrt"], Sources(built, None, "cpu", tmp_path))
    assert systems == []
    assert "it runs on tensorrt, not on cpu" in skipped[0].reason


def test_the_environment_of_a_gpu_bench_has_the_cost_of_a_look(cuda):
    assert set(describe_environment("tensorrt")["device"]["synchronisation"]) == {"copy_and_wait_us", "wait_us"}


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
