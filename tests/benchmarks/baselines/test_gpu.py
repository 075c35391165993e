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
from fastbert.benchmarks.systems import Budget, Sources, chain_systems
from fastbert.export import BuildOptions, build
from fastbert.runtime import Classifier
from fastbert.runtime.engines.gpu.onnxruntime import CPU
from fastbert.runtime.manifest import read_manifest

both_tensorrts = pytest.mark.parametrize(
    ("device", "bundle_of"), [("tensorrt", "built"), ("tensorrt-rtx", "rtx_built")], ids=["tensorrt", "rtx"]
)


@both_tensorrts
@pytest.mark.parametrize("graphs", [False, True])
def test_the_whole_model_in_one_engine_gives_the_last_exits_answers(request, tmp_path, device, bundle_of, graphs):
    built = request.getfixturevalue(bundle_of)
    manifest = read_manifest(built)
    variant = manifest.variant_for(device)
    plan = build_whole_model(built, manifest, variant, tmp_path)
    whole = WholeModel(open_engine(plan, variant, 3, cuda_graphs=graphs), cuda_graphs=graphs)
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


@both_tensorrts
@pytest.mark.parametrize("graphs", [False, True])
def test_fastbert_bench_runs_the_chain_and_the_whole_model(request, tmp_path, device, bundle_of, graphs):
    built = request.getfixturevalue(bundle_of)
    cuda = request.getfixturevalue("cuda" if device == "tensorrt" else "rtx_cuda")
    sources = Sources(built, None, device, tmp_path, cuda_graphs=graphs)
    [whole], skipped = prepare_baselines([device], sources)
    assert (whole.precision, skipped) == (read_manifest(built).variant_for(device).precision, [])
    ids = np.random.default_rng(0).integers(4, 24, (20, 12))
    expected = Classifier.load(built, variant="fp32").run(ids, speed=0.0).logits
    for system in (whole, *chain_systems(sources, read_manifest(built), None)):
        runner = system.load(Budget(1))
        for _ in range(3):
            cuda.calls.clear()
            logits, layers = runner.run(ids, np.ones_like(ids), np.zeros_like(ids), 0.0)
        assert ("cudaGraphLaunch" in cuda.calls) is graphs
        assert runner.settings.get("cuda_graphs", False) is graphs
        assert np.abs(logits - expected).max() < 0.02
        assert set(layers) == {3}


def test_the_whole_model_has_the_precision_of_the_variant_that_is_measured(built, tmp_path):
    build(built, BuildOptions("int8-qdq", (1, 4), (48,)))
    for variant, precision in ((None, "float16"), ("tensorrt-int8-qdq-sm90", "int8")):
        sources = Sources(built, None, "tensorrt", tmp_path, variant=variant)
        [whole], _ = prepare_baselines(["tensorrt"], sources)
        [chain] = chain_systems(sources, read_manifest(built), [variant or "tensorrt-fp16-sm90"])
        assert whole.precision == chain.precision == precision
        plan = open_engine(tmp_path / "whole.engine", read_manifest(built).variant_for("tensorrt", variant), 3)
        assert plan.buckets.all == read_manifest(built).variant_for("tensorrt", variant).tensorrt_build.profiles


def test_the_tensorrt_baseline_is_skipped_on_the_cpu(built, tmp_path):
    systems, skipped = prepare_baselines(["tensorrt"], Sources(built, None, "cpu", tmp_path))
    assert systems == []
    assert "it runs on tensorrt, not on cpu" in skipped[0].reason
