"""Both TensorRTs on a GPU that they support: build, reload, threads and CUDA graphs, with the real libraries."""

import shutil

import numpy as np
import pytest
from support.shrinking_batches import check_shrinking_batch

from fastbert.export import BuildOptions, build
from fastbert.runtime import Classifier
from studies.gpu import obstacle

pytestmark = pytest.mark.gpu
both_ways = pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt-rtx"])
def device(request):
    reason = obstacle(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def engines(device, gpu_bundle, tmp_path_factory):
    path = shutil.copytree(gpu_bundle, tmp_path_factory.mktemp(device) / "bundle")
    report = build(path, BuildOptions(batches=(1, 8), sequences=(48,), engine=device))
    assert report.verification.problems == []
    return path


@both_ways
def test_the_answers_are_those_of_the_cpu_after_a_reload(engines, device, graphs, tmp_path):
    cpu = Classifier.load(engines, variant="fp32")
    kept = {"runtime_cache": tmp_path} if device == "tensorrt-rtx" else {}
    for _ in range(2):  # the first is gone when the second is loaded
        gpu = Classifier.load(engines, device=device, cuda_graphs=graphs, **kept)
        for seed, (rows, length) in enumerate([(1, 30), (8, 30), (1, 30), (1, 27), (12, 40), (8, 30), (1, 30)]):
            ids = np.random.default_rng(seed).integers(4, 24, (rows, length))  # other ids in a known shape
            assert np.abs(gpu.run_all_exits(ids)[0] - cpu.run_all_exits(ids)[0]).max() < 0.05
        del gpu
    assert not kept or list(tmp_path.glob("*.cache"))


@both_ways
def test_a_batch_that_shrinks_answers_as_its_rows_do_in_many_threads(engines, device, graphs):
    classifier = Classifier.load(engines, device=device, cuda_graphs=graphs)
    check_shrinking_batch(classifier, 8, 0.05)
