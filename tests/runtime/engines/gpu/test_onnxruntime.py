"""What the CUDA provider is asked for, and the errors where it is missing."""

import gc
import itertools
import sys
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from support.full_batches import check_full_batches
from support.shrinking_batches import check_shrinking_batch

from fastbert.runtime import Classifier, EngineError, UsageError
from fastbert.runtime.engines.gpu import onnxruntime as onnxruntime_cuda
from fastbert.runtime.engines.gpu.cuda import open_gpu
from fastbert.runtime.errors import BundleError, FastBertError
from fastbert.runtime.manifest import read_manifest

ON_GPU = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.mark.skipif(ON_GPU, reason="this ONNX Runtime has the CUDA provider")
def test_the_package_for_the_cpu_is_named_with_the_command(gpu_bundle):
    with pytest.raises(EngineError, match=r"CUDAExecutionProvider.*pip install 'fastbert-deploy\[gpu\]'"):
        Classifier.load(gpu_bundle, device="cuda")


def test_a_bundle_without_a_gpu_variant_says_what_it_has(bundle):
    with pytest.raises(UsageError, match="It has: fp32 for cpu"):
        Classifier.load(bundle, device="cuda")


def test_a_variant_for_the_cpu_is_refused(bundle):
    variant = read_manifest(bundle).variants[0]
    with pytest.raises(UsageError, match="was exported for cpu and cannot run on .cuda.*--precision fp16"):
        onnxruntime_cuda.load(bundle, variant, provider=onnxruntime_cuda.CPU)


def test_a_damaged_graph_is_named(bundle_copy):
    (bundle_copy / "fp16" / "stage_01.onnx").write_bytes(b"no graph")
    variant = next(found for found in read_manifest(bundle_copy).variants if found.name == "fp16")
    with pytest.raises(BundleError, match=r"stage_01\.onnx could not be loaded"):
        onnxruntime_cuda.load(bundle_copy, variant, provider=onnxruntime_cuda.CPU)


class Recorded:
    """``onnxruntime`` that records how sessions are made, and makes them on the CPU."""

    __version__ = "0"

    def __init__(self):
        self.made = []

    def __getattr__(self, name):
        return getattr(onnxruntime, name)

    def get_available_providers(self):
        return [onnxruntime_cuda.CUDA, onnxruntime_cuda.CPU]

    def InferenceSession(self, path, options, *, providers, enable_fallback):
        self.made.append((path, options, providers))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: [self.runs_on]
        return session


@pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])
def test_all_sessions_share_one_stream_and_none_may_fall_back_to_the_cpu(gpu_bundle, cuda, monkeypatch, graphs):
    ort = Recorded()
    ort.runs_on = onnxruntime_cuda.CUDA
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    engine = Classifier.load(gpu_bundle, device="cuda", cuda_graphs=graphs)._engine
    handle = str(engine._executor.stream.handle)
    assert [settings["user_compute_stream"] for _, _, [(_, settings)] in ort.made] == [handle] * 5
    assert {settings["use_tf32"] for _, _, [(_, settings)] in ort.made} == {"0"}  # float32 is float32
    assert {settings["enable_cuda_graph"] for _, _, [(_, settings)] in ort.made} == {"1" if graphs else "0"}
    fallback = "session.disable_cpu_ep_fallback"
    strict = [options.get_session_config_entry(fallback) for path, options, _ in ort.made if "embeddings" not in path]
    assert strict == ["1"] * 4


def test_a_session_on_another_provider_is_an_error(gpu_bundle, cuda, monkeypatch):
    ort = Recorded()
    ort.runs_on = onnxruntime_cuda.CPU
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    with pytest.raises(EngineError, match="runs on CPUExecutionProvider"):
        Classifier.load(gpu_bundle, device="cuda")


def test_missing_cuda_libraries_are_named_in_the_error_and_not_printed(gpu_bundle, cuda, monkeypatch, capsys):
    ort = Recorded()
    ort.runs_on = onnxruntime_cuda.CPU
    ort.preload_dlls = lambda: sys.stdout.write("Failed to load libcublas.so.13\n")
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    with pytest.raises(EngineError, match=r"fastbert-deploy\[gpu\].*Failed to load libcublas\.so\.13"):
        Classifier.load(gpu_bundle, device="cuda")
    assert capsys.readouterr().out == ""


class InnerSession:
    """What a session and its bindings hold: it uses the stream when it ends."""

    def __init__(self, cuda, handle, ends):
        self._cuda, self._handle, self._ends = cuda, handle, ends

    def __del__(self):
        self._ends.append(self._handle in self._cuda.streams)


class OutlivedStream(Recorded):
    """``onnxruntime`` whose sessions record whether their stream still existed when they ended."""

    def __init__(self, cuda):
        super().__init__()
        self.runs_on = onnxruntime_cuda.CUDA
        self.ends = []
        self._cuda = cuda

    def InferenceSession(self, path, options, *, providers, enable_fallback):
        real = super().InferenceSession(path, options, providers=providers, enable_fallback=enable_fallback)
        inner = InnerSession(self._cuda, int(providers[0][1]["user_compute_stream"]), self.ends)
        return SimpleNamespace(
            inner=inner,
            get_providers=real.get_providers,
            get_inputs=real.get_inputs,
            get_outputs=real.get_outputs,
            io_binding=lambda: SimpleNamespace(inner=inner, bind_input=lambda *_: None, bind_output=lambda *_: None),
            run_with_iobinding=lambda *_: None,
        )


def test_sessions_end_before_their_stream(gpu_bundle, cuda, monkeypatch):
    ort = OutlivedStream(cuda)
    monkeypatch.setitem(sys.modules, "onnxruntime", ort)
    for used, in_a_cycle in itertools.product((False, True), repeat=2):  # a lane's bindings hold sessions too
        classifier = Classifier.load(gpu_bundle, device="cuda")
        if used:
            classifier._engine.start(*np.ones((3, 1, 5), np.int64))
        if in_a_cycle:  # as with a kept traceback: the garbage collector frees all of it at once
            classifier._engine.me = classifier._engine
        del classifier
        gc.collect()
        assert ort.ends == [True] * 5
        assert cuda.streams == {}
        ort.ends.clear()


def test_an_error_of_onnxruntime_during_a_run_is_our_error(gpu_bundle):
    variant = next(found for found in read_manifest(gpu_bundle).variants if found.name == "fp16")
    engine = onnxruntime_cuda.load(gpu_bundle, variant, provider=onnxruntime_cuda.CPU)
    beyond = np.full((1, 9), 10**6)  # an unknown id: `run` checks its input, an engine does not
    with pytest.raises(EngineError, match="onnxruntime could not run 'embeddings'"):
        engine.start(beyond, np.ones_like(beyond), np.zeros_like(beyond))


def why_not_on_a_gpu():
    if not ON_GPU:
        return "no ONNX Runtime with the CUDA provider"
    try:
        open_gpu("gpu")
    except FastBertError as error:  # the package has the provider, and the machine has no GPU
        return str(error)
    return ""


on_a_gpu = pytest.mark.skipif(bool(why_not_on_a_gpu()), reason=why_not_on_a_gpu())


both_ways = pytest.mark.parametrize("graphs", [False, True], ids=["streams", "graphs"])


@pytest.mark.gpu
@on_a_gpu
@both_ways
def test_on_a_gpu_the_answers_are_those_of_the_cpu(gpu_bundle, graphs):
    cpu = Classifier.load(gpu_bundle, variant="fp32")
    for _ in range(2):  # the first is gone when the second is loaded
        gpu = Classifier.load(gpu_bundle, device="cuda", cuda_graphs=graphs)
        for seed, (rows, length) in enumerate([(1, 30), (9, 30), (1, 30), (1, 27), (12, 60), (9, 30), (1, 30)]):
            ids = np.random.default_rng(seed).integers(4, 24, (rows, length))  # other ids in a known shape
            assert np.abs(gpu.run_all_exits(ids)[0] - cpu.run_all_exits(ids)[0]).max() < 0.02
        for rows in range(1, 9):  # among them as many as the exit has attention heads
            ids = np.random.default_rng(rows).integers(4, 24, (rows, 20))
            mask = (np.arange(20) < np.arange(20, 20 - rows, -1)[:, None]).astype(np.int64)
            found, expected = gpu.run_all_exits(ids * mask, mask)[0], cpu.run_all_exits(ids * mask, mask)[0]
            assert np.abs(found - expected).max() < 0.02


@pytest.mark.gpu
@on_a_gpu
@both_ways
def test_on_a_gpu_a_batch_that_shrinks_answers_as_its_rows_do_in_many_threads(gpu_bundle, graphs):
    classifier = Classifier.load(gpu_bundle, device="cuda", cuda_graphs=graphs)
    check_shrinking_batch(classifier, 9, 0.02)


@pytest.mark.gpu
@on_a_gpu
@both_ways
def test_on_a_gpu_full_batches_give_the_answers_of_single_rows(gpu_bundle, graphs, small_groups):
    check_full_batches(Classifier.load(gpu_bundle, device="cuda", cuda_graphs=graphs), 1 if graphs else 3)
